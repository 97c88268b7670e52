"""Sentences of the summary follow the numbers: what shuffling leaves, constant noise, and who may judge."""

from __future__ import annotations

import numpy as np
import pytest

from gradnoise.infer import Posterior, Verdict
from gradnoise.pages import posteriors, summary


def row(**change):
    out = {
        "discrete": 1.0, "posterior": 1.0, "averaged": 1.0, "shuffled_averaged": 0.2, "shuffled_predicted": 0.2,
        "simulated": 10.0, "shuffled_simulated": 4.0,
    }  # fmt: skip
    return {**out, **change}


def stationary(rows, **change):
    out = {
        "directions": rows, "fraction_of_edge": 0.25, "edge": 1.0, "num_diverged": 0, "shuffled_num_diverged": 0,
        "worst_relative_error": 0.05, "shuffled_worst_relative_error": 0.05,
    }  # fmt: skip
    return {**out, **change}


@pytest.mark.parametrize(
    ("section", "said", "unsaid"),
    [
        (stationary([row()] * 2), "leaves 0.4 times", "predicted"),
        (stationary([row(), row(simulated=None)]), "over the 1 of 2 directions", "predicted"),
        (stationary([row(simulated=None)]), "is predicted to leave 0.2 times", "leaves"),
        (stationary([row(simulated=None, averaged=None)]), "The learning rate is", "shuffles"),
        (stationary([row()], worst_relative_error=3.0), "The learning rate is", "shuffles"),
        (stationary([row()], shuffled_num_diverged=2), "The learning rate is", "shuffles"),
        (stationary([row(discrete=0.0)]), "The learning rate is", "shuffles"),
    ],
)
def test_what_shuffling_leaves_is_simulated_or_called_predicted_or_not_said(section, said, unsaid):
    text = summary._loader(section)["text"]
    assert said in text
    assert unsaid not in text


@pytest.mark.parametrize(("drift", "growth", "level"), [(1.01, 1.02, "good"), (1.01, 3.0, "warn"), (2.0, 3.0, "warn")])
def test_noise_is_constant_only_where_the_users_sgd_sees_it_so(drift, growth, level):
    told = summary._noise({"noise_drift": drift, "drift_limit": 1.1}, growth)
    assert told["level"] == level
    assert ("3 times" in told["text"]) == (growth == 3.0)


def laplace(method="Laplace", level="approximate", exact=True):
    draws = np.random.default_rng(0).standard_normal((2, 500, 2))
    return Posterior(
        method, draws, ("a", "b"), np.zeros(2), np.eye(2), 1000.0, Verdict(level, ("Why.",), {}), {}, exact=exact
    )


@pytest.mark.parametrize(
    ("reference", "shift", "can"),
    [
        (laplace(), 0.0, True),
        (laplace(), 1.0, False),
        (laplace("NUTS", "trustworthy", exact=False), 1.0, True),
        (laplace("NUTS", "not trustworthy", exact=False), 0.0, False),
    ],
)
def test_a_reference_that_is_off_does_not_judge(reference, shift, can):
    made = posteriors.reference_row(reference, (np.array([shift, 0.0]), np.eye(2)), 1.0)
    assert made["can_judge"] is can
    assert ("cannot judge" in made["text"]) is not can
    best = {
        "name": "corrected Langevin", "kind": "corrected", "level": "trustworthy", "recommended": True, "reasons": [],
        "kl_to_reference": 0.5, "kl_to_law": 0.001, "kl_floor": 0.001,
    }  # fmt: skip
    section = {"reference": made, "methods": [best], "batch_size": 4}
    told = list(summary._posterior(section, 2))[-1]
    assert told["level"] == ("warn" if can else "good")
    assert ("Gaussian variational law" in told["text"]) is not can
