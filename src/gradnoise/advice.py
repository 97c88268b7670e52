"""Advice in plain words: "the batch size changes, what now?". Closed forms of `theory` and `scaling`, read for a practitioner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gradnoise import _checks, scaling, theory
from gradnoise._types import Array, ArrayLike

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
TOLERANCE = scaling.TOLERANCE


@dataclass(frozen=True)
class BatchRow:
    """Settings for one batch size under the linear rule.

    Attributes
    ----------
    batch_size, learning_rate, momentum
        B, η in proportion to B, μ unchanged.
    noise_scale
        Smith and Le's g = η(N/B - 1)/(1 - μ); None where N is not known.
    fraction_of_edge
        η over the stability edge; None where the curvature is not known.
    valid
        Whether the stationary law stays the same within 5 % in every direction.
    note
        Why, or what changes.
    """

    batch_size: int
    learning_rate: float
    momentum: float
    noise_scale: float | None
    fraction_of_edge: float | None
    valid: bool
    note: str


@dataclass(frozen=True)
class BatchAdvice:
    """What to change when the batch size changes.

    Attributes
    ----------
    text
        The advice in a few plain sentences.
    rows
        One `BatchRow` a batch size, ascending.
    """

    text: str
    rows: tuple[BatchRow, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"text": self.text, "rows": [asdict(row) for row in self.rows]}

    def __str__(self) -> str:
        head = f"{'batch':>8} {'learning rate':>14} {'of edge':>8}  note"
        lines = [
            f"{row.batch_size:>8} {row.learning_rate:>14.4g} "
            f"{'-' if row.fraction_of_edge is None else format(row.fraction_of_edge, '.2f'):>8}  {row.note}"
            for row in self.rows
        ]
        return "\n".join([self.text, head, *lines])


def batch_change(
    settings: Mapping[str, Any],
    *,
    to_batch_size: int | None = None,
    factors: Iterable[float] | None = None,
    hessian: ArrayLike | None = None,
    num_examples: int | None = None,
) -> BatchAdvice:
    """Say what to change when the batch size changes, and where the answer stops being true.

    Parameters
    ----------
    settings
        As for `scaling.linear`: "learning_rate", "batch_size", optionally "momentum", "nesterov", ...
    to_batch_size
        The one new batch size; or
    factors
        new over old batch size; default 1/4, 1/2, 1, 2, 4, 8. Factors whose batch is not whole, or above N, are left out.
    hessian
        H (D, D) of the mean loss at the mode: asks how near the stability edge is and which directions change.
    num_examples
        N: asks how much the finite number of examples changes the noise.

    Returns
    -------
    BatchAdvice

    Raises
    ------
    ValueError, TypeError
        If the settings are not what `scaling.linear` takes, or no batch size is left.

    Notes
    -----
    Along curvature λ the exact stationary variance is ηC/(B(1-μ)λ)/(2(1 - η/edge_λ)): the linear rule keeps η/B, and the
    last factor is what changes. Without replacement C/B is (C/B)(N-B)/(N-1), so that g changes by (N-κB)/(N-B) too.

    Examples
    --------
    >>> advice = batch_change({"learning_rate": 0.1, "batch_size": 32}, to_batch_size=128, hessian=[[2.0, 0.0], [0.0, 0.1]])
    >>> row = advice.rows[-1]
    >>> row.batch_size, row.learning_rate, row.fraction_of_edge, row.valid
    (128, 0.4, 0.4, False)
    >>> row.note
    'stable, but the variance changes by up to +50 % (1 of 2 directions by more than 5 %)'
    """
    old = scaling.linear(settings, 1.0).settings
    examples = None if num_examples is None else _checks.integer("num_examples", num_examples, low=2)
    size = _checks.batch_size(
        old["batch_size"], examples, "with_replacement" if examples is None else "without_replacement"
    )
    curvature = None if hessian is None else _curvature(hessian)
    sizes = _sizes(size, to_batch_size, factors, examples)
    rows = tuple(_row(old, new, curvature, examples) for new in sizes)
    return BatchAdvice(_text(old, rows, curvature, examples), rows)


def _curvature(hessian: ArrayLike) -> Array:
    """Eigenvalues of H, ascending; the largest must be positive."""
    theory.stability_edge(hessian)
    return np.linalg.eigvalsh(np.asarray(hessian, np.float64))


def _sizes(size: int, to: int | None, factors: Iterable[float] | None, examples: int | None) -> list[int]:
    if to is not None and factors is not None:
        msg = "to_batch_size and factors must not both be given."
        raise ValueError(msg)
    if to is not None:
        return sorted(
            {size, _checks.batch_size(to, examples, "with_replacement" if examples is None else "without_replacement")}
        )
    wanted = [_checks.positive("factors", factor) * size for factor in (FACTORS if factors is None else factors)]
    whole = {round(b) for b in wanted if abs(b - round(b)) < 1e-9 * b and round(b) >= 1}
    kept = sorted(b for b in whole if examples is None or b <= examples)
    if not kept:
        msg = f"factors must give at least one whole batch size up to num_examples = {examples}, got {wanted}."
        raise ValueError(msg)
    return kept


def _row(old: Mapping[str, Any], size: int, curvature: Array | None, examples: int | None) -> BatchRow:
    momentum, nesterov = old.get("momentum", 0.0), _is_nesterov(old)
    new = scaling.linear(old, size / old["batch_size"])
    rate = new["learning_rate"]
    scale = fraction = None
    against: list[str] = []
    if examples is not None:
        scale = _noise_scale(new.settings, examples)
        before = _noise_scale(old, examples)
        if abs(scale - before) > TOLERANCE * before:
            change = f"changes by {_percent(scale / before - 1)}" if before > 0 else "is zero now and will not be"
            against.append(f"the noise scale {change}: a batch is {size / examples:.0%} of the data")
    stable = True
    if curvature is not None:
        edge = theory.rate_edge(momentum=momentum, nesterov=nesterov) / curvature[-1]
        fraction = float(rate / edge)
        stable = fraction < 1 - 1e-9  # at the edge itself nothing is stationary
        if not stable:
            where = "at" if fraction < 1 + 1e-9 else f"{fraction:.3g} times"
            against = [f"diverges: {where} the stability edge {edge:.3g}"]
        elif old["learning_rate"] < edge and not nesterov:
            against = [*_variance_change(old, new.settings, curvature), *against]
    if size == old["batch_size"]:
        return BatchRow(size, rate, momentum, scale, fraction, stable, "as it is now" if stable else against[0])
    if not against:
        note = (
            "the same stationary law within 5 %"
            if curvature is not None
            else "η/B kept; how near the stability edge is unknown"
        )
        return BatchRow(size, rate, momentum, scale, fraction, True, note)
    note = "; ".join(against)
    return BatchRow(size, rate, momentum, scale, fraction, False, f"stable, but {note}" if stable else note)


def _variance_change(old: Mapping[str, Any], new: Mapping[str, Any], curvature: Array) -> list[str]:
    """Relative change of the exact stationary variance along each curvature, in words; empty within tolerance."""
    limit = theory.rate_edge(momentum=old.get("momentum", 0.0))
    change = (1 - old["learning_rate"] * curvature / limit) / (1 - new["learning_rate"] * curvature / limit) - 1
    worst = change[np.abs(change).argmax()]
    if abs(worst) <= TOLERANCE:
        return []
    count = int((np.abs(change) > TOLERANCE).sum())
    return [f"the variance changes by up to {_percent(worst)} ({count} of {len(change)} directions by more than 5 %)"]


def _text(old: Mapping[str, Any], rows: tuple[BatchRow, ...], curvature: Array | None, examples: int | None) -> str:
    said = [
        f"Change the learning rate in proportion to the batch size and keep the momentum: η/B = {old['learning_rate']:.4g}/{old['batch_size']} "
        "is what the stationary law depends on. Count the training length in epochs, not in steps."
    ]
    if curvature is not None:
        edge = theory.rate_edge(momentum=old.get("momentum", 0.0), nesterov=_is_nesterov(old)) / curvature[-1]
        largest = max(1, round(float(f"{old['batch_size'] * edge / old['learning_rate']:.3g}")))
        said.append(
            f"The learning rate must stay below the stability edge {edge:.4g}, which the rule reaches at a batch size of about {largest:,}."
        )
        exact = [row.batch_size for row in rows if row.valid]
        if exact:
            said.append(f"Of the batch sizes shown, the law stays within 5 % at {', '.join(map(str, exact))}.")
    if examples is not None:
        said.append(
            "This is for batches drawn independently; shuffled epochs, which data loaders give, have less noise in all directions that "
            "relax slower than an epoch (a last batch far smaller than the others, which loaders keep by default, takes that back), and the rule "
            "keeps that too only while an epoch has many steps."
        )
    return " ".join(said)


def _noise_scale(settings: Mapping[str, Any], examples: int) -> float:
    return theory.noise_scale(
        learning_rate=settings["learning_rate"],
        batch_size=settings["batch_size"],
        num_examples=examples,
        momentum=settings.get("momentum", 0.0),
    )


def _is_nesterov(settings: Mapping[str, Any]) -> bool:
    return bool(settings.get("nesterov", False)) or settings.get("optimizer") == "nesterov"


def _percent(change: float) -> str:
    return f"{100 * change:+.0f} %".replace("-", "−")
