"""Posterior: draws, what was predicted of them, and a verdict on whether to trust them."""

from __future__ import annotations

import functools
import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gradnoise import diagnose, theory
from gradnoise._types import AnyArray, Array

# An error of 20 % in every variance is a KL of 0.01 a dimension: more than that is called wrong.
KL_PER_DIMENSION = 0.01
DRIFT_LIMIT = 1.1


class Verdict(NamedTuple):
    """Whether draws may be used as the posterior, and why.

    Attributes
    ----------
    level
        "trustworthy"; "approximate" (the law is as predicted, but known not to be the posterior); "not trustworthy" (the
        law is not as predicted, or the assumptions behind the prediction fail).
    reasons
        Plain sentences with the numbers.
    numbers
        The numbers by name; NaN where one does not apply.
    """

    level: str
    reasons: tuple[str, ...]
    numbers: dict[str, float]

    def __bool__(self) -> bool:
        """Whether the draws are trustworthy."""
        return self.level == "trustworthy"


class Divergences(NamedTuple):
    """KL divergences between Gaussian fits, with the floor that sampling error alone would give.

    Attributes
    ----------
    to_reference
        KL(this ‖ reference), nats.
    from_reference
        KL(reference ‖ this), nats.
    floor
        What both would be in the mean if the laws were equal: D(D+1)/(4n) + D/(2n), summed over both samples.
    """

    to_reference: float
    from_reference: float
    floor: float


@dataclass(frozen=True, eq=False)
class Posterior:
    """Draws of a posterior approximation.

    Attributes
    ----------
    method
        Name of the function that made it.
    draws
        (chain, draw, D), in the order of `Problem.flatten`. Diverged chains are left out.
    names
        Names of the D parameters.
    predicted_mean, predicted_covariance
        The law that theory predicts for the draws, (D,) and (D, D); None where there is no prediction (NUTS).
    effective_draws
        Independent draws that these are worth (for variances), predicted or estimated.
    verdict
        See `Verdict`.
    settings
        What was used: learning rate, thinning, burn-in, steps, ...
    run
        The `Run` behind the draws, or None.
    plan
        The `Plan` that was run, or None: what was predicted of it beforehand.
    """

    method: str
    draws: AnyArray = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    predicted_mean: Array | None = field(repr=False)
    predicted_covariance: Array | None = field(repr=False)
    effective_draws: float
    verdict: Verdict
    settings: dict[str, Any] = field(repr=False, default_factory=dict)
    run: Any = field(repr=False, default=None)
    plan: Any = field(repr=False, default=None)
    exact: bool = False  # the law itself is known: predicted mean and covariance are the truth about this approximation

    @functools.cached_property
    def mean(self) -> Array:
        """Mean (D,): the exact one where it is known, else of the draws."""
        if self.exact and self.predicted_mean is not None:
            return self.predicted_mean
        return np.asarray(self.draws, np.float64).mean((0, 1))  # type: ignore[no-any-return]

    @functools.cached_property
    def covariance(self) -> Array:
        """Covariance (D, D): the exact one where it is known, else of the draws about their mean."""
        if self.exact and self.predicted_covariance is not None:
            return self.predicted_covariance
        flat = np.asarray(self.draws, np.float64).reshape(-1, self.draws.shape[-1])
        return np.atleast_2d(np.cov(flat.T))

    def divergence(self, reference: Posterior) -> Divergences:
        """KL divergences of Gaussian fits, both directions, with the sampling floor.

        Raises
        ------
        ValueError
            If there are too few draws for a positive definite covariance.
        """
        dim = len(self.mean)
        for posterior in (self, reference):
            if not posterior.exact and posterior.draws.shape[0] * posterior.draws.shape[1] <= dim:
                msg = f"draws of {posterior.method} must be more than D = {dim} for a Gaussian fit, got {posterior.draws.shape[:2]}."
                raise ValueError(msg)
        ours, theirs = (self.covariance, self.mean), (reference.covariance, reference.mean)
        floors = [
            0.0 if p.exact else diagnose.kl_floor(dim, p.effective_draws, fitted_mean=True) for p in (self, reference)
        ]
        return Divergences(
            theory.gaussian_kl(ours[0], theirs[0], ours[1], theirs[1]),
            theory.gaussian_kl(theirs[0], ours[0], theirs[1], ours[1]),
            sum(floors),
        )

    def to_datatree(self) -> Any:
        """Return the draws as an `xarray.DataTree` in ArviZ's schema: group `posterior`, variable `theta`."""
        import arviz_base

        with warnings.catch_warnings():  # many short chains are what we mean
            warnings.filterwarnings("ignore", "Found chain dimension to be longer than draw dimension", UserWarning)
            tree = arviz_base.from_dict(
                {"posterior": {"theta": np.asarray(self.draws)}},
                coords={"parameter": list(self.names)},
                dims={"theta": ["parameter"]},
            )
        tree.attrs.update(
            {"method": self.method, "verdict": self.verdict.level, "verdict_reasons": " ".join(self.verdict.reasons)}
        )
        scalars = {k: v for k, v in self.settings.items() if isinstance(v, (int, float, str))}
        tree["posterior"].attrs.update({"inference_library": "gradnoise", **scalars})
        return tree

    def save(self, path: str | Path) -> Path:
        """Write the draws as NetCDF in ArviZ's schema (`xarray.open_datatree` reads it)."""
        path = Path(path)
        self.to_datatree().to_netcdf(path, engine="h5netcdf")
        return path

    def __str__(self) -> str:
        chains, draws, dim = self.draws.shape
        return f"{self.method}: {chains} x {draws} draws of {dim} parameters, {self.verdict.level}. {' '.join(self.verdict.reasons)}"


def judge(
    *,
    dim: int,
    noise_drift: float,
    drift_matters: bool,
    simulated: tuple[Array, Array] | None,
    predicted: tuple[Array, Array],
    target: tuple[Array, Array],
    effective_draws: float,
    diverged: int = 0,
) -> Verdict:
    """Compare what was simulated with what was predicted, and that with the target.

    Parameters
    ----------
    dim
        D.
    noise_drift
        Tr C averaged over the variational law / Tr C at the mode.
    drift_matters
        Whether the law leans on a constant noise covariance (constant SGD does; corrected Langevin hardly).
    simulated, predicted, target
        (mean, covariance) each; target is the Gaussian variational law.
    effective_draws
        What `simulated` is worth, for variances.
    diverged
        Chains that diverged.
    """
    limit = KL_PER_DIMENSION * dim
    designed = theory.gaussian_kl(predicted[1], target[1], predicted[0], target[0])
    numbers = {"noise_drift": noise_drift, "predicted_kl_to_target": designed, "effective_draws": effective_draws}
    against, level = [], "trustworthy"
    if drift_matters and noise_drift > DRIFT_LIMIT:
        against.append(
            f"The gradient noise is not constant: averaged over the posterior it is {noise_drift:.3g} times that at the mode "
            f"(limit {DRIFT_LIMIT:g}), and constant SGD leans on a constant one."
        )
    if diverged:
        against.append(f"{diverged} chains diverged.")
    if simulated is not None:
        floor = diagnose.kl_floor(dim, effective_draws, fitted_mean=True)
        off = theory.gaussian_kl(simulated[1], predicted[1], simulated[0], predicted[0])
        width = theory.gaussian_kl(simulated[1], predicted[1])
        shift = max(0.0, off - width)  # = d'Σ⁻¹d/2
        ratios = spread(simulated[1], predicted[1])
        numbers |= {
            "simulated_kl_to_predicted": off,
            "covariance_kl": width,
            "mean_kl": shift,
            "mean_shift": math.sqrt(2 * shift),
            "kl_floor": floor,
            "mean_variance_ratio": float(ratios.mean()),
            "largest_variance_ratio": float(ratios[-1]),
            "smallest_variance_ratio": float(ratios[0]),
        }
        excess = off - floor
        if excess > limit + 3 * floor * math.sqrt(2 / (dim * (dim + 3))):
            against.append(
                f"The simulation is not what was predicted: {_which(dim, numbers, excess)}; KL from prediction {off:.3g}, of "
                f"which sampling error explains {floor:.2g}."
            )
    if against:
        return Verdict("not trustworthy", tuple(against), numbers)
    reasons = []
    if designed > limit:
        level = "approximate"
        reasons.append(
            f"By design this law is not the posterior: its KL to the Gaussian variational law is {designed:.3g} "
            f"(a full preconditioner or corrected Langevin would reach it)."
        )
    if simulated is not None:
        reasons.append(
            f"Simulated variances are {numbers['mean_variance_ratio']:.3g} times the predicted ones on average "
            f"(KL {numbers['simulated_kl_to_predicted']:.3g}, sampling error alone {numbers['kl_floor']:.2g})."
        )
    return Verdict(level, tuple(reasons), numbers)


def _which(dim: int, numbers: dict[str, float], excess: float) -> str:
    """Name the part of the KL that is too large, covariance or mean: whatever is half of the excess."""
    n = numbers["effective_draws"]
    said = []
    if numbers["covariance_kl"] - diagnose.kl_floor(dim, n) >= excess / 2:
        low, high, mean = (numbers[f"{k}_variance_ratio"] for k in ("smallest", "largest", "mean"))
        said.append(f"variances are {low:.3g} to {high:.3g} times the predicted ones (mean {mean:.3g})")
    if numbers["mean_kl"] - dim / (2 * n) >= excess / 2 or not said:
        said.append(
            f"the mean is {numbers['mean_shift']:.2g} standard deviations of the predicted law away from its own"
        )
    return " and ".join(said)


def spread(covariance: Array, reference: Array) -> Array:
    """Eigenvalues of covariance relative to reference, ascending: the variance ratios over all directions."""
    root = np.linalg.cholesky(reference)
    half = np.linalg.solve(root, covariance)
    return np.linalg.eigvalsh(np.linalg.solve(root, half.T))
