"""What a scaling rule returns: new settings, what they keep, when they may be trusted, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

TOLERANCE = 0.05  # relative change of a predicted variance that still counts as "the same"


@dataclass(frozen=True)
class Condition:
    """One assumption of a rule as a number.

    Attributes
    ----------
    value
        The number, dimensionless.
    limit
        The assumption holds where `value` is below it.
    meaning
        What it measures, in words.
    """

    value: float
    limit: float
    meaning: str

    @property
    def holds(self) -> bool:
        """Whether `value` is below `limit`."""
        return self.value < self.limit


Conditions = Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Condition]]


@dataclass(frozen=True, repr=False, eq=False)
class Scaled(Mapping[str, Any]):
    """New settings, readable as a mapping, with what they keep and when they may be trusted.

    Attributes
    ----------
    rule
        Name of the rule.
    factor
        κ = new batch size / old batch size; for svag l, the factor of the gradient's covariance.
    original
        The settings before.
    settings
        The settings after; also ``scaled["learning_rate"]``, ``dict(scaled)``.
    invariants
        What is the same before and after: the constants of the SDE that the rule keeps.
    conditions
        The rule's conditions as a function of (settings before, settings after).
    coefficients
        For svag: weights (c₊, c₋) of the two minibatch gradients; else None.
    """

    rule: str
    factor: float
    original: dict[str, Any]
    settings: dict[str, Any]
    invariants: dict[str, float]
    conditions: Conditions
    coefficients: tuple[float, float] | None = None

    def __getitem__(self, name: str) -> Any:
        return self.settings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.settings)

    def __len__(self) -> int:
        return len(self.settings)

    @property
    def validity(self) -> dict[str, Condition]:
        """Conditions of the rule, those that the given arguments can tell."""
        return self.conditions(self.original, self.settings)

    @property
    def valid(self) -> bool:
        """Whether every condition in `validity` holds."""
        return all(condition.holds for condition in self.validity.values())

    def inverse(self) -> Scaled:
        """Return the way back: `original` = the rule's inverse of `settings`, exactly, whole steps and batches too.

        Scale: a number, 1/κ, is its factor. Limit: the inverse of the inverse is the rule itself.

        >>> from gradnoise.scaling import linear
        >>> dict(linear({"learning_rate": 0.1, "batch_size": 32, "num_steps": 1001}, 3).inverse())
        {'learning_rate': 0.1, 'batch_size': 32, 'num_steps': 1001}
        """
        return Scaled(self.rule, 1 / self.factor, self.settings, self.original, self.invariants, self.conditions)

    def __repr__(self) -> str:
        changed = [f"{k}: {self.original[k]:g} -> {v:g}" for k, v in self.settings.items() if v != self.original[k]]
        return f"Scaled({self.rule}, factor={self.factor:g}, {', '.join(changed)})"


def batch_conditions(num_examples: int | None, gradient_noise_scale: float | None) -> Conditions:
    """Conditions on the larger batch: against the data (noise C/B) and against signal (the noise dominates)."""

    def conditions(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Condition]:
        size, out = max(old["batch_size"], new["batch_size"]), {}
        if num_examples is not None:
            meaning = "larger of B/N before and after: without replacement the noise is C/B·(N−B)/(N−1), not C/B"
            out["batch_share"] = Condition(size / num_examples, TOLERANCE, meaning)
        if gradient_noise_scale is not None:
            meaning = (
                "larger B over the gradient noise scale, |∇L|²/(tr C/B): the gradient noise must outweigh the gradient"
            )
            out["signal"] = Condition(size / gradient_noise_scale, 1.0, meaning)
        return out

    return conditions
