"""Problem: per-example log-likelihood, log-prior, data and initial parameters; the noun everything starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradnoise import _checks, _tree
from gradnoise._types import AnyArray, Pytree


@_tree.record(static=("log_likelihood", "log_prior", "predict", "sample", "align"), labels=("names",))
class Problem:
    """A statistical problem whose **mean loss** is L = -(1/N) [ Σ_n log_likelihood(params, example_n) + log_prior(params) ].

    ``U = N·L`` is the negative log posterior (up to a constant). Arrays are kept as given: no cast, no copy.

    Parameters
    ----------
    log_likelihood
        ``log_likelihood(params, example)`` (with ``hyperparams`` as third argument where they are given) -> scalar,
        for one example, i.e. `data` without its leading axis.
    data
        Pytree of arrays with one leading axis of length N.
    init
        Initial parameters: any pytree of floating arrays, D numbers in all.
    log_prior
        ``log_prior(params)`` (``, hyperparams``) -> scalar, or None for a flat prior.
    hyperparams
        Optional pytree of numbers that both functions read (prior scales, observation scale). They are traced: changing
        them does not recompile.
    predict, sample
        ``predict(params, inputs)`` and ``sample(key, params, inputs)`` for posterior predictives; where hyperparams are
        given, both get them last.
    names
        Optional names of the D parameters, in the order of `flatten`.
    align
        Optional function data -> data with rows laid out for speed (padded, say), on which `log_likelihood` has the same
        values. The engine applies it where it pays.

    Raises
    ------
    TypeError, ValueError
        If parameters are not floating, leaves of `data` disagree on N, are empty or hold NaN or infinity, or if
        `log_likelihood` or `log_prior` does not return one number.
    """

    log_likelihood: Callable[..., Any]
    data: Pytree
    init: Pytree
    log_prior: Callable[..., Any] | None = None
    hyperparams: Pytree = field(default=None, kw_only=True)
    predict: Callable[..., Any] | None = field(default=None, kw_only=True)
    sample: Callable[..., Any] | None = field(default=None, kw_only=True)
    names: tuple[str, ...] | None = field(default=None, kw_only=True)
    align: Callable[[Any], Any] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.names is not None:
            object.__setattr__(self, "names", tuple(map(str, self.names)))
        _check_params(self.init)
        _check_data(self.data)
        _check_functions(self)

    @property
    def num_examples(self) -> int:
        """N, the length of the leading axis of `data`."""
        return int(np.shape(jax.tree.leaves(self.data)[0])[0])

    @property
    def num_params(self) -> int:
        """D, the number of numbers in `params`."""
        return _tree.size(self.init)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the D parameters: as given, else from the pytree's paths."""
        if self.names is not None:
            return self.names
        out: list[str] = []
        for path, leaf in jax.tree_util.tree_flatten_with_path(self.init)[0]:
            stem = jax.tree_util.keystr(path, simple=True, separator=".") or "theta"
            shape = tuple(np.shape(leaf))
            out += [f"{stem}[{','.join(map(str, i))}]" if shape else stem for i in np.ndindex(*shape)]
        return tuple(out)

    def flatten(self, params: Pytree) -> AnyArray:
        """Return params as one vector (D,), in the order of `jax.flatten_util.ravel_pytree`."""
        return _tree.flatten(params)

    def unflatten(self, vector: Any) -> Pytree:
        """Return a vector (..., D) as params; leading axes are kept."""
        return _tree.unflatten(vector, self.init)

    def loss(self, params: Pytree) -> Any:
        """Mean loss L over all N examples, prior included; a scalar."""
        # a caller's jit keeps what it closes over in single precision, by identity; these views are its own (jax 0.10)
        views = jax.tree.map(lambda leaf: leaf[:] if isinstance(leaf, np.ndarray) else leaf, self.data)
        return self.batch_loss(jax.tree.map(jnp.asarray, params), views)

    def batch_loss(self, params: Pytree, batch: Pytree, weights: Any = None) -> Any:
        """Unbiased estimate of L from a batch: -(1/B) Σ_b log_likelihood - (1/N) log_prior.

        With `weights` (B,): -Σ_b w_b log_likelihood_b - (1/N) log_prior.
        """
        values = jax.vmap(lambda example: self._log_likelihood(params, example))(batch)
        loss = -jnp.mean(values) if weights is None else -jnp.sum(weights * values)
        if self.log_prior is None:
            return loss
        return loss - self._log_prior(params) / self.num_examples

    def example_loss(self, params: Pytree, example: Pytree) -> Any:
        """l_n = -log_likelihood - (1/N) log_prior, so that L is the mean of l_n and C the covariance of its gradients."""
        loss = -self._log_likelihood(params, example)
        return loss if self.log_prior is None else loss - self._log_prior(params) / self.num_examples

    def _log_likelihood(self, params: Pytree, example: Pytree) -> Any:
        if self.hyperparams is None:
            return self.log_likelihood(params, example)
        return self.log_likelihood(params, example, self.hyperparams)

    def _log_prior(self, params: Pytree) -> Any:
        if self.log_prior is None:
            return 0.0
        return self.log_prior(params) if self.hyperparams is None else self.log_prior(params, self.hyperparams)

    def __repr__(self) -> str:
        name = getattr(self.log_likelihood, "__name__", "log_likelihood")
        return f"Problem({name}, num_examples={self.num_examples}, num_params={self.num_params})"


def _check_params(init: Pytree) -> None:
    leaves = jax.tree_util.tree_flatten_with_path(init)[0]
    if not leaves:
        msg = "init must hold at least one array of parameters, got an empty pytree."
        raise ValueError(msg)
    for path, leaf in leaves:
        where = f"init{jax.tree_util.keystr(path)}"
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            came = f"dtype {dtype}" if dtype is not None else _checks.shown(leaf)
            msg = f"{where} must be a floating-point array (such as np.zeros(3, np.float32)), got {came}."
            raise TypeError(msg)
        if not np.isfinite(np.asarray(leaf, dtype=np.float64)).all():
            msg = f"{where} must be finite, but holds NaN or infinity."
            raise ValueError(msg)


def _check_data(data: Pytree) -> None:
    leaves = jax.tree_util.tree_flatten_with_path(data)[0]
    if not leaves:
        msg = "data must hold at least one array with a leading axis of examples, got an empty pytree."
        raise ValueError(msg)
    lengths: dict[str, int] = {}
    for path, leaf in leaves:
        where = f"data{jax.tree_util.keystr(path)}"
        if not hasattr(leaf, "dtype") or np.ndim(leaf) == 0:
            msg = f"{where} must be an array with a leading axis of examples, got {_checks.shown(leaf)}."
            raise TypeError(msg)
        if leaf.dtype.kind not in "fiub" and not jnp.issubdtype(leaf.dtype, jnp.number):
            msg = f"{where} must hold numbers, got dtype {leaf.dtype}. Encode strings as numbers first."
            raise TypeError(msg)
        lengths[where] = int(leaf.shape[0])
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            bad = ~np.isfinite(np.asarray(leaf)).reshape(leaf.shape[0], -1).all(1)
            if bad.any():
                msg = f"{where} must be finite, but {int(bad.sum())} of {len(bad)} examples hold NaN or infinity (first: row {int(bad.argmax())})."
                raise ValueError(msg)
    if len(set(lengths.values())) > 1:
        msg = (
            f"data must have one leading axis of N examples, got {', '.join(f'{k}: {v}' for k, v in lengths.items())}."
        )
        raise ValueError(msg)
    if not next(iter(lengths.values())):
        msg = "data must hold at least one example, got N = 0."
        raise ValueError(msg)


def _check_functions(problem: Problem) -> None:
    example = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), problem.data)
    calls: tuple[tuple[str, Any, tuple[Any, ...]], ...] = (
        ("log_likelihood", problem._log_likelihood, (problem.init, example)),
        ("log_prior", problem._log_prior, (problem.init,)),
    )
    for name, function, arguments in calls:
        try:
            leaves = jax.tree.leaves(jax.eval_shape(function, *arguments))
        except Exception as error:  # the user's function may raise anything
            shapes = jax.tree.map(lambda a: tuple(np.shape(a)), arguments)
            msg = f"{name} failed when called with params (and one example) of shapes {shapes}: {type(error).__name__}: {error}"
            raise ValueError(msg) from error
        if len(leaves) != 1 or leaves[0].shape != ():
            came = leaves[0].shape if len(leaves) == 1 else f"{len(leaves)} values"
            msg = f"{name} must return one number (shape ()), got {came}. It is called with one example at a time: sum over its axes."
            raise ValueError(msg)
        if not jnp.issubdtype(leaves[0].dtype, jnp.floating):
            msg = f"{name} must return a floating-point number, got dtype {leaves[0].dtype}: it has no gradient."
            raise TypeError(msg)
    if problem.names is not None and len(problem.names) != problem.num_params:
        msg = f"names must name all {problem.num_params} parameters, got {len(problem.names)}."
        raise ValueError(msg)
