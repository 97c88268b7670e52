"""Constant SGD and iterate averaging on two small networks for MNIST, beside one network, a deep ensemble and a SWAG-like fit.

`python -m studies.deep_mnist [--rows 60000] [--epochs 12] [--draws 30]`
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gradnoise as gn
from gradnoise.infer.large.large_plan import plan_large_sgd
from studies import recording

DATA = Path(os.environ.get("GRADNOISE_DATA", Path(__file__).parents[2] / "shared" / "data"))
BATCH = 100
MEMBERS = 5
RANK = 20  # of the SWAG-like covariance
BINS = 15
COLUMNS = ("network", "method", "error_percent", "nll", "nll_standard_error", "ece_percent", "seconds")


def mnist(rows: int) -> dict[str, np.ndarray]:
    """Return pixels centred and scaled as a whole; the first `rows` training images and all test images."""
    with np.load(DATA / "mnist.npz") as file:
        train, test = file["x_train"][:rows], file["x_test"]
        labels = file["y_train"][:rows].astype(np.int32), file["y_test"].astype(np.int32)
    mean, scale = train.mean(), train.std()
    flat = [((x.reshape(len(x), -1) - mean) / scale).astype(np.float32) for x in (train, test)]
    return {"x": flat[0], "y": labels[0], "x_test": flat[1], "y_test": labels[1]}


def networks(data: dict[str, np.ndarray], key: int) -> dict[str, gn.Problem]:
    """Return a perceptron with one hidden layer of 32 and a convolutional network with 6 and 12 channels."""
    common: dict[str, Any] = {"activation": "relu", "prior_scale": 1.0, "num_classes": 10, "key": key}
    return {
        "mlp 784-32-10": gn.models.mlp(data["x"], data["y"], widths=(32,), **common),
        "conv 6-12": gn.models.convolutional(data["x"], data["y"], channels=(6, 12), image_shape=(28, 28), **common),
    }


def trained(problem: gn.Problem, epochs: int, key: int) -> np.ndarray:
    """Return params (D,) after so many epochs of Adam, shuffled, the rate decaying to zero along a cosine."""
    steps = epochs * (problem.num_examples // BATCH)
    adam = gn.rule(optax.adam, learning_rate=optax.cosine_decay_schedule(2e-3, steps))
    run = gn.simulate(
        problem,
        gn.oracles.minibatch(BATCH, "shuffled"),
        adam,
        num_steps=steps,
        key=key,
        record=gn.record.draws(steps),
        progress=False,
    )
    return np.asarray(run.draws)[0, -1]


def swag(draws: np.ndarray, count: int, key: int) -> np.ndarray:
    """Return draws of N(m, (diag + low rank)/2), as SWAG fits it to iterates (count, D): Maddox et al. (2019), eq. 1."""
    flat = draws.reshape(-1, draws.shape[-1]).astype(np.float64)
    mean, off = flat.mean(0), (flat - flat.mean(0))[-RANK:]
    random = np.random.default_rng(key)
    wide = random.standard_normal((count, flat.shape[1])) * flat.std(0) / np.sqrt(2)
    low = random.standard_normal((count, len(off))) @ off / np.sqrt(2 * (len(off) - 1))
    return np.asarray(mean + wide + low)


def scores(problem: gn.Problem, draws: np.ndarray, data: dict[str, np.ndarray]) -> dict[str, float]:
    """Return error, negative log likelihood with its standard error over test images, and ECE of the averaged probabilities."""
    total = np.zeros((len(data["y_test"]), 10))
    predict = jax.jit(lambda v: problem.predict(problem.unflatten(v), data["x_test"], problem.hyperparams))  # type: ignore[misc]
    for draw in draws.reshape(-1, draws.shape[-1]):
        total += np.asarray(predict(jnp.asarray(draw, jnp.float32)), np.float64)
    chance = total / total.sum(1, keepdims=True)
    loss = -np.log(np.maximum(chance[np.arange(len(chance)), data["y_test"]], 1e-30))
    right, sure = chance.argmax(1) == data["y_test"], chance.max(1)
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = [abs(right[bins == b].sum() - sure[bins == b].sum()) for b in range(BINS)]
    return {
        "error_percent": 100 * float(1 - right.mean()),
        "nll": float(loss.mean()),
        "nll_standard_error": float(loss.std(ddof=1) / np.sqrt(len(loss))),
        "ece_percent": 100 * sum(gaps) / len(right),
    }


def study(
    rows: int = 60_000, epochs: int = 12, num_draws: int = 30, key: int = 0, only: str = ""
) -> list[dict[str, Any]]:
    """Return one row a network (those whose name starts with `only`) and method."""
    data, out = mnist(rows), []
    for name in (n for n in networks(data, key) if n.startswith(only)):
        began = time.perf_counter()
        members = []
        for member in range(MEMBERS):
            problem = networks(data, key + member)[name]
            members.append(trained(problem, epochs, key + member))
        problem, one = networks(data, key)[name], (time.perf_counter() - began) / MEMBERS
        shown: list[tuple[str, np.ndarray, float]] = [
            ("one network", members[0][None], one),
            (f"ensemble of {MEMBERS}", np.stack(members), one * MEMBERS),
        ]
        notes = {}
        for method, window in (("constant SGD", 1), ("iterate averaging", len(data["x"]) // BATCH)):
            began = time.perf_counter()
            tuned = plan_large_sgd(
                problem, batch_size=BATCH, preconditioner="diagonal_closed", mode=members[0], window=window, key=key
            )
            made = tuned.run(num_draws=num_draws, num_chains=1, key=key, thin=None, burn_in=None, progress=False)
            notes[method] = {"plan": str(tuned), "verdict": str(made)}
            draws = np.asarray(made.draws)
            shown.append((method, draws, time.perf_counter() - began))
            # single networks trained as long: what remains of the gain is the averaging of predictions
            alone = ("its last iterate", draws[:, -1:]) if window == 1 else ("its mean", draws.mean(1, keepdims=True))
            shown.append((f"{method}: {alone[0]}, one network", alone[1], shown[-1][2]))
            if window == 1:
                shown.append(("SWAG-like fit to constant SGD", swag(draws, num_draws, key), shown[-1][2]))
        for method, draws, seconds in shown:
            row = {"network": name, "method": method, **scores(problem, draws, data), "seconds": seconds}
            out.append({**row, **notes.get(method, {})})
            print(recording.table([row], COLUMNS).splitlines()[-1], flush=True)
    return out


def main() -> None:
    """Run the study and write its record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--draws", type=int, default=30)
    given, began = parser.parse_args(), time.perf_counter()
    rows = study(given.rows, given.epochs, given.draws)
    print(recording.table(rows, COLUMNS))
    recording.write("deep_mnist", {"settings": vars(given), "rows": rows}, time.perf_counter() - began)


if __name__ == "__main__":
    main()
