"""Formulas that the notes ask for beyond their numbered tests: Fisher scoring's error, targets by name, Bayesian tuning, batch trade-off, weights."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize, minimize_scalar

from gradnoise import theory
from gradnoise.testing import assert_covariance, assert_fails, planted_defects

H, C = np.array([[2, 0.3], [0.3, 0.5]]), np.array([[1, -0.2], [-0.2, 0.4]])
A3 = np.array([[2, 0.5, 0], [0.5, 1, 0.3], [0, 0.3, 0.5]])
C3 = np.array([[1, -0.4, 0.2], [-0.4, 0.5, 0.1], [0.2, 0.1, 0.8]])
E3 = np.diag([0.01, 0.02, 0.03])
SCALE = {"num_examples": 1000, "batch_size": 10}


def close(expected, rtol=1e-10):
    return lambda found: assert_allclose(found, expected, rtol=rtol, atol=1e-15)


# --- Fisher scoring ---


def test_fisher_scoring_error_golden_g3():
    """Without injection it is constant SGD with the paper's H*: KL .001435853509 (G3); at small steps εG/2N, whatever is injected."""
    posterior = np.linalg.inv(A3) / 1000
    law = {"step_size": 0.7, "injected": np.zeros((3, 3))} | SCALE
    G = theory.fisher_scoring_preconditioner(A3, C3, time="continuous", **law)
    error = theory.fisher_scoring_error(A3, C3, preconditioner=G, **law)
    assert_allclose(theory.gaussian_kl(posterior + error.discretisation, posterior), 0.001435853509, rtol=1e-8)
    assert np.abs(error.mismatch).max() < 1e-15
    law = {"step_size": 1e-6, "injected": E3} | SCALE
    G = theory.fisher_scoring_preconditioner(A3, C3, time="continuous", **law)
    right = theory.fisher_scoring_error(A3, C3, preconditioner=G, **law).discretisation
    wrong = {"missing factor 2": 2 * right, "the posterior's shape": right[0, 0] * A3}
    planted_defects(lambda d: assert_allclose(d, 1e-6 * G / 2000, rtol=1e-4, atol=1e-14), right, wrong)


@pytest.mark.parametrize("diagonal", [False, True])
def test_fisher_scoring_error_by_lyapunov(diagonal):
    """Both laws as linear systems of D² unknowns, full preconditioner and diagonal."""
    G = np.diag([0.4, 0.3]) if diagonal else np.array([[0.4, 0.1], [0.1, 0.3]])
    injected, epsilon, one = np.array([[0.3, 0.1], [0.1, 0.2]]), 1.6, np.eye(2)
    law = {"preconditioner": G, "step_size": epsilon, "injected": injected, "num_examples": 50, "batch_size": 4}
    found = theory.fisher_scoring_error(H, C, **law)
    power = (G @ (epsilon * C / 4 + injected) @ G).ravel()
    drift = np.kron(G @ H, one) + np.kron(one, G @ H)
    small = np.linalg.solve(drift, power).reshape(2, 2)
    whole = np.linalg.solve(drift - epsilon * np.kron(G @ H, G @ H), power).reshape(2, 2)
    posterior = np.linalg.inv(H) / 50
    wrong = {"continuous time": found.mismatch, "batch size forgotten": 4 * found.discretisation}
    planted_defects(close(whole - small), found.discretisation, wrong)
    assert_allclose(found.mismatch, small - posterior, rtol=1e-10)
    ends = np.sort(np.linalg.eigvals(np.linalg.solve(posterior, whole)).real) - 1
    assert_allclose(found.relative, ends, rtol=1e-9)


def test_fisher_scoring_discrete_scalar_and_diagonal_by_search():
    """The best multiple of one and the best diagonal, at a step whose discretisation matters; a diagonal is no worse than either."""
    law = {"step_size": 1.0, "injected": 0.3 * C3 + E3, "num_examples": 40, "batch_size": 10}
    posterior = np.linalg.inv(A3) / 40

    def divergence(logs):
        with np.errstate(over="ignore"):
            G = np.diag(np.exp(np.broadcast_to(logs, 3)))
        try:
            sigma = theory.fisher_scoring_covariance(
                A3, C3, preconditioner=G, **{k: v for k, v in law.items() if k != "num_examples"}
            )
        except ValueError:
            return 1e3
        return theory.gaussian_kl(sigma, posterior)

    found = {
        k: theory.fisher_scoring_preconditioner(A3, C3, kind=k, **law)
        for k in ("scalar", "diagonal", "diagonal_closed")
    }
    best = np.exp(minimize_scalar(divergence, bounds=(-6, 1), method="bounded", options={"xatol": 1e-10}).x)
    continuous = theory.fisher_scoring_preconditioner(A3, C3, kind="scalar", time="continuous", **law)
    planted_defects(
        lambda g: assert_allclose(g, best, rtol=1e-6), found["scalar"][0, 0], {"continuous time": continuous[0, 0]}
    )
    start = np.log(np.diag(found["scalar"]))
    nelder = minimize(divergence, start, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12, "maxiter": 4000})
    planted_defects(
        lambda g: assert_allclose(np.diag(g), np.exp(nelder.x), rtol=1e-4),
        found["diagonal"],
        {"the closed form": found["diagonal_closed"], "a scalar": found["scalar"]},
    )


# --- targets by name ---


@pytest.mark.parametrize("mu", [0.0, 0.6])
@pytest.mark.parametrize("sampling", ["with_replacement", "without_replacement"])
@pytest.mark.parametrize("name", ["posterior", "tempered", "sandwich"])
def test_preconditioner_for_a_name(name, sampling, mu):
    """The closed form is what the matrix equation finds, and its law the target: by the augmented Lyapunov equation."""
    setting = {"batch_size": 10, "sampling": sampling, "num_examples": 60, "momentum": mu}
    inverse = np.linalg.inv(A3)
    heat = {"temperature": 1.7} if name == "tempered" else {}
    target = {"posterior": inverse, "tempered": 1.7 * inverse, "sandwich": inverse @ C3 @ inverse}[name] / 60
    right = theory.preconditioner_for(name, A3, C3, **heat, **setting)
    assert_allclose(right, theory.preconditioner_for(target, A3, C3, **setting), rtol=1e-8)
    noise = C3 / 10 * (50 / 59 if sampling == "without_replacement" else 1.0)

    def reached(P):
        F = np.block([[np.eye(3) - P @ A3, -mu * P], [A3, mu * np.eye(3)]])
        into = np.vstack([-P, np.eye(3)])
        power = (into @ noise @ into.T).ravel()
        whole = np.linalg.solve(np.eye(36) - np.kron(F, F), power).reshape(6, 6)
        assert_allclose(whole[:3, :3], target, rtol=1e-8, atol=1e-12)

    other = theory.preconditioner_for(name, A3, C3, **heat, **setting | {"momentum": 0.3})
    planted_defects(reached, right, {"another momentum": other, "missing factor 2": right / 2})


def test_names_allow_singular_noise_and_ask_for_what_they_need():
    flat = np.diag([1.0, 0.0])
    P = theory.preconditioner_for("sandwich", H, flat, batch_size=4, num_examples=50)
    sigma = theory.stationary_covariance(H, flat, learning_rate=1.0, batch_size=4, preconditioner=P)
    assert_allclose(sigma, np.linalg.solve(H, np.linalg.solve(H, flat).T) / 50, atol=1e-15)
    for arguments, message in (
        ({"target": "posterior"}, "num_examples must be given when target='posterior'"),
        ({"target": "tempered", "num_examples": 50}, "temperature must be given with target='tempered'"),
        ({"target": "posterior", "num_examples": 50, "temperature": 2.0}, "and with no other, got 2.0 for 'posterior'"),
        ({"target": H, "temperature": 2.0}, "temperature must be left out unless target is 'tempered'"),
        ({"target": "prior", "num_examples": 50}, "target must be one of 'posterior', 'tempered', 'sandwich'"),
    ):
        with pytest.raises(ValueError, match=message):
            theory.preconditioner_for(hessian=H, gradient_covariance=C, batch_size=4, **arguments)


# --- Bayesian tuning ---


def brute_times(chain, lags=1500):
    """Largest τ and τ₂ by summing autocorrelations: over directions, and over a grid of quadratic forms of two parameters."""
    root = np.linalg.inv(np.linalg.cholesky(chain.covariance))
    gammas = np.stack([root @ chain.autocovariance(k) @ root.T for k in range(lags)])
    long_run = gammas[0] + np.sum(gammas[1:] + gammas[1:].transpose(0, 2, 1), 0)
    forms = [np.outer(a, a) for a in (np.array([np.cos(t), np.sin(t)]) for t in np.linspace(0, np.pi, 60))]
    forms += [f + s * g for f, g in itertools.combinations(forms[::6], 2) for s in (-1, 0.5, 1)]
    kept = [f for f in forms if np.abs(f).max() > 1e-8]
    times = [2 * np.einsum("ab,kbc,cd,kad->", f, gammas, f, gammas) / np.sum(f * f) - 1 for f in kept]
    return np.linalg.eigvalsh(long_run)[-1], max(times)


def test_bayesian_tuning_golden_recent_2_4():
    """SGLD at budgets of 5 and 20 %: η = .0069029, .0271030, τ = 654.187, 165.905."""
    for budget, rate, time in ((0.05, 0.0069029, 654.187), (0.2, 0.0271030, 165.905)):
        found = theory.bayesian_tuning(H, C, num_examples=50, batch_size=4, method="langevin", budget=budget)
        wrong = {
            "half the budget": theory.bayesian_tuning(
                H, C, num_examples=50, batch_size=4, method="langevin", budget=budget / 2
            )
        }
        planted_defects(lambda f, r=rate: assert_allclose(f.learning_rate, r, atol=6e-8), found, wrong)
        assert_allclose(found.iact, time, rtol=3e-6)
        assert_allclose(np.abs(found.errors).max(), budget, rtol=1e-9)


def test_bayesian_tuning_by_search():
    """Corrected Langevin at little noise (recent.md 2.4: B = 400): no setting of a fine grid has a smaller max(τ, τ₂); exact at any step."""
    scale = {"num_examples": 50, "batch_size": 400}
    found = theory.bayesian_tuning(H, C, **scale)
    assert np.abs(found.errors).max() < 1e-12
    right = max(found.iact, found.quadratic_iact)
    assert_allclose(right, max(brute_times(found.chain, 60)), rtol=2e-2)

    def worst(mu, share):
        need = (1 - mu) / (1 + mu) * H + 50 / 400 * C
        rate = share * 2 * (1 - mu) / np.linalg.eigvalsh(need)[-1]
        added = theory.langevin_correction(H, C, preconditioner=rate * np.eye(2), momentum=mu, **scale)
        chain = theory.chain_from_noise(H, C / 400 + added, learning_rate=rate, momentum=mu)
        return chain.worst_iact(), chain.worst_iact(quadratic=True)

    grid = {(mu, share): worst(mu, share) for mu in np.linspace(0, 0.9, 19) for share in np.linspace(0.05, 1, 20)}
    least = min(max(times) for times in grid.values())
    by_tau = max(grid[min(grid, key=lambda point: grid[point][0])])
    plain = min(max(times) for (mu, _), times in grid.items() if mu == 0)

    def no_worse(value):
        assert value <= 1.001 * least

    planted_defects(no_worse, right, {"τ alone": by_tau, "no momentum": plain})


def test_bayesian_tuning_keeps_its_promise_or_refuses():
    """Condition numbers from 1 to 1e12: the corrected variances are right to 1e-5, or the call says what is too badly conditioned."""
    refused = {"corrected": [], "langevin": []}
    for spread in (1.0, 1e2, 1e4, 1e6):
        hessian = np.diag([spread, 1.0, 1 / spread])
        for method, out in refused.items():
            setting = {"num_examples": 1000, "batch_size": 4, "method": method}
            try:
                found = theory.bayesian_tuning(hessian, 3 * hessian, **setting)
            except ValueError as error:
                assert "hessian must be better conditioned" in str(error)  # noqa: PT017
                out.append(spread)
                found = theory.bayesian_tuning(
                    hessian, 3 * hessian, preconditioner=np.diag(1 / np.diag(hessian)), **setting
                )
            allowed = 1e-5 if method == "corrected" else 0.05 * (1 + 1e-6)
            assert np.abs(found.errors).max() <= allowed
    assert refused == {"corrected": [1e4, 1e6], "langevin": [1e4, 1e6]}


def test_bayesian_tuning_momentum_and_its_cap():
    """Six times the draws at small noise, a hundredth more at large noise, where the search ends at the cap."""
    hessian, covariance = np.diag([3.0, 1.0, 0.1]), np.array([[2.0, 0.5, 0.1], [0.5, 1.5, 0.0], [0.1, 0.0, 0.1]])
    for size, gain in ((1000, (2.0, 10.0)), (2, (1.0, 1.02))):
        found = theory.bayesian_tuning(hessian, covariance, num_examples=1000 if size == 2 else 100, batch_size=size)
        examples = 1000 if size == 2 else 100
        most = 2 / np.linalg.eigvalsh(hessian + examples / size * covariance)[-1]
        times = []
        for share in np.linspace(0.3, 1 - 1e-9, 30):
            noise = (2 / (share * most) * np.eye(3) - hessian) / examples
            chain = theory.chain_from_noise(hessian, noise, learning_rate=share * most)
            times.append(max(chain.worst_iact(), chain.worst_iact(quadratic=True)))
        ratio = min(times) / max(found.iact, found.quadratic_iact)
        assert gain[0] < ratio < gain[1]
        assert (found.momentum == pytest.approx(0.995)) == (size == 2)


@pytest.mark.law
@pytest.mark.false_fail(1e-6)
def test_bayesian_tuning_law(Sgd):
    """SGLD at its budget of 20 %: the covariance is the predicted one, too wide by a fifth in the worst direction."""
    found = theory.bayesian_tuning(H, C, num_examples=50, batch_size=4, method="langevin", budget=0.2)
    chains = Sgd(noise=C / 4, rate=found.learning_rate, injected=2 * found.learning_rate / 50 * np.eye(2), seed=6)
    sample = chains.sample(60)
    planted_defects(
        lambda sigma: assert_covariance(sample, sigma, mean=np.zeros(2)),
        found.chain.covariance,
        {"the posterior": np.linalg.inv(H) / 50, "noise x 1.05": 1.05 * found.chain.covariance},
    )


# --- batch sizes ---


def test_batch_tradeoff_by_best_steps():
    """Steps to a small decrease of the loss, one after another at their best learning rate: McCandlish et al. (2018)."""
    gradient, target = np.array([0.3, -0.4]), 1e-3
    critical = theory.critical_noise_scale(gradient, C, H)
    fewest = target / theory.best_step(gradient, C, H, batch_size=1e12).loss_decrease
    for size in (2, 11, 300):
        best = minimize_scalar(
            lambda rate, b=size: (
                -rate * gradient @ gradient + rate**2 / 2 * (gradient @ H @ gradient + np.trace(H @ C) / b)
            ),
            bounds=(0, 2),
            method="bounded",
            options={"xatol": 1e-12},
        )
        steps = target / -best.fun
        found = theory.batch_tradeoff(batch_size=size, critical_batch_size=critical, fewest_steps=fewest)
        assert_allclose((found.steps, found.examples), (steps, size * steps), rtol=1e-6)
        excess = (found.steps / found.fewest_steps - 1, found.examples / found.fewest_examples - 1)
        product = excess[0] * excess[1]
        wrong = {"without - 1": (excess[0] + 1) * (excess[1] + 1), "sum": sum(excess) + 1e-3}
        planted_defects(lambda p: assert_allclose(p, 1.0, rtol=1e-9), product, wrong)


def test_gaussian_weights_t11():
    """T11: as a matrix, on skewed gradients, covariance Σ_pop/B to 1e-12; unit vectors for ξ give the matrix, its column sums are 0."""
    g = np.random.default_rng(3).exponential(size=(9, 4)) @ np.diag([1, 3, 0.2, 1])
    population = np.cov(g.T, bias=True)
    matrix = (theory.gaussian_weights(np.eye(9), batch_size=4) - 1).T / 9
    right = g.T @ matrix @ matrix.T @ g
    wrong = {
        "not centred": right + np.outer(g.mean(0), g.mean(0)) / 4,
        "N - 1": right * 9 / 8,
        "one example": 4 * right,
    }
    planted_defects(lambda c: assert_allclose(c, population / 4, atol=1e-12), right, wrong)
    assert_allclose(theory.gaussian_weights(np.random.default_rng(0).normal(size=(5, 9)), batch_size=2).mean(-1), 1)


@pytest.mark.false_fail(1e-6)
def test_gaussian_weights_law():
    """Weighted means of gradients: mean and covariance of a minibatch, for normal and for ±1 draws."""
    rng = np.random.default_rng(4)
    g = rng.exponential(size=(30, 2))
    for draws in (rng.normal(size=(60_000, 30)), rng.choice([-1.0, 1.0], size=(60_000, 30))):
        sample = theory.gaussian_weights(draws, batch_size=5) @ g / 30
        assert_covariance(sample, np.cov(g.T, bias=True) / 5, mean=g.mean(0))
        assert_fails(assert_covariance, sample, np.cov(g.T, bias=True) / 4, mean=g.mean(0), defect="another batch size")


# --- what the last review asked for ---


def test_logarithms_where_numbers_end():
    """Times are infinite and rates 0 beyond float64, without a warning; the logarithms go on, and agree where both exist."""
    kramers = theory.kramers_rate([[2.0]], [[-1.0]], barrier=0.25, temperature=2e-4)
    assert (kramers.rate, round(kramers.barrier_ratio)) == (0.0, 1250)
    cold = {"start": -1.0, "target": 1.0, "low": -3.0}
    curve = (lambda x: -(1 - x * x) * x, lambda x: 2e-4 + 0 * x)
    assert theory.diffusion_passage_time(*curve, **cold) == np.inf
    log_time = theory.diffusion_passage_time(*curve, log=True, **cold)
    planted_defects(
        lambda t: assert_allclose(t, -kramers.log_rate, atol=5e-3), log_time, {"to the top": log_time - np.log(2)}
    )
    pieces = {"minimum_curvature": 2.0, "saddle_curvature": 1.0, "barrier": 0.25, "share": 0.5625, "batch_size": 1}
    assert theory.piecewise_escape_time(learning_rate=1e-4, **pieces) == np.inf
    log_rate = theory.piecewise_escape_time(learning_rate=1e-4, log=True, **pieces)
    assert_allclose(log_rate, np.log(np.pi) + 2e4 * 0.25 * (0.5625 / 2 + 0.4375), rtol=1e-12)
    valley = {
        "minimum_loss": 0.1,
        "saddle_loss": 0.4,
        "escape_curvature": 1.0,
        "saddle_curvature": 0.5,
        "batch_size": 64,
    }
    for well in ("gaussian", "student"):
        assert theory.escape_rate(learning_rate=1e-2, well=well, **valley) == 0.0
        assert_allclose(
            theory.escape_rate(learning_rate=1e-2, well=well, log=True, **valley), -6400.5 * np.log(4), atol=3
        )
        plain = {"learning_rate": 0.9, "well": well} | valley | {"batch_size": 2}
        assert_allclose(np.exp(theory.escape_rate(log=True, **plain)), theory.escape_rate(**plain), rtol=1e-12)
    bowl = {"curvature": 1.0, "learning_rate": 1e-3, "batch_size": 8, "loss_ratio": 3.0}
    assert theory.bowl_passage_time(**bowl) == np.inf
    phi = 1 + 8 / 1e-3
    slope = np.diff([theory.bowl_passage_time(**bowl | {"loss_ratio": c}, log=True) for c in (2.99, 3.01)]) / np.log(
        3.01 / 2.99
    )
    assert_allclose(slope, phi - 0.5 * 3 / 2, rtol=2e-3)


def test_adam_at_large_rates():
    """One parameter has a law at every rate: √v = η(1−β₁)h/r, from the closed variance of heavy ball; in two the largest rate is named."""
    for rate in (0.5, 20.0, 300.0):
        law = theory.adam_law([[2.0]], [[1.0]], learning_rate=rate, batch_size=1, b1=0.5, eps=0.0)
        r = 2 * law.preconditioner[0]
        v = 1 + r * 1.5 / (0.5 * (3 - r))  # h²Σ = r s (1+μ)/((1−μ)(2(1+μ) − r))
        wrong = {"SGD's variance": 1 + r / (2 - min(r, 1.9)), "noise-dominated v": 1.0}
        planted_defects(lambda x, law=law: assert_allclose(law.second_moment, x, rtol=1e-7), v, wrong)
    with pytest.raises(
        ValueError,
        match=r"learning_rate must be at most about \d+.*, got 3000: .* within \de-0\d of the stability edge",
    ):
        theory.adam_law(H, C, learning_rate=3000.0, batch_size=4, b1=0.0)


def adam_at(rate):
    return theory.adam_law(H, C, learning_rate=rate, batch_size=4, b1=0.0, eps=0.0)


@pytest.mark.law
def test_adam_law_beyond_the_noise_dominated_regime():
    """η = 0.6 without momentum: half of v is the rule's own noise; second moments of the chain itself at β₂ = 0.999."""
    law = adam_at(0.6)
    rng, theta, v = np.random.default_rng(7), np.zeros((4096, 2)), np.tile(law.second_moment, (4096, 1))
    root, kept = np.linalg.cholesky(C / 4), []
    for step in range(4000):
        g = theta @ H + rng.normal(size=(4096, 2)) @ root.T
        v = 0.999 * v + 0.001 * g * g
        theta = theta - 0.6 * g / np.sqrt(v)
        if step >= 2000 and step % 40 == 0:
            kept.append(theta)
    wrong = {"noise x 1.05": 1.05 * law.covariance, "rate x 0.9": adam_at(0.54).covariance}
    planted_defects(lambda s: assert_covariance(np.stack(kept, 1), s, mean=np.zeros(2)), law.covariance, wrong)


def test_remainders_and_batches_beyond_the_data():
    """A window of ⌊N/B⌋ batches that leaves 3 of 23 examples out is wider than the posterior by 23/20 before anything else."""
    with pytest.raises(ValueError, match="batch_size must be between 1 and 20, got 21"):
        theory.averaging_errors(H, learning_rate=0.1, num_examples=20, batch_size=21)
    with pytest.raises(ValueError, match="batch_size must be between 1 and 20, got 21"):
        theory.averaging_range(H, num_examples=20, batch_size=21)
    rate, size, count = 0.02, 300, 1700
    mean = theory.iterate_average_covariance(H, H, learning_rate=rate, batch_size=size, window=count // size)
    values, vectors = np.linalg.eigh(H)
    exact = np.diag(vectors.T @ mean @ vectors) * values * count
    noise = 1 + rate / (2 * size) * (np.trace(H) + values)
    right = theory.averaging_errors(H, learning_rate=rate, num_examples=count, batch_size=size)
    wrong = {"remainder forgotten": (right + 1) * 1500 / 1700 - 1}
    planted_defects(close(exact * noise - 1, 1e-9), right, wrong)


def test_silent_slips_are_refused():
    with pytest.raises(TypeError, match="hessian must be real, got complex numbers"):
        theory.stability_edge(H + 0.1j * np.array([[0, 1], [-1, 0]]))
    with pytest.raises(TypeError, match="learning_rate must be a real number"):
        theory.stability_fraction(H, learning_rate=np.complex128(0.1))
    with pytest.raises(ValueError, match="chain must have noise in every direction"):
        theory.entropy_production(theory.linear_chain(H, np.diag([1.0, 0.0]), learning_rate=0.3, batch_size=4))
    with pytest.raises(
        ValueError, match=r"noise_scale must be at most η\(N−1\)/\(1−μ\) = 99, that of one example a step, got 120"
    ):
        theory.optimum_batch_size(noise_scale=120.0, learning_rate=0.1, num_examples=100, momentum=0.9)
    chain = theory.linear_chain(H, C, learning_rate=0.3, batch_size=4)
    with pytest.raises(ValueError, match="length must be between 1 and 50, got 51"):
        theory.batch_means_error(chain, [1.0, 0.0], num_steps=100, length=51)
    nearly = np.diag([1.0, 1e-10])  # at the page's threshold a direction is silent for theory too
    with pytest.raises(ValueError, match="a direction without noise"):
        theory.optimal_preconditioner(np.eye(2), nearly, num_examples=50, batch_size=4, time="continuous")
    units = np.diag([1.0, 1e-6])  # but other units of a parameter do not make it silent
    theory.optimal_preconditioner(
        units @ H @ units, units @ C @ units, num_examples=50, batch_size=4, time="continuous"
    )


def test_nesterov_edge_is_the_first_crossing():
    """The gain is below 1 everywhere below the edge, on heavy-tailed rows; no proof that it crosses 1 once is known."""
    rng = np.random.default_rng(5)
    for mu in (0.3, 0.9):
        X = rng.standard_t(2.5, size=(9, 3)) * [1, 3, 0.3]
        edge = theory.least_squares_edges(X, batch_size=1, momentum=mu, nesterov=True).second_moment
        radii = [
            theory.least_squares_moments(
                X, np.ones(9), learning_rate=share * edge, batch_size=1, momentum=mu, nesterov=True
            ).second_moment_radius
            for share in np.linspace(0.02, 0.999, 25)
        ]
        assert max(radii) < 1
