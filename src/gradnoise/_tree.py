"""Pytrees to vectors and back, and records that JAX can trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar, dataclass_transform

import jax
import numpy as np

from gradnoise._types import AnyArray, Pytree

T = TypeVar("T")


class _Label:
    """A value that equals every other: jit does not see it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Label)

    def __hash__(self) -> int:
        return 0


@dataclass_transform(frozen_default=True)
def record(*, static: tuple[str, ...] = (), labels: tuple[str, ...] = ()) -> Callable[[type[T]], type[T]]:
    """Make a frozen dataclass that is a JAX pytree: fields named in `static` are compared, all others are leaves.

    Fields named in `labels` are carried along but never compared: another value does not recompile.

    JAX rebuilds records without `__init__`, so a `__post_init__` checks what a user passes and never sees a tracer.
    """

    def wrap(cls: type[T]) -> type[T]:
        made: Any = dataclass(frozen=True)(cls)
        names = [f.name for f in fields(made)]
        traced = [n for n in names if n not in static and n not in labels]

        def fixed(r: T) -> tuple[Any, ...]:
            return (*(getattr(r, n) for n in static), *(_Label(getattr(r, n)) for n in labels))

        def unflatten(fixed: tuple[Any, ...], leaves: Any) -> T:
            self: T = object.__new__(made)
            for name, value in zip([*static, *labels, *traced], [*fixed, *leaves], strict=True):
                object.__setattr__(self, name, value.value if isinstance(value, _Label) else value)
            return self

        jax.tree_util.register_pytree_with_keys(
            made,
            lambda r: ([(jax.tree_util.GetAttrKey(n), getattr(r, n)) for n in traced], fixed(r)),
            unflatten,
            lambda r: ([getattr(r, n) for n in traced], fixed(r)),
        )
        return made  # type: ignore[no-any-return]

    return wrap


def size(tree: Pytree) -> int:
    """Return the number of numbers in a pytree of arrays."""
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(tree))


def alike(left: Pytree, right: Pytree) -> bool:
    """Whether two pytrees have the same structure."""
    structures: list[Any] = [jax.tree.structure(left), jax.tree.structure(right)]
    return bool(structures[0] == structures[1])


def flatten(tree: Pytree) -> AnyArray:
    """Return one NumPy vector (D,) in the order of `jax.flatten_util.ravel_pytree` (dict keys sorted)."""
    leaves = [np.ravel(np.asarray(leaf)) for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves) if leaves else np.zeros(0)


def flatten_rows(tree: Pytree) -> AnyArray:
    """Return NumPy rows (chains, D) of a pytree whose leaves have a leading chain axis."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def unflatten(vector: Any, like: Pytree) -> Pytree:
    """Cut a vector (..., D) into the shapes of `like`; leading axes are kept. Works on NumPy and traced arrays."""
    leaves, treedef = jax.tree.flatten(like)
    lead, out, at = vector.shape[:-1], [], 0
    for leaf in leaves:
        n = int(np.size(leaf))
        out.append(vector[..., at : at + n].reshape(lead + tuple(np.shape(leaf))))
        at += n
    return jax.tree.unflatten(treedef, out)


def cast(tree: Pytree, dtype: Any) -> Pytree:
    """Cast floating leaves that have a dtype; Python numbers (weakly typed in JAX), integers and the rest are kept."""

    def one(leaf: Any) -> Any:
        if hasattr(leaf, "dtype") and np.issubdtype(leaf.dtype, np.floating):
            return leaf.astype(dtype)
        return leaf

    return jax.tree.map(one, tree)
