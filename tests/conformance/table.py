"""The families that conformance tests run over. A newcomer adds a row here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optax

import gradnoise as gn

# ½(θ - xₙ)ᵀH(θ - xₙ): a quadratic whose minibatch noise is constant, C = H Cov(x) H, and does not commute with H
N, D = 40, 3
HESSIAN = np.array([[1.6, 0.5, 0.1], [0.5, 0.9, -0.2], [0.1, -0.2, 0.5]])
POINTS = np.random.default_rng(3).normal(size=(N, D)) @ np.array([[1.0, 0.3, 0.0], [0.0, 0.7, -0.4], [0.2, 0.0, 1.2]])
POINTS = POINTS - POINTS.mean(0)
COVARIANCE = HESSIAN @ np.cov(POINTS.T, bias=True) @ HESSIAN
PRECONDITIONER = np.array([[0.30, 0.05, 0.0], [0.05, 0.40, 0.10], [0.0, 0.10, 0.60]])


def log_likelihood(params: Any, example: Any) -> Any:
    gap = params - example
    return -0.5 * gap @ (HESSIAN.astype(np.float32) @ gap)


def problem() -> gn.Problem:
    return gn.Problem(log_likelihood, POINTS.astype(np.float32), np.zeros(D, np.float32))


def sgd(**settings: Any) -> Any:
    return gn.rule(optax.sgd, **settings)


def preconditioned(**settings: Any) -> Any:
    return gn.rule(gn.rules.preconditioned_sgd, learning_rate=1.0, preconditioner=PRECONDITIONER, **settings)


def corrected(batch_size: int, fraction: float, oracle: Any) -> Any:
    tuned = gn.theory.corrected_langevin_tuning(
        HESSIAN, COVARIANCE, num_examples=N, batch_size=batch_size, fraction=fraction
    )
    return gn.processes.langevin(
        oracle(batch_size),
        learning_rate=1.0,
        preconditioner=tuned.preconditioner,
        injected_covariance=tuned.injected_covariance,
    )


minibatch, gaussian = gn.oracles.minibatch, gn.oracles.gaussian

ORACLES: dict[str, Any] = {
    "minibatch": minibatch(4),
    "without replacement": minibatch(4, "without_replacement"),
    "shuffled": minibatch(4, "shuffled"),
    "shuffled, rest kept": minibatch(12, "shuffled", drop_last=False),  # 12 + 12 + 12 + 4 of 40 rows
    "full batch": gn.oracles.full_batch(),
    "gaussian": gaussian(4),
    "gaussian signs": gaussian(4, "signs"),
    "control variate": gn.oracles.control_variate(
        4, {"a": np.full((2, 1), 0.3), "b": np.ones(1)}, gradient={"a": np.full((2, 1), 0.1), "b": np.zeros(1)}
    ),
}

RULES: dict[str, Any] = {
    "sgd": sgd(learning_rate=0.3),
    "heavy ball": sgd(learning_rate=0.1, momentum=0.7),
    "nesterov": sgd(learning_rate=0.1, momentum=0.7, nesterov=True),
    "preconditioned": preconditioned(),
    "preconditioned heavy ball": preconditioned(momentum=0.5),
    "adam": gn.rule(optax.adam, learning_rate=0.01),
    "rmsprop": gn.rule(optax.rmsprop, learning_rate=0.01),
    "adamw": gn.rule(optax.adamw, learning_rate=0.01, weight_decay=0.1),
}

LINEAR_PROCESSES: dict[str, Callable[[], Any]] = {
    "sgd": lambda: gn.processes.compose(minibatch(4), RULES["sgd"]),
    "sgd, large step": lambda: gn.processes.compose(minibatch(4), sgd(learning_rate=0.9)),
    "sgd, without replacement": lambda: gn.processes.compose(ORACLES["without replacement"], RULES["sgd"]),
    "sgd, gaussian noise": lambda: gn.processes.compose(gaussian(4), RULES["sgd"]),
    "sgd, noise of signs": lambda: gn.processes.compose(gaussian(4, "signs"), RULES["sgd"]),
    "heavy ball": lambda: gn.processes.compose(minibatch(4), RULES["heavy ball"]),
    "nesterov": lambda: gn.processes.compose(minibatch(4), RULES["nesterov"]),
    "preconditioned": lambda: gn.processes.compose(minibatch(4), RULES["preconditioned"]),
    "preconditioned heavy ball": lambda: gn.processes.compose(minibatch(4), RULES["preconditioned heavy ball"]),
    "preconditioned nesterov": lambda: gn.processes.compose(minibatch(4), preconditioned(momentum=0.5, nesterov=True)),
    "langevin": lambda: gn.processes.langevin(minibatch(20), learning_rate=0.2, num_examples=N),
    "langevin, full gradient": lambda: gn.processes.langevin(
        gn.oracles.full_batch(), learning_rate=0.3, num_examples=N
    ),
    "langevin, preconditioned": lambda: gn.processes.langevin(
        minibatch(20), learning_rate=1.0, num_examples=N, preconditioner=PRECONDITIONER
    ),
    "kinetic, BAOAB": lambda: gn.processes.kinetic(minibatch(20), step_size=0.5, friction=1.5, num_examples=N),
    "kinetic, UBU with a mass": lambda: gn.processes.kinetic(
        minibatch(20), step_size=0.4, friction=1.0, num_examples=N, scheme="UBU", mass=np.linalg.inv(PRECONDITIONER)
    ),
    "kinetic, half kicks": lambda: gn.processes.kinetic(
        gn.oracles.full_batch(), step_size=0.4, friction=1.2, num_examples=N, scheme="sghmc_half"
    ),
    "corrected langevin": lambda: corrected(8, 0.5, minibatch),
    "corrected langevin, gaussian noise, .9": lambda: corrected(8, 0.9, gaussian),
}

NOT_LINEAR: dict[str, tuple[Callable[[], Any], str]] = {
    "adam": (lambda: gn.processes.compose(minibatch(4), RULES["adam"]), "not linear in the gradient"),
    "shuffled": (
        lambda: gn.processes.compose(ORACLES["shuffled"], RULES["sgd"]),
        "sampling='shuffled', drop_last=True",
    ),
    "shuffled, rest kept": (
        lambda: gn.processes.compose(ORACLES["shuffled, rest kept"], RULES["sgd"]),
        "sampling='shuffled', drop_last=False",
    ),
    "langevin, shuffled, rest kept": (
        lambda: gn.processes.langevin(ORACLES["shuffled, rest kept"], learning_rate=0.2, num_examples=N),
        "sampling='shuffled', drop_last=False",
    ),
    "opaque": (lambda: gn.processes.compose(minibatch(4), optax.sgd(0.1)), "hides its numbers"),
    "schedule": (
        lambda: gn.processes.compose(minibatch(4), gn.rule(optax.sgd, learning_rate=optax.constant_schedule(0.1))),
        "schedule",
    ),
}

RECORDERS: dict[str, Any] = {
    "draws": gn.record.draws(every=5),
    "moments": gn.record.moments(),
    "variances": gn.record.variances(),
    "averages": gn.record.averages(window=9),
    "loss": gn.record.loss(every=20),
}
