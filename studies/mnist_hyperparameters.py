"""Mandt, Hoffman, Blei (2017), fig. 6: the prior precision of softmax regression on MNIST, learnt while constant SGD samples.

Pixels standardised on the training set, no intercept. All 7 840 weights count in P, as in the paper: those of the 67 pixels
that are 0 in every training image stay at 0 and bias the precision up ("active" below leaves them out): by more than
784/717 = 1.093, since the weaker prior lets |θ|² grow.
The scan is of the loss on the 10 000 test images at the mode, against λ/N. ``python -m studies.mnist_hyperparameters``.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from numpy.typing import NDArray

import gradnoise as gn
from studies import recording

DATA = Path(os.environ.get("GRADNOISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SCAN = (0.1, 0.0316, 0.01, 0.0057, 0.0035, 0.0023, 0.0015, 0.001, 1e-4)  # λ/N
PAPER = 5.7e-3
BAND = (0.0054, 0.0063)
Floats = NDArray[np.float32]
Images = tuple[Floats, NDArray[np.int32], Floats, NDArray[np.int32]]


@dataclass(frozen=True)
class Learnt:
    """One run of variational EM."""

    batch_size: int
    start: float  # λ/N
    weights: str  # "all" or "active"
    num_steps: int
    num_chains: int
    value: float  # λ/N
    standard_error: float
    settled: bool
    seconds: float


def images(train: int = 60_000, test: int = 10_000) -> Images:
    """Standardised pixels and labels, the first so many of each set."""
    with np.load(DATA / "mnist.npz") as file:
        x, y = file["x_train"][:train].reshape(train, -1), file["y_train"][:train]
        x_test, y_test = file["x_test"][:test].reshape(test, -1), file["y_test"][:test]
    centre, spread = x.mean(0), x.std(0)
    spread[spread == 0] = 255.0  # dead pixels: their weights stay at 0
    x, x_test = ((a - centre) / spread for a in (x, x_test))
    return x.astype(np.float32), y.astype(np.int32), x_test.astype(np.float32), y_test.astype(np.int32)


def learn(
    data: Images, *, batch_size: int = 100, start: float = 1e-3, weights: str = "all", num_steps: int = 30_000,
    num_chains: int = 4, key: int = 0,
) -> Learnt:  # fmt: skip
    """Run variational EM from λ/N = start."""
    x, y = data[:2]
    total = len(x)
    problem = gn.models.softmax_regression(x, y, prior_scale=(start * total) ** -0.5, intercept=False)
    groups: Any = ("prior_precision",)
    if weights == "active":
        groups = {"prior_precision": np.where(x.std(0) > 0, 0, -1)[:, None]}
    began = time.time()
    made = gn.infer.variational_em(
        problem, batch_size=batch_size, hyperparams=groups, num_steps=num_steps, num_chains=num_chains, num_draws=1,
        thin=1, burn_in=0, key=key, progress=False,
    )  # fmt: skip
    found = made.settings["variational_em"]
    return Learnt(
        batch_size, start, weights, num_steps, num_chains, float(found.final.value[0] / total),
        float(found.final.standard_error[0] / total), found.settled, round(time.time() - began, 1),
    )  # fmt: skip


def scan(data: Images, strengths: tuple[float, ...]) -> dict[float, float]:
    """Mean cross-entropy of the test images at the mode, for each λ/N; the strongest prior first, each from the last."""
    x, y, x_test, y_test = map(jnp.asarray, data)

    @jax.jit
    def mean_loss(theta: Any, inputs: Any, labels: Any) -> Any:
        z = inputs @ theta.reshape(inputs.shape[1], -1)
        return jnp.mean(jax.nn.logsumexp(z, 1) - jnp.take_along_axis(z, labels[:, None], 1)[:, 0])

    slope = jax.jit(jax.value_and_grad(mean_loss))
    theta, out = np.zeros(x.shape[1] * 10), {}
    for strength in sorted(strengths, reverse=True):

        def objective(v: Any, strength: float = strength) -> tuple[float, Any]:
            value, gradient = slope(jnp.asarray(v, jnp.float32), x, y)
            return float(value) + strength / 2 * float(v @ v), np.asarray(gradient, np.float64) + strength * v

        found = scipy.optimize.minimize(
            objective, theta, jac=True, method="L-BFGS-B", options={"maxiter": 300, "gtol": 2e-5, "ftol": 1e-9}
        )
        theta = found.x
        out[strength] = float(mean_loss(jnp.asarray(theta, jnp.float32), x_test, y_test))
    return out


def main(num_steps: int = 30_000) -> None:
    """Run, print and store."""
    began = time.time()
    data = images()
    runs = [
        learn(data, batch_size=100, num_steps=num_steps),
        learn(data, batch_size=100, start=1e-1, num_steps=num_steps, num_chains=2, key=1),
        learn(data, batch_size=100, weights="active", num_steps=num_steps, num_chains=2, key=3),
    ]
    for run in runs:
        print(
            f"S = {run.batch_size}, from {run.start:g}, {run.weights} weights: λ/N = {run.value:.5f} ± {run.standard_error:.5f}, {run.seconds:.0f} s",
            flush=True,
        )
    learnt = runs[0].value
    losses = scan(data, (*SCAN, learnt))
    best = min(losses.values())
    for strength, value in losses.items():
        print(
            f"λ/N = {strength:8.5f}: test loss {value:.4f}, {value / best - 1:+.2%}{'  <- learnt' if strength == learnt else ''}"
        )
    held = {
        f"λ/N in {BAND}": BAND[0] <= learnt <= BAND[1],
        "test loss within 2 % of the best of the scan": losses[learnt] <= 1.02 * best,
    }
    print(held)
    record = {
        "published": PAPER, "held": held, "runs": [asdict(r) for r in runs],
        "scan": [{"strength": s, "test_loss": v} for s, v in losses.items()],
    }  # fmt: skip
    recording.write("mnist_hyperparameters", record, time.time() - began)


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:]))
