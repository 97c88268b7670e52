"""Posterior inference: assembled from oracles, processes, theory's tuning and the engine."""

from gradnoise.infer.choice import Choice, choose, sample
from gradnoise.infer.corrected import corrected_langevin
from gradnoise.infer.gaussians import gaussian, laplace
from gradnoise.infer.planned import Plan
from gradnoise.infer.planners import plan
from gradnoise.infer.posterior import Divergences, Posterior, Verdict
from gradnoise.infer.truth import nuts, reference
from gradnoise.infer.tuned_sgd import constant_sgd

__all__ = [
    "Choice",
    "Divergences",
    "Plan",
    "Posterior",
    "Verdict",
    "choose",
    "constant_sgd",
    "corrected_langevin",
    "gaussian",
    "laplace",
    "nuts",
    "plan",
    "reference",
    "sample",
]
