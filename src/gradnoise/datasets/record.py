"""Dataset: features, target and what was done to them; standardisation and train/test split."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gradnoise import _checks
from gradnoise._types import AnyArray, Array, ArrayLike

MODELS = ("linear", "logistic", "softmax", "poisson")


@dataclass(frozen=True, eq=False)
class Dataset:
    """A table ready for a model.

    Attributes
    ----------
    X
        Features (N, d), float64, finite.
    y
        Target (N,), float64; class numbers 0, 1, … for logistic and softmax.
    feature_names
        d names, in the order of the columns of X.
    target_name
        Name of the target.
    class_labels
        Labels of the classes 0, 1, …, for logistic and softmax; else None.
    weights
        Example weights (N,), nonnegative, or None.
    model
        The model the target was checked for ("linear", "logistic", "softmax", "poisson"), or None.
    notes
        What was done to the data, one plain sentence each.
    offset
        Added to the linear predictor of a Poisson model (N,): the log of an exposure; or None.
    """

    X: Array
    y: Array
    feature_names: tuple[str, ...]
    target_name: str
    class_labels: tuple[str, ...] | None = None
    weights: Array | None = None
    model: str | None = None
    notes: tuple[str, ...] = ()
    offset: Array | None = None

    def __post_init__(self) -> None:
        count, width = len(self.feature_names), np.shape(self.X)
        if len(width) != 2 or width[1] != count or not np.isfinite(self.X).all():
            msg = f"X must be finite with shape (N, {count}), one column for each of feature_names, got shape {width}."
            raise ValueError(msg)
        _checks.vector("y", self.y, width[0])
        if self.weights is not None:
            _checks.vector("weights", self.weights, width[0])
        if self.offset is not None:
            _checks.vector("offset", self.offset, width[0])

    @property
    def num_examples(self) -> int:
        """N, rows."""
        return int(self.X.shape[0])

    @property
    def num_features(self) -> int:
        """d, columns of X."""
        return int(self.X.shape[1])

    def __repr__(self) -> str:
        kind = f", model={self.model!r}" if self.model else ""
        classes = f", classes={len(self.class_labels)}" if self.class_labels else ""
        return f"Dataset(num_examples={self.num_examples}, num_features={self.num_features}, target={self.target_name!r}{kind}{classes})"

    def rows(self, index: AnyArray) -> Dataset:
        """Return the rows with these numbers, in this order."""
        weights = None if self.weights is None else self.weights[index]
        offset = None if self.offset is None else self.offset[index]
        return replace(self, X=self.X[index], y=self.y[index], weights=weights, offset=offset)


@dataclass(frozen=True, eq=False)
class Standardisation:
    """The affine map of `standardise`: x → (x − mean)/scale, column by column.

    Attributes
    ----------
    feature_means, feature_scales
        (d,), unit of each feature; scales are standard deviations with divisor N, or the sum of the weights.
    target_mean, target_scale
        0 and 1 where the target was left as it is.
    """

    feature_means: Array
    feature_scales: Array
    target_mean: float = 0.0
    target_scale: float = 1.0

    def apply(self, dataset: Dataset) -> Dataset:
        """Return another data set (a test split) on this scale."""
        X = (dataset.X - self.feature_means) / self.feature_scales
        return replace(dataset, X=X, y=(dataset.y - self.target_mean) / self.target_scale)

    def undo(self, dataset: Dataset) -> Dataset:
        """Return a standardised data set in its own units again."""
        X = dataset.X * self.feature_scales + self.feature_means
        return replace(dataset, X=X, y=dataset.y * self.target_scale + self.target_mean)

    def coefficients(self, vector: ArrayLike, covariance: ArrayLike | None = None) -> tuple[Array, Array | None]:
        """Return coefficients of the standardised data in the units of the features and the target.

        Parameters
        ----------
        vector
            Coefficients of the d features, then the intercept: (d + 1,), or (d + 1, K) flattened row by row for K classes.
        covariance
            Their covariance, of the same order; optional.

        Returns
        -------
        tuple
            The coefficients in the same order, and their covariance (or None): β_j = (s_y/s_j) b_j and
            β_0 = m_y + s_y (b_0 - Σ_j b_j m_j/s_j), which is linear and exact.

        Raises
        ------
        ValueError
            If `vector` does not hold d + 1 numbers for each class.

        Examples
        --------
        >>> data = Dataset(np.array([[1.0], [3.0], [8.0]]), np.array([5.0, 9.0, 19.0]), ("a",), "y")  # y = 3 + 2 a
        >>> _, scaling = standardise(data, target=True)
        >>> scaling.coefficients([1.0, 0.0])[0].round(9).tolist()
        [2.0, 3.0]
        """
        vector, rows = _checks.vector("vector", vector), len(self.feature_scales) + 1
        if vector.size == 0 or vector.size % rows:
            msg = f"vector must hold {rows} numbers for each class (the coefficients, then the intercept), got {vector.size}."
            raise ValueError(msg)
        linear = np.diag(self.target_scale / np.append(self.feature_scales, 1.0))
        linear[-1, :-1] = -self.target_scale * self.feature_means / self.feature_scales
        linear = np.asarray(np.kron(linear, np.eye(vector.size // rows)), np.float64)
        shift = np.repeat(np.append(np.zeros(rows - 1), self.target_mean), vector.size // rows)
        if covariance is None:
            return linear @ vector + shift, None
        return linear @ vector + shift, linear @ _checks.square("covariance", covariance, vector.size) @ linear.T


def standardise(dataset: Dataset, target: bool = False) -> tuple[Dataset, Standardisation]:
    """Centre every feature and divide it by its standard deviation (divisor N; an example of weight w counts as w examples).

    Parameters
    ----------
    dataset
        What to standardise.
    target
        Standardise the target too; only for numeric targets (model "linear" or None).

    Returns
    -------
    tuple
        The standardised data set and the `Standardisation`, which can be applied to a test split, and undone.

    Raises
    ------
    ValueError
        If a feature, or a target to be standardised, is constant, or the target holds classes or counts.

    Examples
    --------
    >>> data = Dataset(np.array([[1.0, 5.0], [3.0, 9.0]]), np.array([2.0, 4.0]), ("a", "b"), "y")
    >>> scaled, scaling = standardise(data)
    >>> scaled.X.tolist(), scaling.undo(scaled).X.tolist()
    ([[-1.0, -1.0], [1.0, 1.0]], [[1.0, 5.0], [3.0, 9.0]])
    """
    counted: AnyArray | slice = slice(None)
    if dataset.weights is not None and not (counted := dataset.weights > 0).any():
        msg = "dataset must have a row of positive weight, but all weights are 0."
        raise ValueError(msg)
    constant = np.flatnonzero(np.ptp(dataset.X[counted], axis=0) == 0)
    if constant.size:
        msg = f"dataset has constant features, which have no scale: {', '.join(dataset.feature_names[i] for i in constant[:5])}."
        raise ValueError(msg)
    means, scales = _moments(dataset.X, dataset.weights)
    if not target:
        scaling = Standardisation(means, scales)
        note = "Standardised every feature to mean 0 and standard deviation 1."
    else:
        if dataset.model not in (None, "linear"):
            msg = f"target=True needs a numeric target, but {dataset.target_name!r} was loaded for model={dataset.model!r}."
            raise ValueError(msg)
        if np.ptp(dataset.y[counted]) == 0:
            msg = f"target=True needs a target that varies, but {dataset.target_name!r} is {dataset.y[0]:g} everywhere."
            raise ValueError(msg)
        centre, spread = _moments(dataset.y, dataset.weights)
        scaling = Standardisation(means, scales, float(centre), float(spread))
        note = "Standardised every feature and the target to mean 0 and standard deviation 1."
    return replace(scaling.apply(dataset), notes=(*dataset.notes, note)), scaling


def _moments(values: Array, weights: Array | None) -> tuple[Array, Array]:
    """Return mean and standard deviation over the rows, each counted `weights` times."""
    share = np.full(len(values), 1 / len(values)) if weights is None else weights / weights.max()
    share = share / share.sum()
    means = share @ values
    return means, np.sqrt(share @ (values - means) ** 2)


def split(dataset: Dataset, test_fraction: float = 0.2, *, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Split at random into a training and a test set.

    Parameters
    ----------
    dataset
        What to split.
    test_fraction
        Fraction of the rows in the test set, in (0, 1); the number is rounded to the nearest, at least one on each side.
    seed
        Seed of the permutation: the same seed gives the same split.

    Returns
    -------
    tuple
        (train, test); rows of both are in random order.

    Examples
    --------
    >>> data = Dataset(np.arange(10.0)[:, None], np.arange(10.0), ("a",), "y")
    >>> train, test = split(data, 0.3)
    >>> train.num_examples, test.num_examples, sorted([*train.y, *test.y]) == list(range(10))
    (7, 3, True)
    """
    fraction = _checks.within("test_fraction", test_fraction, 0.0, 1.0, closed="neither")
    seed = _checks.integer("seed", seed, low=0)
    count = dataset.num_examples
    if count < 2:
        msg = f"dataset must have at least two rows to be split, got {count}."
        raise ValueError(msg)
    size = min(max(round(count * fraction), 1), count - 1)
    order = np.random.default_rng(seed).permutation(count)
    notes = (*dataset.notes, f"Split at random (seed {seed}) into {count - size} training and {size} test rows.")
    both = replace(dataset, notes=notes)
    return both.rows(order[size:]), both.rows(order[:size])
