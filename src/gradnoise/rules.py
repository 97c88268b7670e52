"""Rule: a deterministic update with its hyperparameters in the open.

`rule(optax.sgd, learning_rate=0.1)` keeps the factory and its numbers apart, so that the numbers are traced: another
learning rate does not recompile, and theory, scaling rules and Langevin can read it.

Conventions are optax's and PyTorch's: m ← μm + g; θ ← θ - ηm.
"""

from __future__ import annotations

import numbers as abstract_numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gradnoise import _checks, _tree
from gradnoise._types import Array, Pytree
from gradnoise.theory import NotLinear


@_tree.record(static=("factory", "fixed"))
class Rule:
    """A factory of `optax.GradientTransformation` and its hyperparameters; make it with `rule`.

    Attributes
    ----------
    factory
        Called with the hyperparameters inside the compiled step.
    hyperparameters
        Numbers (Python floats: weakly typed, so params keep their dtype) and arrays: traced.
    fixed
        Everything else (bool, None, strings, callables): static.
    """

    factory: Callable[..., Any]
    hyperparameters: dict[str, Any]
    fixed: tuple[tuple[str, Any], ...] = ()

    def build(self) -> Any:
        """Return the gradient transformation."""
        return self.factory(**self.hyperparameters, **dict(self.fixed))

    def replace(self, **hyperparameters: Any) -> Rule:
        """Return the rule with other hyperparameters."""
        return rule(self.factory, **{**self.hyperparameters, **dict(self.fixed), **hyperparameters})

    def __repr__(self) -> str:
        settings = {**self.hyperparameters, **dict(self.fixed)}
        inner = ", ".join(f"{k}={_checks.shown(v)}" for k, v in settings.items())
        return f"rule({getattr(self.factory, '__name__', 'factory')}, {inner})"


@_tree.record(static=("transformation",))
class OpaqueRule:
    """A ready-made gradient transformation: it runs, but recompiles per instance, and nobody can read its numbers."""

    transformation: Any

    def build(self) -> Any:
        """Return the gradient transformation."""
        return self.transformation


def rule(factory: Callable[..., Any], **hyperparameters: Any) -> Rule:
    """Return the rule `factory(**hyperparameters)` with its numbers traced.

    Parameters
    ----------
    factory
        An optax factory (`optax.sgd`, `optax.adam`, ...), `preconditioned_sgd`, or any function that returns an
        `optax.GradientTransformation`.
    **hyperparameters
        Its arguments. Numbers become Python floats, arrays stay arrays; both are traced. Other values are static.

    Raises
    ------
    TypeError
        If the factory does not take these arguments, or uses a number in Python control flow (`optax.lbfgs`, `optax.polyak_sgd`).

    Examples
    --------
    >>> import optax
    >>> rule(optax.sgd, learning_rate=0.1, momentum=0.9)
    rule(sgd, learning_rate=0.1, momentum=0.9)
    """
    if not callable(factory):
        msg = f"factory must be a function such as optax.sgd, got {_checks.shown(factory)}."
        raise TypeError(msg)
    traced: dict[str, Any] = {}
    fixed: dict[str, Any] = {}
    for name, value in hyperparameters.items():
        if name == "learning_rate" and (isinstance(value, str) or (not callable(value) and np.ndim(value) > 0)):
            each = (
                ""
                if isinstance(value, str)
                else " A step of its own for each parameter is a preconditioner: preconditioned_sgd."
            )
            msg = f"learning_rate must be a number or a schedule, got {_checks.shown(value)}.{each}"
            raise TypeError(msg)
        if isinstance(value, abstract_numbers.Real) and not isinstance(value, bool):
            traced[name] = _checks.real(name, value)
        elif hasattr(value, "dtype"):
            array = np.asarray(value)
            traced[name] = _checks.real(name, array[()]) if array.ndim == 0 else array
        else:
            fixed[name] = value
    made = Rule(factory, traced, tuple(sorted(fixed.items())))
    _try(made)
    return made


def _try(made: Rule) -> None:
    """Run one abstract step, so that a rule that cannot be traced is refused here and not inside the engine."""
    sizes = [np.shape(v)[0] for v in made.hyperparameters.values() if np.ndim(v)]
    params = jax.ShapeDtypeStruct((sizes[0] if sizes else 2,), jnp.float32)

    def step(numbers: Any, params: Any) -> Any:
        transformation = made.factory(**numbers, **dict(made.fixed))
        return transformation.update(params, transformation.init(params), params)

    name = getattr(made.factory, "__name__", str(made.factory))
    try:
        jax.eval_shape(step, made.hyperparameters, params)
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError) as error:
        msg = (
            f"factory {name} uses one of {sorted(made.hyperparameters)} in Python control flow (`if`, `while`), so it cannot be "
            "traced. optax.lbfgs and optax.polyak_sgd are of this kind; use find_mode for a minimum."
        )
        raise TypeError(msg) from error
    except (TypeError, AttributeError) as error:
        msg = f"factory {name} cannot be called with {sorted({**made.hyperparameters, **dict(made.fixed)})}: {error} (optax.lbfgs and optax.polyak_sgd need more than a gradient and do not run as rules.)"
        raise TypeError(msg) from error


class PreconditionedState(NamedTuple):
    """State of `preconditioned_sgd`: the momentum buffer (D,), or () without momentum."""

    buffer: Any


def preconditioned_sgd(
    learning_rate: Any, preconditioner: Any, momentum: Any = None, nesterov: bool = False
) -> optax.GradientTransformation:
    """SGD with a full matrix preconditioner, which optax lacks: m ← μm + g; θ ← θ - η P m (Nesterov: P(g + μm)).

    Parameters
    ----------
    learning_rate
        η; 1 when `preconditioner` contains it, as returned by `theory.optimal_preconditioner`.
    preconditioner
        P, shape (D, D), or the diagonal of a diagonal one (D,), in the order of `Problem.flatten`; shared by all chains.
    momentum
        μ in [0, 1), or None.
    nesterov
        Nesterov's momentum.
    """

    def init(params: Pytree) -> PreconditionedState:
        return PreconditionedState(() if momentum is None else jnp.zeros_like(_flat(params)))

    def update(grads: Pytree, state: PreconditionedState, params: Pytree = None) -> tuple[Pytree, PreconditionedState]:
        del params
        direction, buffer = _flat(grads), state.buffer
        if momentum is not None:
            buffer = momentum * buffer + direction
            direction = direction + momentum * buffer if nesterov else buffer
        moved = preconditioner @ direction if jnp.ndim(preconditioner) == 2 else preconditioner * direction
        return _tree.unflatten(-learning_rate * moved, grads), PreconditionedState(buffer)

    return optax.GradientTransformation(init, update)


def _flat(tree: Pytree) -> Any:
    leaves = [jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)]
    return leaves[0] if len(leaves) == 1 else jnp.concatenate(leaves)


class LinearUpdate(NamedTuple):
    """What a rule that is linear in the gradient does: P, η, μ of θ ← θ - η P m.

    Attributes
    ----------
    learning_rate, momentum, nesterov
        η, μ and whether the look-ahead gradient is used.
    preconditioner
        P (D, D), or None for the identity.
    """

    learning_rate: float
    momentum: float = 0.0
    nesterov: bool = False
    preconditioner: Array | None = None


def linear_update(made: Rule | OpaqueRule) -> LinearUpdate | NotLinear:
    """Return η, μ, P of a rule that is linear in the gradient, or why there is none."""
    if isinstance(made, OpaqueRule):
        return NotLinear("a bare gradient transformation hides its numbers; pass gn.rule(factory, learning_rate=...)")
    settings = {**made.hyperparameters, **dict(made.fixed)}
    if made.factory not in (optax.sgd, preconditioned_sgd):
        name = getattr(made.factory, "__name__", "this rule")
        return NotLinear(f"{name} is not linear in the gradient, or unknown to gradnoise: no exact law on a quadratic")
    if callable(settings["learning_rate"]):
        return NotLinear("a learning-rate schedule has no stationary law")
    preconditioner = settings.get("preconditioner")
    return LinearUpdate(
        float(settings["learning_rate"]),
        float(settings.get("momentum") or 0.0),
        bool(settings.get("nesterov", False)),
        None if preconditioner is None else _matrix(np.asarray(preconditioner, dtype=np.float64)),
    )


def _matrix(preconditioner: Array) -> Array:
    return np.diag(preconditioner) if preconditioner.ndim == 1 else preconditioner
