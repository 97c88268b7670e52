"""Posterior inference: assembled from oracles, processes, theory's tuning and the engine."""

from gradnoise.infer.averaging import iterate_averaging
from gradnoise.infer.candidates import Choice
from gradnoise.infer.choice import choose, sample
from gradnoise.infer.comparison import Direction, SampleDistance
from gradnoise.infer.corrected import corrected_langevin
from gradnoise.infer.empirical_bayes import variational_em
from gradnoise.infer.expectation import Expectation
from gradnoise.infer.fisher import fisher_scoring
from gradnoise.infer.gaussians import gaussian, laplace
from gradnoise.infer.langevin_sampler import langevin
from gradnoise.infer.learnt_hyperparameters import VariationalEM
from gradnoise.infer.loading import load
from gradnoise.infer.marginal import Evidence, EvidenceCurve, evidence, evidence_curve
from gradnoise.infer.planned import Plan
from gradnoise.infer.planners import plan
from gradnoise.infer.posterior import Divergences, Posterior, Verdict
from gradnoise.infer.predictive import LogPredictive, Predictive
from gradnoise.infer.sampler import Refused
from gradnoise.infer.singular import LocalLearningCoefficient, local_learning_coefficient
from gradnoise.infer.summaries import Intervals, Summary
from gradnoise.infer.truth import nuts, reference
from gradnoise.infer.tuned_sgd import constant_sgd
from gradnoise.infer.underdamped import sghmc

__all__ = [
    "Choice",
    "Direction",
    "Divergences",
    "Evidence",
    "EvidenceCurve",
    "Expectation",
    "Intervals",
    "LocalLearningCoefficient",
    "LogPredictive",
    "Plan",
    "Posterior",
    "Predictive",
    "Refused",
    "SampleDistance",
    "Summary",
    "VariationalEM",
    "Verdict",
    "choose",
    "constant_sgd",
    "corrected_langevin",
    "evidence",
    "evidence_curve",
    "fisher_scoring",
    "gaussian",
    "iterate_averaging",
    "langevin",
    "laplace",
    "load",
    "local_learning_coefficient",
    "nuts",
    "plan",
    "reference",
    "sample",
    "sghmc",
    "variational_em",
]
