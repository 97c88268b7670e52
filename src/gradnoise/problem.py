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
        for one example, i.e. `data` without its leading axis. Written with `jax.numpy`; twice differentiable where the posterior
        is, and smooth: no |θ|, no maximum.
    data
        Pytree of arrays with one leading axis of length N. Columns of a frame: ``{"x": frame["x"].to_numpy(), ...}``.
    init
        Initial parameters: any pytree of floating arrays, D numbers in all; Python numbers and lists of them become float64
        arrays. The loss must be finite there.
    log_prior
        ``log_prior(params)`` (``, hyperparams``) -> scalar, or None for a flat prior. Any constant may be left out, but not for
        `infer.evidence` and hyperparameters, which need a density that integrates to 1 (``-½θ²/s² - log s - ½ log 2π``).
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

    Notes
    -----
    **Positive parameters.** Take the logarithm as parameter: ``scale = jnp.exp(log_scale)``. The posterior is then nearer to a
    Gaussian, and no step can leave its support. A prior on the scale itself becomes one on the logarithm with the Jacobian added:
    ``log_prior(scale) + log_scale``. Other bounds likewise (`jax.nn.sigmoid` for (0, 1)).

    **NaN.** Where the loss is NaN or infinite there is no posterior. `find_mode` shortens its steps there and says where the loss
    ends if that stops it; a chain that gets there is stopped, counted as diverged and named. ``jnp.where(ok, f(θ), …)`` does not
    help where f itself is NaN: both branches are differentiated.

    Examples
    --------
    Counts of variance μ + μ²/r about their mean μ = eᵗ, both parameters by their logarithms:

    >>> from jax.scipy.special import gammaln
    >>> def log_likelihood(params, example):
    ...     r, mu, y = jnp.exp(params["log_r"]), jnp.exp(params["log_mean"]), example["count"]
    ...     chosen = gammaln(y + r) - gammaln(r) - gammaln(y + 1)
    ...     return chosen + r * jnp.log(r / (r + mu)) + y * jnp.log(mu / (r + mu))
    >>> def log_prior(params):
    ...     return -0.5 * (params["log_r"] ** 2 + params["log_mean"] ** 2) - jnp.log(2 * jnp.pi)
    >>> counts = {"count": np.array([0, 3, 1, 0, 7, 2])}
    >>> problem = Problem(log_likelihood, counts, {"log_mean": 0.0, "log_r": 0.0}, log_prior)
    >>> problem.parameter_names
    ('log_mean', 'log_r')
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
        object.__setattr__(self, "init", _numbers_as_arrays(self.init))
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


def _numbers_as_arrays(init: Pytree) -> Pytree:
    """Return params with Python numbers, and lists of nothing else, as float64 arrays; the rest as it is."""

    def plain(part: Any) -> bool:
        if isinstance(part, list):
            return len(part) > 0 and all(plain(one) for one in part)
        return isinstance(part, int | float) and not isinstance(part, bool | np.generic)

    def one(part: Any) -> Any:
        try:
            return np.asarray(part, np.float64) if plain(part) else part
        except ValueError:  # rows of different lengths
            return part

    return jax.tree.map(one, init, is_leaf=plain)


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
        _check_kept(where, leaf)
        if not np.isfinite(np.asarray(leaf, dtype=np.float64)).all():
            msg = f"{where} must be finite, but holds NaN or infinity."
            raise ValueError(msg)


def _check_kept(where: str, leaf: Any) -> None:
    """Refuse what JAX would read as something else: masked entries, and numbers wider than float64."""
    if isinstance(leaf, np.ma.MaskedArray) and np.ma.is_masked(leaf):
        msg = f"{where} must not hide entries, but {np.ma.count_masked(leaf)} are masked: what lies below a mask is no data."
        raise ValueError(msg)
    if leaf.dtype.itemsize > 8 and leaf.dtype.kind == "f":
        msg = f"{where} must be float32 or float64, got dtype {leaf.dtype}. Give it .astype(np.float64)."
        raise TypeError(msg)


def _check_data(data: Pytree) -> None:
    leaves = jax.tree_util.tree_flatten_with_path(data)[0]
    if not leaves:
        msg = "data must hold at least one array with a leading axis of examples, got an empty pytree."
        raise ValueError(msg)
    lengths: dict[str, int] = {}
    for path, leaf in leaves:
        where = f"data{jax.tree_util.keystr(path)}"
        if hasattr(leaf, "to_numpy"):  # a frame or a series of pandas, Polars, Arrow
            columns = [str(c) for c in getattr(leaf, "columns", ())][:2]
            cure = f"{where}={_columns(columns)}" if columns else f"{where} as .to_numpy()"
            msg = f"{where} must be an array or a pytree of arrays, got a {type(leaf).__name__}. Pass {cure}."
            raise TypeError(msg)
        if not hasattr(leaf, "dtype") or np.ndim(leaf) == 0:
            msg = f"{where} must be an array with a leading axis of examples, got {_checks.shown(leaf)}."
            raise TypeError(msg)
        if leaf.dtype.kind not in "fiub" and not jnp.issubdtype(leaf.dtype, jnp.number):
            msg = f"{where} must hold numbers, got dtype {leaf.dtype}. Encode strings as numbers first."
            raise TypeError(msg)
        _check_kept(where, leaf)
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


def _columns(names: list[str]) -> str:
    return "{" + ", ".join([*(f"{name!r}: frame[{name!r}].to_numpy()" for name in names), "..."]) + "}"


def _check_functions(problem: Problem) -> None:
    # the dtype that JAX computes in: float64 outside `enable_x64` would only draw its warning that it cannot have it
    example = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], jax.dtypes.canonicalize_dtype(leaf.dtype)), problem.data
    )
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
