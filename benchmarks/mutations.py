"""What can be wrong with a formula: every small change of a module's syntax tree, one at a time."""

from __future__ import annotations

import ast
import collections
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

SWAPS: dict[type, tuple[type, ...]] = {
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,), ast.Pow: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,), ast.Mod: (ast.FloorDiv,), ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.Lt), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,), ast.And: (ast.Or,), ast.Or: (ast.And,),
}  # fmt: skip
WORDS = [("min", "max"), ("minimum", "maximum"), ("argmin", "argmax"), ("sum", "mean"), ("any", "all"), ("sin", "cos")]
WORDS += [("floor", "ceil"), ("log", "log1p"), ("exp", "expm1"), ("sinh", "cosh")]
TWINS = {a: b for pair in WORDS for a, b in (pair, pair[::-1])}
DROPPED = {"sqrt", "square", "abs", "real", "log", "exp", "inv"}  # f(x) -> x
TOLERANCES = {
    "rtol",
    "atol",
    "xtol",
    "tol",
    "maxiter",
    "epsabs",
    "epsrel",
    "limit",
    "dtype",
    "optimize",
    "check_finite",
}
MESSAGES = {"msg", "message", "__all__"}


@dataclass(frozen=True)
class Mutant:
    """One change: where, what it was and became, and which of its like in that function."""

    file: str
    function: str
    was: str
    now: str
    nth: int
    kind: str
    line: int
    tree: ast.Module
    holder: ast.AST
    place: tuple[str, int | None]
    new: Any

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        return self.file, self.function, self.was, self.now, self.nth

    def __str__(self) -> str:
        return f"{self.file} {self.function}: {self.was}  ->  {self.now} [{self.nth}]"

    def code(self) -> CodeType:
        """Code of the changed module; the tree is left as it was."""
        field, index = self.place
        slot = getattr(self.holder, field)
        old = slot if index is None else slot[index]
        self._put(self.new)
        try:
            return compile(ast.fix_missing_locations(self.tree), self.file, "exec")
        finally:
            self._put(old)

    def _put(self, node: Any) -> None:
        field, index = self.place
        if index is None:
            setattr(self.holder, field, node)
        else:
            getattr(self.holder, field)[index] = node


def mutants_of(path: Path, root: Path) -> list[Mutant]:
    """All mutants of a file."""
    tree, file = ast.parse(path.read_text()), path.relative_to(root).as_posix()
    seen: collections.Counter[tuple[str, str, str]] = collections.Counter()
    out = []
    for function, holder, place, old in sites(tree, ""):
        line = getattr(old, "lineno", getattr(holder, "lineno", 0))
        for kind, new in changes(old, holder, place[0]):
            was, now = text(old), text(new)
            if was == now:  # a @ a swapped
                continue
            out.append(Mutant(file, function, was, now, seen[function, was, now], kind, line, tree, holder, place, new))
            seen[function, was, now] += 1
    return out


def sites(node: ast.AST, function: str) -> Iterator[tuple[str, ast.AST, tuple[str, int | None], ast.AST]]:
    """Every node that may be changed, with the function it stands in and the place it holds."""
    for field, value in ast.iter_fields(node):
        if field in {"annotation", "returns", "decorator_list", "bases", "type_params", "targets"}:
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or left_alone(child):
                continue
            inner = function
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inner = f"{function}.{child.name}".lstrip(".") if function_like(function, node) else function
            yield inner, node, (field, index), child
            yield from sites(child, inner)


def function_like(function: str, holder: ast.AST) -> bool:
    """A function within a function bears the outer one's name, for that is what the tests are known to call."""
    return isinstance(holder, ast.Module | ast.ClassDef) or not function


def left_alone(node: ast.AST) -> bool:
    match node:
        case (
            ast.Expr(value=ast.Constant())
            | ast.Raise()
            | ast.Assert()
            | ast.JoinedStr()
            | ast.Import()
            | ast.ImportFrom()
        ):
            return True
        case ast.If(body=[*_, ast.Raise()], orelse=[]) | ast.ExceptHandler():
            return True
        case ast.Assign(targets=[ast.Name(id=name)]) if name in MESSAGES:
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id="_checks"))):
            return True
        case ast.FunctionDef(name="__repr__" | "__str__" | "__post_init__"):
            return True
        case ast.keyword(arg=name) if name in TOLERANCES:
            return True
    return False


def changes(node: ast.AST, holder: ast.AST, field: str) -> Iterator[tuple[str, Any]]:
    """Kind and replacement of every change of one node."""
    match node:
        case ast.BinOp(left, ast.MatMult(), right):
            yield "swapped", ast.BinOp(right, ast.MatMult(), left)
            yield from (("transposed", ast.BinOp(turned(left), ast.MatMult(), right)),) if turned(left) else ()
            yield from (("transposed", ast.BinOp(left, ast.MatMult(), turned(right))),) if turned(right) else ()
        case ast.BinOp(left, op, right):
            yield from (("operator", ast.BinOp(left, new(), right)) for new in SWAPS.get(type(op), ()))
            if isinstance(op, ast.Add | ast.Sub | ast.Mult):
                yield "dropped", left
                yield "dropped", ast.UnaryOp(ast.USub(), right) if isinstance(op, ast.Sub) else right
            if isinstance(op, ast.Div | ast.Pow):
                yield "dropped", left
        case ast.UnaryOp(ast.USub() | ast.Not(), operand):
            yield "sign", operand
        case ast.Compare(left, [op], right):
            yield from (("comparison", ast.Compare(left, [new()], right)) for new in SWAPS.get(type(op), ()))
        case ast.BoolOp(op, values):
            yield "logic", ast.BoolOp(SWAPS[type(op)][0](), values)
        case ast.IfExp(test, body, orelse):
            yield "branch", ast.IfExp(test, orelse, body)
        case ast.If(test, body, [_, *_] as orelse) if not isinstance(orelse[0], ast.If):
            yield "branch", ast.If(test, orelse, body)
        case ast.Constant(value=bool() as value):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int() as value):
            yield from (("constant", ast.Constant(new)) for new in {0: (1,), 1: (0, 2)}.get(value, (value + 1,)))
        case ast.Constant(value=float() as value):
            yield "constant", ast.Constant({0.0: 1.0, 0.5: 1.0, 1.0: 2.0}.get(value, 1.5 * value))
        case ast.Attribute(value, "T"):
            yield "transposed", value
        case ast.Call(ast.Attribute(value, name), arguments, keywords):
            if name in TWINS:
                yield "word", ast.Call(ast.Attribute(value, TWINS[name], ast.Load()), arguments, keywords)
            if name in DROPPED and len(arguments) == 1:
                yield "dropped", arguments[0]
        case ast.Call(ast.Name(name), arguments, keywords) if name in TWINS:
            yield "word", ast.Call(ast.Name(TWINS[name], ast.Load()), arguments, keywords)
    match holder:  # a keyword that repeats its argument may be forgotten; a result may have the wrong sign
        case ast.Call(func, arguments, keywords) if isinstance(node, ast.keyword):
            if isinstance(node.value, ast.Name) and isinstance(func, ast.Name):
                yield "forgotten", ast.keyword(None, ast.Dict([], []))
        case ast.Return() | ast.Assign() if field == "value" and isinstance(node, ast.BinOp):
            yield "sign", ast.UnaryOp(ast.USub(), node)


def turned(node: ast.expr) -> ast.expr | None:
    """A bare name with a transpose added."""
    return ast.Attribute(node, "T", ast.Load()) if isinstance(node, ast.Name) else None


def text(node: Any) -> str:
    """Source of a node in one line, cut to 80 characters."""
    whole = " ".join(ast.unparse(ast.fix_missing_locations(node)).split())
    return whole if len(whole) <= 80 else whole[:79] + "…"
