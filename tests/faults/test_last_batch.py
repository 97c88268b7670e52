"""The last, smaller batch of an epoch: loaders keep it by default, which is another law; and it reaches every place that shuffles."""

from __future__ import annotations

import math

import numpy as np
import optax
import pytest
from numpy.testing import assert_allclose

import gradnoise as gn
from gradnoise import theory
from gradnoise.measure import stationary_law
from gradnoise.pages.stationary import loader_note
from gradnoise.pages.summary import _loader


def variance_at_ends(n, size, rate, drop_last):
    """One direction, C = 1, from the weights of the examples: Var = N/(N−1) (Σw² − (Σw)²/N) / (1 − f²), f over a whole epoch."""
    sizes = [size] * (n // size) + ([n % size] if n % size and not drop_last else [])
    f, weights = 1 - rate, []
    for k, b in enumerate(sizes):
        weights += [-rate * f ** (len(sizes) - 1 - k) / b] * b
    weights = np.array(weights + [0.0] * (n - len(weights)))  # what is dropped has no weight
    centred = weights - weights.mean()
    return n / (n - 1) * np.sum(centred**2) / (1 - f ** (2 * len(sizes)))


@pytest.mark.parametrize(
    ("n", "size", "ratio"), [(1001, 100, 8930.0), (60_000, 256, 1.76), (569, 32, 0.0807)], ids=["1001", "mnist", "569"]
)
def test_the_loaders_default_over_the_law_that_drops_the_rest(n, size, ratio):
    """The ratios at ηh = .001 and epoch ends, from the weight of each example over an epoch."""
    setting = {"learning_rate": 0.001, "batch_size": size, "num_examples": n, "sampling": "shuffled", "position": "end"}
    kept, dropped = (
        theory.stationary_covariance([[1.0]], [[1.0]], drop_last=drop, **setting)[0, 0] for drop in (False, True)
    )
    assert_allclose(kept, variance_at_ends(n, size, 0.001, False), rtol=1e-8)
    assert_allclose(dropped, variance_at_ends(n, size, 0.001, True), rtol=1e-6)
    assert kept / dropped == pytest.approx(ratio, rel=5e-3)
    default = theory.stationary_covariance([[1.0]], [[1.0]], **setting)[0, 0]
    assert default == dropped


def test_one_example_alone_gives_more_than_independent_batches():
    """N = 1001, B = 100: (B − r)²/(r(N − 1)) · 10/11 = 8.91 times the variance of independent batches, at the ends and on average."""
    setting = {"learning_rate": 0.0001, "batch_size": 100, "num_examples": 1001}
    independent = theory.stationary_covariance([[1.0]], [[1.0]], **setting)[0, 0]
    for position in ("end", "mean"):
        kept = theory.stationary_covariance(
            [[1.0]], [[1.0]], sampling="shuffled", drop_last=False, position=position, **setting
        )
        assert kept[0, 0] / independent == pytest.approx(99**2 / 1000 * 10 / 11, rel=5e-3)


H, C = np.array([[2.0, 0.3], [0.3, 0.5]]), np.array([[1.0, -0.2], [-0.2, 0.4]])


@pytest.mark.parametrize(
    ("n", "size"), [(6, 6), (6, 5), (6, 4), (6, 1), (2, 1), (3, 2), (7, 3), (100_001, 1000), (1, 1)]
)
def test_edges_of_the_cut(n, size):
    """B = N, N − 1, 1; fewer than two whole batches; r = 1, r = 0: finite, never negative, and the same where B divides N."""
    setting = {"learning_rate": 0.2, "batch_size": size, "num_examples": n, "sampling": "shuffled"}
    kept, dropped = (theory.stationary_covariance(H, C, drop_last=drop, **setting) for drop in (False, True))
    assert np.linalg.eigvalsh(kept)[0] >= -1e-15
    if n % size == 0:
        assert_allclose(kept, dropped, rtol=0, atol=0)
    if n == size:
        assert not kept.any()
    steps = -(-n // size)
    at = [theory.stationary_covariance(H, C, drop_last=False, position=k, **setting) for k in (0, steps)]
    end = theory.stationary_covariance(H, C, drop_last=False, position="end", **setting)
    assert_allclose(at, [end, end], rtol=1e-12, atol=1e-18)
    with pytest.raises(ValueError, match=f"position must be between 0 and {steps}"):
        theory.stationary_covariance(H, C, drop_last=False, position=steps + 1, **setting)


@pytest.mark.parametrize("drop_last", [True, False])
def test_a_batch_larger_than_the_data_is_refused_before_anything_runs(drop_last):
    with pytest.raises(ValueError, match="batch_size must be <= num_examples = 6"):
        theory.stationary_covariance(
            H, C, learning_rate=0.2, batch_size=7, num_examples=6, sampling="shuffled", drop_last=drop_last
        )


@pytest.mark.parametrize("sampling", ["with_replacement", "without_replacement"])
def test_drop_last_belongs_to_epochs(sampling):
    """A law of independent batches must not come back for a question about epochs."""
    calls = {
        "theory": lambda: theory.stationary_covariance(
            H, C, learning_rate=0.2, batch_size=2, num_examples=7, sampling=sampling, drop_last=False
        ),
        "langevin": lambda: theory.langevin_covariance(
            H, C, step_size=0.01, batch_size=2, num_examples=7, sampling=sampling, drop_last=False
        ),
        "error": lambda: theory.langevin_error(
            H, C, step_size=0.01, batch_size=2, num_examples=7, sampling=sampling, drop_last=False
        ),
        "measure": lambda: stationary_law(
            line(13), [0.0, 0.0], learning_rate=0.1, batch_size=4, sampling=sampling, drop_last=False
        ),
        "plan": lambda: gn.infer.plan("langevin", line(13), batch_size=4, sampling=sampling, drop_last=False),
        "control variate": lambda: gn.oracles.control_variate(
            4, np.zeros(2), gradient=np.zeros(2), sampling=sampling, drop_last=False
        ),
    }
    for call in calls.values():
        with pytest.raises(ValueError, match=f"drop_last must be True .* when sampling='{sampling}'"):
            call()


def line(n, seed=0):
    r = np.random.default_rng(seed)
    x = r.normal(size=(n, 2)) * [1.0, 0.5]
    return gn.models.linear_regression(x, x @ [1.0, -1.0] + r.normal(size=n), 1.0, 1.0, intercept=False)


@pytest.mark.parametrize("n", [121, 1041])
def test_runs_are_the_same_bits_however_they_are_cut(n, tmp_path):
    """Both permutations (sorted below 1024 rows, a network above), cut inside epochs, resumed from disk, with a control variate."""
    problem, settings = line(n), {"num_chains": 2, "record": gn.record.draws(every=7), "progress": False}
    made = {"sampling": "shuffled", "drop_last": False}
    zero = np.zeros(2)
    oracle = (
        gn.oracles.minibatch(40, **made) if n < 1024 else gn.oracles.control_variate(40, zero, gradient=zero, **made)
    )
    process = gn.processes.langevin(oracle, learning_rate=0.05, num_examples=n)
    whole = gn.simulate(problem, process, num_steps=300, **settings)
    half = gn.simulate(problem, process, num_steps=131, **settings)
    again = gn.Run.load(half.save(tmp_path / f"{n}")).extend(169, progress=False)
    np.testing.assert_array_equal(again.draws, whole.draws)
    np.testing.assert_array_equal(again.state, whole.state)


def test_a_checkpoint_of_the_other_epoch_is_another_run(tmp_path):
    problem, rule = line(121), gn.rule(optax.sgd, learning_rate=0.1)
    gn.simulate(
        problem, gn.oracles.minibatch(40, "shuffled"), rule, num_steps=20, checkpoint=tmp_path / "r", progress=False
    )
    with pytest.raises(ValueError, match="checkpoint must belong to this run"):
        gn.simulate(
            problem, gn.oracles.minibatch(40, "shuffled", drop_last=False), rule, num_steps=40, checkpoint=tmp_path / "r",
            progress=False,
        )  # fmt: skip


def test_every_step_is_the_step_of_a_loader():
    """One epoch of 3 + 3 + 1 rows, redone in NumPy from the drawn rows: each step is the mean over its own rows."""
    problem, rate = line(7), 0.1
    oracle = gn.oracles.minibatch(3, "shuffled", drop_last=False)
    run = gn.simulate(
        problem, oracle, gn.rule(optax.sgd, learning_rate=rate), num_steps=9, num_chains=1, key=4, dtype="float64",
        record=gn.record.draws(every=1), progress=False,
    )  # fmt: skip
    x, y = (np.asarray(problem.data[name], float) for name in ("inputs", "targets"))
    from gradnoise.stream import Spec, Stream

    drawn = oracle.draw(Stream.of(4, 0), np.arange(9, dtype=np.int32), Spec(7, 2, "float64"))
    theta = np.asarray(problem.flatten(problem.init), float)
    for k in range(9):
        rows = np.asarray(drawn["indices"])[k, : 1 if k % 3 == 2 else 3]
        gradient = x[rows].T @ (x[rows] @ theta - y[rows]) / len(rows) + theta / 7
        theta = theta - rate * gradient
        assert_allclose(run.draws[0, k], theta, rtol=1e-5, atol=1e-6)


@pytest.mark.law
def test_langevin_keeps_the_rest_where_asked_and_predicts_it():
    """121 = 3·40 + 1: the sampler's plan, its steps between draws, and what it draws."""
    problem = line(121)
    settings = {"batch_size": 40, "step_size": 2e-3, "sampling": "shuffled"}
    kept, dropped = (gn.infer.plan("langevin", problem, drop_last=drop, **settings) for drop in (False, True))
    assert kept.settings["drop_last"] is False
    assert int(kept.iact) % 2 == 1  # prime to the four steps of an epoch
    wider = np.diag(kept.predicted_covariance) / np.diag(dropped.predicted_covariance)
    assert wider.min() > 1.02
    draws = kept.run(num_draws=60, num_chains=128, progress=False).draws
    ratio = np.var(np.asarray(draws, float).reshape(-1, 2), axis=0) / np.diag(kept.predicted_covariance)
    assert_allclose(ratio, 1, atol=0.09)  # 7 680 nearly independent draws: a standard error of .016


def test_a_choice_plans_the_epoch_that_is_asked_for():
    problem = line(121)
    common = {"methods": ["langevin"], "batch_size": 40, "sampling": "shuffled"}
    for drop in (True, False):
        best = gn.infer.choose(problem, drop_last=drop, **common).best
        assert best.plan.settings["drop_last"] is drop
        assert best.plan.process.oracle.drop_last is drop
    with pytest.raises(ValueError, match="drop_last must be True"):
        gn.infer.choose(problem, drop_last=False)


@pytest.mark.parametrize(("n", "size"), [(121, 40), (121, 20)])
def test_the_law_averaged_over_itself_knows_the_last_batch(n, size):
    """What an epoch cancels, plus what is fresh in every step with the mean of 1/size over the batches."""
    problem = line(n)
    mode = gn.find_mode(problem)
    setting = {"learning_rate": 0.05, "batch_size": size}
    law = stationary_law(problem, mode, sampling="shuffled", drop_last=False, **setting)
    assert law is not None
    fresh = law.gradient_covariance - law.persistent
    sizes = np.array([size] * (n // size) + [n % size])
    factor = (n * np.mean(1 / sizes) - 1) / (n - 1)
    expected = theory.stationary_covariance(
        law.hessian, law.persistent, sampling="shuffled", num_examples=n, drop_last=False, **setting
    ) + theory.stationary_covariance(law.hessian, factor * fresh, learning_rate=0.05, batch_size=1)
    assert_allclose(law.covariance, expected, rtol=0.02)


def rows_of(kept, dropped, discrete, posterior=1.0):
    return [
        {"shuffled_predicted": k, "shuffled_dropped": d, "discrete": s, "posterior": posterior}
        for k, d, s in zip(kept, dropped, discrete, strict=True)
    ]


def test_the_page_says_which_column_is_a_loaders():
    """Only where the batch size does not divide the data, with the numbers of the columns beside it."""
    told = loader_note(rows_of([9.0, 8.0], [0.001, 0.01], [1.0, 10.0]), 1001, 100)
    assert "Batches of 100 do not divide 1,001 examples: the last batch of an epoch has 1." in told
    assert "PyTorch's DataLoader, Keras' fit and tf.data keep it by default, and so do the shuffled columns" in told
    assert "drop_last=True (tf.data: drop_remainder=True)" in told
    assert "800 to 9,000 times the variance predicted without it" in told
    assert (
        "in 1 of 2 directions more than independent batches have: each of its examples counts 100 times as much" in told
    )
    less = loader_note(rows_of([0.08], [1.0], [10.0]), 569, 32)
    assert "gives 0.08 times the variance predicted without it" in less
    assert "more than independent" not in less
    even = loader_note([{"shuffled_dropped": None, "discrete": 1.0, "posterior": 1.0}], 1000, 100)
    assert "divide" not in even
    assert "no noise" not in even
    assert "one batch of all examples" in loader_note([], 50, 50)
    silent = loader_note(rows_of([0.0], [0.0], [0.0]), 1001, 100)
    assert "times the variance" not in silent


def test_no_share_of_a_law_where_an_epoch_is_one_batch():
    row = {
        "discrete": 1.0,
        "posterior": 1.0,
        "averaged": 1.0,
        "shuffled_averaged": 0.0,
        "simulated": 1.0,
        "shuffled_simulated": None, "shuffled_predicted": 9.0,
    }  # fmt: skip
    section = {
        "directions": [row], "steps_per_epoch": 1, "fraction_of_edge": 0.25, "edge": 1.0, "num_diverged": 0,
        "shuffled_num_diverged": 0, "worst_relative_error": 0.1, "shuffled_worst_relative_error": None,
    }  # fmt: skip
    told = _loader(section)["text"]
    assert "one batch of all examples" in told
    assert "times" not in told
    more = _loader({**section, "steps_per_epoch": 2, "directions": [{**row, "shuffled_simulated": 9.0}]})["text"]
    assert "gives 9 times the variance of independent batches" in more
    lost = {**row, "simulated": math.nan, "shuffled_simulated": 9.0}  # a simulation that gave nothing
    assert "nan" not in _loader({**section, "steps_per_epoch": 2, "directions": [lost]})["text"]
