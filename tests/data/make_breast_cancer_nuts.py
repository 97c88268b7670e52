"""Make breast_cancer_nuts.npz: mean and covariance of a long NUTS run on breast cancer (logistic, standardised, prior 1).

Run by hand (about 40 s): ``python tests/data/make_breast_cancer_nuts.py``. The density is written out here,
without gradnoise, so that the reference shares no code with what it checks. NUTS runs in coordinates whitened by the
Laplace approximation; the window adaptation then finds the step size and a diagonal mass matrix.
"""

import time
from pathlib import Path

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_breast_cancer

jax.config.update("jax_enable_x64", True)
CHAINS, WARMUP, DRAWS = 16, 1000, 10_000

X, y = load_breast_cancer(return_X_y=True)
X = np.column_stack([(X - X.mean(0)) / X.std(0), np.ones(len(X))])
N, D = X.shape


def log_posterior(theta):
    z = jnp.asarray(X) @ theta
    return jnp.sum(y * z - jnp.logaddexp(0.0, z)) - 0.5 * theta @ theta


mode = np.zeros(D)
for _ in range(50):
    mode = mode - np.linalg.solve(jax.hessian(log_posterior)(mode), jax.grad(log_posterior)(mode))
root = np.linalg.cholesky(np.linalg.inv(-np.asarray(jax.hessian(log_posterior)(mode))))


def whitened(u):
    return log_posterior(mode + jnp.asarray(root) @ u)


def one_chain(key):
    start, warm, run = jax.random.split(key, 3)
    adaptation = blackjax.window_adaptation(blackjax.nuts, whitened, target_acceptance_rate=0.8)
    (state, parameters), _ = adaptation.run(warm, jax.random.normal(start, (D,)), num_steps=WARMUP)
    kernel = blackjax.nuts(whitened, **parameters)

    def step(state, key):
        state, info = kernel.step(key, state)
        return state, (state.position, info.is_divergent, info.num_integration_steps)

    return jax.lax.scan(step, state, jax.random.split(run, DRAWS))[1]


def main():
    began = time.time()
    draws, diverged, leaps = jax.jit(jax.vmap(one_chain))(jax.random.split(jax.random.key(0), CHAINS))
    theta = mode + np.asarray(draws) @ root.T
    ess = np.asarray(blackjax.diagnostics.effective_sample_size(theta))
    rhat = np.asarray(blackjax.diagnostics.potential_scale_reduction(theta))
    flat = theta.reshape(-1, D)
    print(
        f"{time.time() - began:.0f} s, {np.mean(leaps):.1f} leapfrog steps a draw, {int(np.sum(diverged))} divergences"
    )
    print(f"effective sample size {ess.min():.0f} to {ess.max():.0f}, worst R-hat {rhat.max():.4f}")
    np.savez_compressed(
        Path(__file__).with_name("breast_cancer_nuts.npz"),
        mean=flat.mean(0),
        covariance=np.cov(flat.T),
        num_draws=len(flat),
        effective_sample_size=ess,
        half_means=[half.reshape(-1, D).mean(0) for half in np.split(theta, 2)],
        half_covariances=[np.cov(half.reshape(-1, D).T) for half in np.split(theta, 2)],
    )


if __name__ == "__main__":
    main()
