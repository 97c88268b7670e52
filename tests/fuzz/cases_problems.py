"""Models, modes, geometry, data sets, runs and samplers against NumPy: one shape of data, so that programs are compiled once."""

from __future__ import annotations

import csv
import io
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import optax
from case import Case
from hypothesis import strategies as st
from matrices import SEEDS
from outcome import refuses
from scipy import linalg, special, stats

import gradnoise as gn
from gradnoise import datasets, infer, measure, models

N, D = 24, 2
UNITS = st.floats(-3, 3).map(lambda x: float(10**x))
PRIORS = st.floats(-1, 1).map(lambda x: float(10**x))
MODELS = ("linear", "logistic", "poisson", "softmax")


@st.composite
def tables(draw: Any, model: str) -> dict[str, Any]:
    """Rows, weights, a response from the model itself, columns in units of their own; the prior in those of the scaled columns."""
    r = np.random.default_rng(draw(SEEDS))
    X = r.standard_normal((N, D)) * np.array([draw(UNITS) for _ in range(D)])
    z = (X / X.std(0)) @ r.standard_normal(D) * 0.7
    y: Any = {
        "linear": lambda: z + r.standard_normal(N),
        "logistic": lambda: (r.random(N) < special.expit(z)).astype(float),
        "poisson": lambda: r.poisson(np.exp(np.clip(z, -3, 3))).astype(float),
        "softmax": lambda: np.r_[0, 1, 2, r.integers(0, 3, N - 3)],
    }[model]()
    return {"model": model, "X": X, "y": y, "weights": r.integers(1, 4, N).astype(float), "prior_scale": float(draw(PRIORS) / X.std(0).max())}  # fmt: skip


def problem_of(model: str, X: Any, y: Any, weights: Any, prior_scale: float) -> Any:
    make = getattr(models, f"{model}_regression")
    more = {"observation_scale": 1.3} if model == "linear" else {}
    return make(X, y, prior_scale, weights=weights, **more)


def score_parts(model: str, design: Any, y: Any, theta: Any) -> tuple[Any, Any, Any]:
    """−log-likelihood a row, its slope and its curvature in the linear score (softmax: matrices)."""
    z = design @ theta
    if model == "linear":
        return ((y - z) / 1.3) ** 2 / 2 + math.log(1.3) + math.log(2 * math.pi) / 2, (z - y) / 1.3**2, np.full(N, 1 / 1.3**2)  # fmt: skip
    if model == "logistic":
        p = special.expit(z)
        return -stats.bernoulli.logpmf(y, p), p - y, p * (1 - p)
    if model == "poisson":
        return -stats.poisson.logpmf(y, np.exp(z)), np.exp(z) - y, np.exp(z)
    p = special.softmax(z, 1)
    hot = np.eye(3)[y.astype(int)]
    return -np.log((p * hot).sum(1)), p - hot, p[:, :, None] * np.eye(3) - p[:, :, None] * p[:, None, :]


def pieces(model: str, X: Any, y: Any, weights: Any, prior_scale: float, theta: Any) -> tuple[float, Any, Any, Any]:
    """Mean loss, gradient, Hessian (prior included) and per-example covariance, all flat and in float64."""
    design = np.c_[X, np.ones(N)]
    shape = (D + 1, 3) if model == "softmax" else (D + 1,)
    value, slope, bend = score_parts(model, design, y, theta.reshape(shape))
    tau = 1 / prior_scale**2
    k = theta.size
    prior = tau * theta @ theta / 2 - k / 2 * math.log(tau / 2 / math.pi)
    if model == "softmax":
        rows = (weights[:, None, None] * design[:, :, None] * slope[:, None, :]).reshape(N, k)
        hessian = np.einsum("n,ni,nj,nab->iajb", weights, design, design, bend).reshape(k, k)
    else:
        rows = (weights * slope)[:, None] * design
        hessian = (design * (weights * bend)[:, None]).T @ design
    gradient = rows.sum(0) + tau * theta
    spread = rows - rows.mean(0)
    return (weights @ value + prior) / N, gradient / N, (hessian + tau * np.eye(k)) / N, spread.T @ spread / N


def mode_by_newton(**a: Any) -> Any:
    """Damped Newton in scaled parameters, to rounding."""
    k = (D + 1) * (3 if a["model"] == "softmax" else 1)
    theta = np.zeros(k)
    for _ in range(200):
        value, gradient, hessian, _ = pieces(**a, theta=theta)
        s = 1 / np.sqrt(np.diag(hessian))
        step = s * linalg.solve(hessian * np.outer(s, s), s * gradient, assume_a="pos")
        size = 1.0
        while size > 1e-8 and not pieces(**a, theta=theta - size * step)[0] <= value:
            size /= 2
        theta = theta - size * step
        if np.abs(step / s).max() < 1e-12:
            break
    return theta


def units_of(**a: Any) -> Any:
    """Posterior sds, the unit in which parameters are compared."""
    return np.sqrt(np.diag(np.linalg.inv(scaled_hessian(**a)[1]))) * scaled_hessian(**a)[0]


def scaled_hessian(**a: Any) -> Any:
    hessian = pieces(**a, theta=mode_by_newton(**a))[2] * N
    s = 1 / np.sqrt(np.diag(hessian))
    return s, hessian * np.outer(s, s)


def our_mode(**a: Any) -> Any:
    found = gn.find_mode(problem_of(**a))
    return (np.asarray(found.vector) - mode_by_newton(**a)) / units_of(**a) + 1


def ones(**a: Any) -> Any:
    return np.ones((D + 1) * (3 if a["model"] == "softmax" else 1))


def geometry(**a: Any) -> Any:
    theta = mode_by_newton(**a)
    s = np.outer(units_of(**a), units_of(**a))
    problem = problem_of(**a)
    local = measure.local_geometry(problem, problem.unflatten(theta))
    return local.hessian * s * N, local.gradient_covariance * s


def right_geometry(**a: Any) -> Any:
    theta = mode_by_newton(**a)
    s = np.outer(units_of(**a), units_of(**a))
    _, _, hessian, covariance = pieces(**a, theta=theta)
    return hessian * s * N, covariance * s


@st.composite
def places(draw: Any, model: str) -> dict[str, Any]:
    a = draw(tables(model))
    k = (D + 1) * (3 if model == "softmax" else 1)
    spread = np.r_[1 / a["X"].std(0), 1.0]
    r = np.random.default_rng(draw(SEEDS))
    return a | {"theta": r.standard_normal(k) * 0.3 * (np.repeat(spread, 3) if model == "softmax" else spread)}


def our_loss(theta: Any, **a: Any) -> Any:
    problem = problem_of(**a)
    return float(problem.loss(problem.unflatten(theta)))


def laplace(**a: Any) -> Any:
    found = infer.laplace(problem_of(**a), num_draws=50, num_chains=2)
    s = units_of(**a)
    return found.predicted_covariance / np.outer(s, s), (found.predicted_mean - mode_by_newton(**a)) / s + 1


def right_laplace(**a: Any) -> Any:
    H = scaled_hessian(**a)[1]
    width = np.sqrt(np.diag(np.linalg.inv(H)))
    return np.linalg.inv(H) / np.outer(width, width), np.ones(len(width))


def linear_law(**a: Any) -> Any:
    """A linear regression's Gaussian law is its posterior."""
    problem = problem_of(**a)
    law = measure.gaussian_law(problem, gn.find_mode(problem))
    s = units_of(**a)
    return law.covariance / np.outer(s, s)


def right_law(**a: Any) -> Any:
    return right_laplace(**a)[0]


def planned(**a: Any) -> Any:
    """Constant SGD with the full preconditioner on a quadratic: its law is the posterior."""
    plan = infer.plan("constant_sgd", problem_of(**a), batch_size=4)
    s = units_of(**a)
    return plan.predicted_covariance / np.outer(s, s)


def evidence(**a: Any) -> Any:
    return infer.evidence(problem_of(**a)).log_evidence.value


def right_evidence(**a: Any) -> Any:
    """Laplace's formula with our own mode and Hessian; exact for the linear model."""
    theta = mode_by_newton(**a)
    s, H = scaled_hessian(**a)
    value = pieces(**a, theta=theta)[0] * N
    return -value + len(theta) / 2 * math.log(2 * math.pi) - np.linalg.slogdet(H)[1] / 2 + np.log(s).sum()


@st.composite
def descents(draw: Any) -> dict[str, Any]:
    a = draw(tables("linear"))
    return a | {
        "share": draw(st.floats(0.1, 1.8)),
        "mu": draw(st.sampled_from([0.3, 0.9])),
        "steps": draw(st.integers(1, 20)),
    }


def descent(share: float, mu: float, steps: int, **a: Any) -> Any:
    """The engine with the full gradient and momentum."""
    top = np.linalg.eigvalsh(pieces(**a, theta=np.zeros(D + 1))[2])[-1]
    run = gn.simulate(
        problem_of(**a), gn.oracles.full_batch(), gn.rule(optax.sgd, learning_rate=float(share / top), momentum=mu), num_steps=steps,
        record=gn.record.draws(1), dtype="float64", progress=False,
    )  # fmt: skip
    return run.draws[0] * top, run.state[0] * top


def descent_by_hand(share: float, mu: float, steps: int, **a: Any) -> Any:
    top = np.linalg.eigvalsh(pieces(**a, theta=np.zeros(D + 1))[2])[-1]
    theta, m, path = np.zeros(D + 1), np.zeros(D + 1), []
    for _ in range(steps):
        m = mu * m + pieces(**a, theta=theta)[1]
        theta = theta - share / top * m
        path.append(theta * top)
    return np.array(path), path[-1]


@st.composite
def noisy_runs(draw: Any) -> dict[str, Any]:
    a = draw(tables(draw(st.sampled_from(["linear", "logistic"]))))
    return a | {"key": draw(st.integers(0, 2**31)), "batch": draw(st.sampled_from([1, 5])), "sampling": draw(st.sampled_from(["with_replacement", "without_replacement", "shuffled"]))}  # fmt: skip


def moments(key: int, batch: int, sampling: str, **a: Any) -> Any:
    """Mean, covariance and draws of one run: the moments are those of the draws; stopped and extended it is the same run."""
    top = np.linalg.eigvalsh(pieces(**a, theta=np.zeros(D + 1))[2])[-1] * batch_rows(batch)
    args = (problem_of(**a), gn.oracles.minibatch(batch, sampling=sampling), gn.rule(optax.sgd, learning_rate=float(0.3 / top)))  # fmt: skip
    more = {"num_chains": 3, "key": key, "burn_in": 10, "record": [gn.record.draws(1), gn.record.moments()], "dtype": "float64", "progress": False}  # fmt: skip
    whole = gn.simulate(*args, num_steps=330, **more)
    cut = gn.simulate(*args, num_steps=57, **more).extend(273, progress=False)
    flat = whole.draws.reshape(-1, D + 1)
    unit = flat.std(0) + 1e-300
    return (
        (whole.mean - flat.mean(0)) / unit + 1, whole.covariance / np.outer(unit, unit) - np.cov(flat.T, bias=True) / np.outer(unit, unit) + 1,
        float((whole.draws == cut.draws).all()), float((whole.covariance == whole.covariance.T).all()),
    )  # fmt: skip


def batch_rows(batch: int) -> int:
    """A row alone may be so many times steeper than the mean of all."""
    return max(1, 24 // batch)


def right_moments(**_: Any) -> Any:
    return np.ones(D + 1), np.ones((D + 1, D + 1)), 1.0, 1.0


WORDS = st.text("abcdefghij klmnop", min_size=1, max_size=6).filter(lambda s: s.strip() == s)


@st.composite
def written(draw: Any) -> dict[str, Any]:
    """A table of numbers written by Python's csv module: any separator, quotes, numbers in any notation, names that need quotes."""
    r = np.random.default_rng(draw(SEEDS))
    rows = draw(st.integers(4, 12))
    names = draw(st.lists(st.one_of(WORDS, st.sampled_from(["a,b", "ä", "x;y", "a=1", "100%", "[b]"])), min_size=2, max_size=4, unique=True))  # fmt: skip
    values = np.round(
        r.standard_normal((rows, len(names))) * 10.0 ** draw(st.integers(-6, 9)), draw(st.integers(8, 12))
    )
    form = draw(st.sampled_from(["r", ".17g", ".17e"]))
    return {"names": names, "values": values, "separator": draw(st.sampled_from([",", ";", "\t"])), "form": form}


def loaded(names: Any, values: Any, separator: str, form: str) -> Any:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator)
    writer.writerow(names)
    for row in values.tolist():
        writer.writerow([repr(v) if form == "r" else format(v, form) for v in row])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t[1] *.csv"
        path.write_text(text.getvalue(), encoding="utf-8")
        made = datasets.load(path, target=names[-1], model="linear", separator=separator)
    assert list(made.feature_names) == names[:-1]
    return made.X, made.y


def as_written(names: Any, values: Any, separator: str, form: str) -> Any:
    del separator, form
    if np.ptp(values[:, -1]) == 0:
        return refuses("target", names[-1])
    return values[:, :-1], values[:, -1]


@st.composite
def weighted(draw: Any) -> dict[str, Any]:
    a = draw(tables("linear"))
    return {k: a[k] for k in ("X", "y", "weights")}


def repeated_rows(X: Any, y: Any, weights: Any) -> Any:
    """Weight w is w rows: mean loss times N, at a few places."""
    whole = models.linear_regression(X, y, 1.0, 1.0, weights=weights)
    rows = models.linear_regression(np.repeat(X, weights.astype(int), 0), np.repeat(y, weights.astype(int)), 1.0, 1.0)
    theta = np.array([0.3, -0.2, 0.5])
    return float(whole.loss(theta)) * whole.num_examples / (float(rows.loss(theta)) * rows.num_examples)


CASES = [
    *(Case(f"{m} loss", places(m), our_loss, lambda theta, **a: pieces(**a, theta=theta)[0], 1e-6) for m in MODELS),
    *(Case(f"{m} mode", tables(m), our_mode, ones, 1e-3) for m in MODELS),
    *(Case(f"{m} geometry", tables(m), geometry, right_geometry, 1e-5) for m in MODELS),
    *(Case(f"{m} laplace", tables(m), laplace, right_laplace, 2e-3) for m in ("linear", "logistic", "poisson")),
    Case("linear law", tables("linear"), linear_law, right_law, 1e-4),
    Case("constant SGD planned", tables("linear"), planned, right_law, 1e-4),
    *(Case(f"{m} evidence", tables(m), evidence, right_evidence, 1e-5) for m in ("linear", "logistic")),
    Case("gradient descent", descents(), descent, descent_by_hand, 1e-5),
    Case("a run's moments", noisy_runs(), moments, right_moments, 1e-9),
    Case("a table", written(), loaded, as_written, 1e-12),
    Case("weights are rows", weighted(), repeated_rows, lambda **_: 1.0, 1e-6),
]
