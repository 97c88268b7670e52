"""Evidence of a minimum: exact for linear regression, matrix-free within its own error, true against random labels."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradnoise as gn
from gradnoise.infer import evidence, evidence_curve
from gradnoise.results import mean_of

SCALE, NOISE = 0.7, 0.3


def data(num_examples: int = 60, dim: int = 12) -> tuple[np.ndarray, np.ndarray]:
    r = np.random.default_rng(4)
    x = r.normal(size=(num_examples, dim)) * np.exp(-2 * np.linspace(0, 1, dim))
    return x, x @ r.normal(size=dim) * SCALE + NOISE * r.normal(size=num_examples)


def linear(num_examples: int = 60, dim: int = 12) -> gn.Problem:
    return gn.models.linear_regression(
        *data(num_examples, dim), prior_scale=SCALE, observation_scale=NOISE, intercept=False
    )


def exact(num_examples: int = 60, dim: int = 12, scale: float = SCALE) -> float:
    x, y = data(num_examples, dim)
    return gn.theory.linear_regression_evidence(x, y, prior_precision=scale**-2, observation_scale=NOISE)


def test_dense_is_exact_for_linear_regression() -> None:
    found = evidence(linear())
    assert found.log_evidence.value == pytest.approx(exact(), abs=1e-8)
    assert found.method == "dense"
    assert found.log_evidence.standard_error == 0
    x, y = data()
    hessian = (x.T @ x) / NOISE**2 + np.eye(12) / SCALE**2
    assert found.log_occam_factor is not None
    occam = gn.theory.log_occam_factor(hessian, prior_precision=SCALE**-2)
    assert found.log_occam_factor.value == pytest.approx(occam, abs=1e-8)
    null = -60 * math.log(NOISE * math.sqrt(2 * math.pi)) - (y @ y) / (2 * NOISE**2)
    assert found.null_log_evidence == pytest.approx(null, rel=1e-9)
    assert found.log_ratio.value == pytest.approx(exact() - null, abs=1e-7)
    assert evidence(linear(), null_log_evidence=-7.0).log_ratio.value == pytest.approx(exact() + 7.0, abs=1e-8)


@pytest.mark.law
@pytest.mark.parametrize(
    ("num_examples", "dim"), [(60, 12), (20, 40)]
)  # the second: fewer eigenvalues than Lanczos steps
def test_lanczos_agrees_within_its_standard_error(num_examples: int, dim: int) -> None:
    problem, truth = linear(num_examples, dim), exact(num_examples, dim)
    mode = gn.find_mode(problem)
    made = [evidence(problem, mode=mode, method="lanczos", num_probes=64, key=k) for k in range(40)]
    values = np.array([e.log_evidence.value for e in made])
    check: dict[str, Any] = {"false_fail": 1e-6, "detects": 1.5, "relative": False}
    gn.testing.assert_estimate(mean_of(values), truth, **check)
    shifted = mean_of(values + dim / 2 * math.log(2 * math.pi))
    gn.testing.assert_fails(lambda: gn.testing.assert_estimate(shifted, truth, **check), defect="no (D/2) ln 2π")
    claimed = np.mean([e.log_evidence.standard_error for e in made])
    assert claimed == pytest.approx(values.std(ddof=1), rel=0.5)  # 40 values: 11 % standard error
    assert max(abs(e.quadrature_change) for e in made) < 0.01


def test_lanczos_says_where_it_stops_too_early() -> None:
    few = evidence(linear(20, 40), method="lanczos", num_matvecs=4, num_probes=64)
    enough = evidence(linear(20, 40), method="lanczos", num_probes=64, mode=few.mode)  # as many as there are, as above
    error = few.log_evidence.value - enough.log_evidence.value
    assert abs(error) > 1e-3
    assert abs(few.quadrature_change) > abs(error) / 3
    assert abs(enough.quadrature_change) < 1e-6


def test_rescaling_inputs_and_prior_together_changes_nothing() -> None:
    r = np.random.default_rng(0)
    x, y = r.normal(size=(50, 3)), (r.uniform(size=50) < 0.5).astype(float)
    factors = np.array([0.1, 1.0, 7.0])
    one = gn.models.logistic_regression(x, y, intercept=False)
    other = gn.models.logistic_regression(x * factors, y, intercept=False)
    moved = gn.infer.minima.hyperparameters.replaced(other, {"prior_precision": factors**2})
    assert evidence(moved).log_evidence.value == pytest.approx(evidence(one).log_evidence.value, abs=1e-8)


def test_the_curve_peaks_where_the_exact_evidence_does() -> None:
    scales = [0.05, 0.2, 0.7, 2.0, 10.0]
    curve = evidence_curve(linear(), scales)
    expected = [exact(scale=s) for s in scales]
    np.testing.assert_allclose(curve.log_evidence.value, expected, atol=1e-7)
    assert curve.best == scales[int(np.argmax(expected))]


def test_random_labels_have_no_evidence_and_true_ones_do() -> None:
    r = np.random.default_rng(1)
    x = r.normal(size=(200, 20))
    y = (x @ r.normal(size=20) > 0).astype(float)
    true = evidence_curve(gn.models.logistic_regression(x, y), [0.03, 1.0, 10.0])
    random = evidence_curve(gn.models.logistic_regression(x, r.permutation(y)), [0.03, 1.0, 10.0])
    assert true.evidences[0].null_log_evidence == pytest.approx(-200 * math.log(2), rel=1e-9)
    assert true.evidences[1].log_ratio.value > 20
    assert all(e.log_ratio.value < 0.5 for e in random.evidences)
    assert random.evidences[-1].log_ratio.value < -20


@pytest.mark.slow
def test_mnist_reproduces_the_evidence_table(shared_data: Any) -> None:
    from studies.evidence import sweep

    del shared_data
    rows = {round(math.log10(r.precision)): r for r in sweep("true", 0, (1e3, 1.0))}
    assert rows[3].ratio == pytest.approx(-286.7, abs=0.1)
    assert rows[3].test_loss == pytest.approx(0.2095, abs=1e-4)
    assert rows[0].cost == pytest.approx(6.25, abs=0.01)
    assert rows[0].occam == pytest.approx(20.9, abs=0.05)
    assert rows[0].ratio == pytest.approx(-527.4, abs=0.1)
    random = sweep("random", 0, (1e3, 10.0))
    assert all(r.ratio > 1 for r in random)
    assert all(abs(r.test_accuracy - 0.5) < 0.02 for r in random)


def _line(w: Any, e: Any, h: Any) -> Any:
    return -0.5 * ((e["y"] - e["x"] @ w) / NOISE) ** 2 - math.log(NOISE * math.sqrt(2 * math.pi))


def _gaussian_prior(w: Any, h: Any) -> Any:
    """Its numbers are hyperparameters: one compiled program for all of them."""
    return h["constant"] - 0.5 * (w - 0.3) @ h["precision"] @ (w - 0.3)


@pytest.mark.parametrize("coupled", [False, True])
def test_an_unnormalised_gaussian_prior_is_normalised_and_said(coupled: bool) -> None:
    """Any constant in the log prior leaves the evidence where the exact one is: ln N(y; Xμ, XΛ⁻¹Xᵀ + s²)."""
    x, y = data(40, 5)
    a = np.random.default_rng(2).normal(size=(5, 5))
    precision = (a @ a.T + np.eye(5)) if coupled else np.diag([1.0, 2.0, 3.0, 4.0, 5.0])
    covariance = x @ np.linalg.solve(precision, x.T) + NOISE**2 * np.eye(40)
    gap = y - 0.3 * x.sum(1)
    truth = -0.5 * (np.linalg.slogdet(2 * math.pi * covariance)[1] + gap @ np.linalg.solve(covariance, gap))
    whole = 0.5 * np.linalg.slogdet(precision / (2 * math.pi))[1]
    for constant in (0.0, float(whole), 7.0):
        numbers = {"constant": constant, "precision": precision}
        problem = gn.Problem(_line, {"x": x, "y": y}, np.zeros(5), _gaussian_prior, hyperparams=numbers)
        for method in ("dense", "lanczos"):
            made = evidence(problem, method=method, num_probes=400)
            assert made.prior_offset == pytest.approx(constant - whole, abs=1e-6)
            error = 1e-6 if method == "dense" else 5 * made.log_evidence.standard_error
            assert made.log_evidence.value == pytest.approx(truth, abs=error)
            assert ("log_prior is not normalised" in str(made)) is (constant != float(whole))


def test_a_prior_that_is_not_gaussian_is_said_to_be_taken_as_normalised() -> None:
    x, y = data(40, 3)

    def likelihood(w: Any, e: Any) -> Any:
        return -0.5 * ((e["y"] - e["x"] @ w) / NOISE) ** 2

    def student(w: Any) -> Any:
        return -2.5 * jnp.sum(jnp.log1p(w**2 / 4))

    made = evidence(gn.Problem(likelihood, {"x": x, "y": y}, np.zeros(3), student))
    assert made.prior_offset is None
    assert "assumed to be normalised" in str(made)
    assert "normalised" not in str(evidence(linear()))
    slope = gn.Problem(likelihood, {"x": x, "y": y}, np.zeros(3), lambda w: -0.5 * (w.sum() ** 2 + (w[0] - w[1]) ** 2))
    with pytest.raises(ValueError, match="its precision has an eigenvalue"):
        evidence(slope)


def test_params_will_do_for_a_mode() -> None:
    problem = linear()
    found = gn.find_mode(problem)
    for mode in (found.params, found.vector):
        assert evidence(problem, mode=mode).log_evidence.value == pytest.approx(exact(), abs=1e-6)


def test_many_trained_params_are_minimised_from_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, truth = linear(60, 1010), exact(60, 1010)
    started: list[Any] = []
    search = gn.mode.find_mode
    monkeypatch.setattr("gradnoise.mode.find_mode", lambda p, init=None: started.append(init) or search(p, init=init))
    near = np.full(1010, 0.01)
    made = evidence(problem, mode=near, num_probes=16)
    np.testing.assert_array_equal(started, [near])
    assert made.method == "lanczos"
    assert made.mode.distance < 1e-6
    assert made.log_evidence.value == pytest.approx(truth, abs=5 * made.log_evidence.standard_error)


def test_evidence_is_printed_to_be_read() -> None:
    told = str(evidence(linear()))
    assert told == repr(evidence(linear()))
    assert "Estimate(" not in told
    assert f"log evidence {exact():.6g} nats (all of the Hessian)" in told
    assert "the data support the model" in told
    stochastic = str(evidence(linear(), method="lanczos", num_probes=8, num_matvecs=6))
    assert "±" in stochastic
    assert "Lanczos, 8 probes; stopping there changes it by" in stochastic
    poor = str(evidence(linear(), null_log_evidence=0.0))
    assert "the data do not support the model" in poor


def test_the_curve_is_printed_as_a_table() -> None:
    scales = [0.2, 0.7, 10.0]
    curve = evidence_curve(linear(), scales)
    lines = str(curve).splitlines()
    assert str(curve) == repr(curve)
    assert len(lines) == 5
    for line, scale in zip(lines[1:4], scales, strict=True):
        assert [float(part) for part in line.strip("* ").split()[:2]] == pytest.approx(
            [scale, exact(scale=scale)], rel=1e-5
        )
    assert [line.startswith("*") for line in lines[1:4]] == [False, True, False]
    assert "try further ones" not in lines[4]
    assert "try further ones" in str(evidence_curve(linear(), scales[:2]))
    assert str(evidence_curve(linear(), scales, method="lanczos", num_probes=8)).count("±") == 3


BAD = [
    ({"method": "exact"}, "method must be one of"),
    ({"num_probes": 1}, "num_probes must be >= 2"),
    ({"num_matvecs": 1}, "num_matvecs must be >= 2"),
    ({"null_log_evidence": math.nan}, "null_log_evidence"),
    ({"key": -1}, "key"),
    ({"mode": np.zeros(12)}, "mode must be a minimum of the loss"),
    ({"mode": np.zeros(3)}, r"mode must have shape \(12,\)"),
]


@pytest.mark.parametrize(("change", "words"), BAD)
def test_bad_arguments_are_refused_before_the_mode_is_looked_for(
    change: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradnoise.mode.find_mode", lambda *a, **k: pytest.fail("the mode was looked for"))
    with pytest.raises((ValueError, TypeError), match=words):
        evidence(linear(), **change)


def test_improper_priors_and_bad_scales_are_refused() -> None:
    x, y = data()
    flat = gn.models.linear_regression(x, y, math.inf, observation_scale=NOISE)
    with pytest.raises(ValueError, match="flat along 13 parameters"):
        evidence(flat)
    half = gn.models.linear_regression(x, y, observation_scale=NOISE, intercept_prior_scale=math.inf)
    with pytest.raises(ValueError, match=r"flat along 1 parameters \(first: intercept"):
        evidence(half)
    none = gn.Problem(lambda w, e: -0.5 * (e - w[0]) ** 2, np.ones(5), np.zeros(1))
    with pytest.raises(ValueError, match="must have a proper log_prior"):
        evidence(none)
    with pytest.raises(TypeError, match=r"problem must be a gn\.Problem"):
        evidence(3)
    for scales in ([], [0.0, 1.0], [-1.0]):
        with pytest.raises(ValueError, match=r"prior_scales must (be > 0|not be empty)"):
            evidence_curve(linear(), scales)
    with pytest.raises(ValueError, match=r"prior_scales must be a list of shape \(k,\), .* got 1"):
        evidence_curve(linear(), 1.0)
    with pytest.raises(TypeError, match="mode must be left out"):
        evidence_curve(linear(), [1.0], mode=None)
    with pytest.raises(ValueError, match="prior_precision"):
        evidence_curve(none, [1.0])
