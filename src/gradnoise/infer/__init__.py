"""Posterior inference: assembled from oracles, processes, theory's tuning and the engine."""

from gradnoise.infer.choice.candidates import Choice
from gradnoise.infer.choice.choose import choose, sample
from gradnoise.infer.choice.plan import plan
from gradnoise.infer.choice.reference import reference
from gradnoise.infer.hyperparameters.variational_em import variational_em
from gradnoise.infer.hyperparameters.variational_em_result import VariationalEM
from gradnoise.infer.minima.evidence import Evidence, EvidenceCurve, evidence, evidence_curve
from gradnoise.infer.minima.learning_coefficient import LocalLearningCoefficient, local_learning_coefficient
from gradnoise.infer.plans.plan import Plan
from gradnoise.infer.posteriors.directions import Direction
from gradnoise.infer.posteriors.intervals import Intervals
from gradnoise.infer.posteriors.load import load
from gradnoise.infer.posteriors.posterior import Divergences, Posterior, Verdict
from gradnoise.infer.posteriors.predictive import LogPredictive, Predictive
from gradnoise.infer.posteriors.sample_distance import SampleDistance
from gradnoise.infer.posteriors.summary import Summary
from gradnoise.infer.samplers.constant_sgd import constant_sgd
from gradnoise.infer.samplers.corrected_langevin import corrected_langevin
from gradnoise.infer.samplers.fisher_scoring import fisher_scoring
from gradnoise.infer.samplers.gaussian import gaussian
from gradnoise.infer.samplers.iterate_averaging import iterate_averaging
from gradnoise.infer.samplers.langevin import langevin
from gradnoise.infer.samplers.laplace import laplace
from gradnoise.infer.samplers.nuts import nuts
from gradnoise.infer.samplers.sghmc import sghmc
from gradnoise.infer.verdicts.expectation import Expectation
from gradnoise.infer.verdicts.refused import Refused

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
