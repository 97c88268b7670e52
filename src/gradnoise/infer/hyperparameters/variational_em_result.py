"""What variational EM learnt: the hyperparameters, where they should be, and whether they are there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradnoise import derivatives
from gradnoise import mode as modes
from gradnoise._types import AnyArray, Array
from gradnoise.infer.hyperparameters.outlook import Outlook, told_away
from gradnoise.infer.minima.evidence import evidence
from gradnoise.infer.minima.hyperparameters import Joint, fixed_point
from gradnoise.infer.plans.gaussian_draws import is_quadratic
from gradnoise.infer.posteriors.posterior import Verdict
from gradnoise.problem import Problem
from gradnoise.results import Estimate, mean_of

DRIFT = 0.02  # of a log hyperparameter over the averaged half that counts as not settled, where chains can tell
FAR = 0.1  # drift that counts as not settled whatever its standard error
NEAR = 0.1  # nats of log evidence below its optimum that count as at it
ROUNDING = 1e-6  # nats
OWN_LAW = (
    100  # parameters up to which the law at a finite step is sought for the prediction: every trial of it is a search
)


@dataclass(frozen=True, eq=False)
class VariationalEM:
    """Hyperparameters that `variational_em` found.

    Attributes
    ----------
    names
        Of the h hyperparameters, as in `problem.hyperparams`, with a group's number where there are several.
    final
        Their values (h,): Polyak averages over the second half of the steps, averaged over chains; standard errors from
        the chains.
    steps, history
        Ends of the windows (W,), and each chain's mean over each window (chain, W, h).
    fixed_point
        Where the algorithm settles as the rates of the hyperparameters go to 0 (h,), q being the law of constant SGD at its step
        with the noise averaged over it, or, above 100 parameters and where that is not found, its Ornstein-Uhlenbeck law, which
        holds for small steps; None where it is not sought (more than 1000 parameters) or was not found (see `lost`).
    drift
        Change of the log (h,) from the third to the last quarter of the steps, `Estimate` over chains.
    problem
        The problem with the hyperparameters at their final values.
    run
        The `Run` behind it: params are ``{"hyperparams": log factors, "params": θ}``.
    preconditioner
        The step that learnt them: "scalar", "diagonal", "number" or "matrix".
    exact
        The optimum of the evidence (h,), where the loss is quadratic (linear regression); None elsewhere, or without one.
    evidence_lost
        Log evidence there less that at `final`, nats; None where `exact` is.
    lost_why
        Where no fixed point was found: which hyperparameter went which way, and what to do.
    """

    names: tuple[str, ...]
    final: Estimate
    steps: AnyArray = field(repr=False)
    history: Array = field(repr=False)
    fixed_point: Array | None
    drift: Estimate = field(repr=False)
    problem: Problem = field(repr=False)
    run: Any = field(repr=False)
    preconditioner: str = "scalar"
    exact: Array | None = None
    evidence_lost: float | None = None
    lost_why: str = ""

    @property
    def lost(self) -> bool:
        """Whether a fixed point was sought and not found: without a signal the evidence grows with the precision for ever."""
        return self.fixed_point is None and self.problem.num_params <= derivatives.DENSE

    @property
    def settled(self) -> bool:
        """Whether the last quarter is where the third was: within three standard errors (at most 10 %), or 2 %.

        Never where no fixed point was found: a rate that falls makes what runs away look still.
        """
        off = np.abs(self.drift.value)
        return not self.lost and bool((off <= np.clip(3 * self.drift.standard_error, DRIFT, FAR)).all())

    @property
    def missed(self) -> Array:
        """Logs of the final values over those predicted (h,), where they are further off than 2 % and three standard errors; else 0."""
        if self.fixed_point is None:
            return np.zeros(len(self.names))
        off = np.log(np.asarray(self.final.value) / self.fixed_point)
        error = np.asarray(self.final.standard_error) / np.asarray(self.final.value)
        return np.where(np.abs(off) > np.maximum(3 * error, DRIFT), off, 0.0)

    def against_prediction(self) -> str:
        """Say which hyperparameters are not where they were predicted, in per cent and standard errors; "" where all are."""
        error = np.asarray(self.final.standard_error) / np.asarray(self.final.value)
        return " and ".join(
            f"{name} is {100 * abs(np.expm1(off)):.2g} % {'above' if off > 0 else 'below'} its prediction "
            f"({abs(off) / max(one, 1e-300):.2g} standard errors)"
            for name, off, one in zip(self.names, self.missed, error, strict=True)
            if off
        )

    def __str__(self) -> str:
        told = [
            f"{name} = {value:.4g} ± {error:.2g}"
            for name, value, error in zip(self.names, self.final.value, self.final.standard_error, strict=True)
        ]
        aim = (
            ""
            if self.fixed_point is None
            else f" (fixed point of SGD's law: {', '.join(f'{v:.4g}' for v in self.fixed_point)})"
        )
        best = "; that is no optimum of the evidence, only near one"
        if self.exact is not None:
            best = f"; exact optimum of the evidence: {', '.join(f'{v:.4g}' for v in self.exact)}, {self.evidence_lost:.2g} nats higher"
        best *= self.fixed_point is not None or self.exact is not None
        state = "settled" if self.settled else "no fixed point was found" if self.lost else "still moving"
        where = f" ({off})" if (off := self.against_prediction()) else ""
        return f"{', '.join(told)}{aim}; {state} after {self.steps[-1]:,} steps{where}{best}"


def learnt(joint: Joint, run: Any, logs: Array, window: int, size: int, sampling: str, ahead: Outlook) -> VariationalEM:
    """Return the averages over the second half of the windows, chain by chain, and what they are to be compared with."""
    count = logs.shape[1]
    half, last = logs[:, count // 2 :].mean(1), 3 * count // 4
    over = mean_of(half)
    drift = mean_of(logs[:, last:].mean(1) - logs[:, count // 2 : last].mean(1))
    values, here = joint.values(over.value), np.asarray(over.value)
    aim, best, gap, why = None, None, None, ""
    if joint.base.num_params <= derivatives.DENSE:
        aim = _predicted(joint, here, batch_size=size, sampling=sampling, rate=ahead.rate)
        best, gap = _exact(joint, here)
        if aim is None:
            why = told_away(joint, here[None], np.abs(here) >= np.abs(here).max(), ahead._replace(aim=None))
    return VariationalEM(
        joint.names,
        Estimate(values, values * over.standard_error, over.n),
        window * (1 + np.arange(count)),
        joint.values(logs),
        None if aim is None else joint.values(aim),
        drift,
        joint.at(here),
        run,
        ahead.rate if isinstance(ahead.rate, str) else "matrix" if np.ndim(ahead.rate) else "number",
        best,
        gap,
        why,
    )


def _predicted(joint: Joint, here: Array, **law: Any) -> Array | None:
    """Return where the algorithm should settle, by the law at its finite step where that can be had, else by that of small steps."""
    small = fixed_point(joint, log_start=here, **law)
    if joint.base.num_params > OWN_LAW:
        return small
    own = fixed_point(joint, law="own", log_start=here if small is None else small, **law)
    return small if own is None else own


def _exact(joint: Joint, log: Array) -> tuple[Array | None, float | None]:
    """Return the optimum of the evidence and how much higher it is there than at η, where the loss is quadratic."""
    here = joint.at(log)
    try:
        found = modes.find_mode(here)
        if not is_quadratic(here, found):
            return None, None
        best = fixed_point(joint, law="posterior", log_start=log)
        if best is None:
            return None, None
        gap = evidence(joint.at(best)).log_evidence.value - evidence(here, mode=found).log_evidence.value
    except (modes.NotAMinimum, RuntimeError, np.linalg.LinAlgError):
        return None, None
    return (joint.values(best), float(max(gap, 0.0))) if gap > -ROUNDING else (None, None)


def judged(verdict: Verdict, found: VariationalEM, chosen: str) -> Verdict:
    """Add what the hyperparameters did: at best "approximate" where they are not known to be the evidence's."""
    near = found.evidence_lost is not None and found.evidence_lost <= NEAR
    level = verdict.level if near or verdict.level != "trustworthy" else "approximate"
    numbers = {**verdict.numbers, **dict(zip(found.names, map(float, found.final.value), strict=True))}
    if found.evidence_lost is not None:
        numbers["evidence_lost"] = found.evidence_lost
    why = [f"Hyperparameters: {found}.", *([chosen] if chosen else [])]
    if found.lost:
        why.append(
            "No fixed point was found: with the spread of constant SGD's law the equation of the hyperparameters has no root in reach. "
            f"They keep moving, and the value is only where the falling rates stopped them. {found.lost_why}"
        )
    if off := found.against_prediction():
        level = "approximate" if level == "trustworthy" else level
        why.append(
            f"The hyperparameters did not settle where they should: {off}. The prediction holds for slow hyperparameters and for noise "
            "estimates without error; take a larger batch_size, or a smaller hyper_rate with more num_steps."
        )
    for name, missed in zip(found.names, found.missed, strict=True):
        numbers[f"{name}_off_prediction"] = float(missed)
    return Verdict(level if found.settled else "not trustworthy", (*why, *verdict.reasons), numbers)
