"""The power law of the bulk of the stationary law, where noise grows with the loss."""

from __future__ import annotations

from gradnoise import _checks

_NOISES = ("gaussian_inputs", "loss_proportional", "sde_gaussian_inputs", "sde_loss_proportional")


def bulk_exponent(
    *, curvature: float, learning_rate: float, batch_size: float, noise: str = "gaussian_inputs"
) -> float:
    r"""Exponent φ of the power law L^{−φ} that describes the *bulk* of the stationary density, by matching its exact variance.

    Equation: gaussian_inputs φ = ½ + B/(ηa) − B/2; loss_proportional (C = 2LH) φ = 1 + B/(ηa) − B/2; as stochastic differential equations (η → 0)
    ½ + B/(2ηa) + ½ and 1 + B/(ηa). Density ∝ (L* + ½aθ²)^{−φ}; its own tail is P(|θ| > r) ∝ r^{−(2φ−1)}.

    =============  ======  =====  ==========================================
    argument       symbol  shape  scale
    =============  ======  =====  ==========================================
    curvature      a       ()     loss/parameter²
    learning_rate  η       ()     parameter²/loss
    batch_size     B       ()     examples a step; any number > 0
    noise          –       –      "gaussian_inputs", "loss_proportional", "sde_gaussian_inputs", "sde_loss_proportional"
    returns        φ       ()     dimensionless
    =============  ======  =====  ==========================================

    Assumptions: one dimension (or isotropic noise), label noise. Maximum-likelihood fits of 10⁵ samples agree to 1 %.
    Limit: 2φ − 1 is `tail_exponent` only where both are 2; elsewhere the true tail is another: never mix the two.

    Reference: Ziyin, Liu, Mori, Ueda (2022), §6.6 (β = 2B/(ηa) − B = 2φ − 1, there called the tail index); Mori, Ziyin, Liu, Ueda (2022), eq. (18),
    the loss-proportional SDE. Finite η by variance matching derived here; "sde_gaussian_inputs" has the exact noise 2LA + Aδδ'A: B/(ηa) + 1 = 2φ − 1.

    >>> bulk_exponent(curvature=1.0, learning_rate=0.5, batch_size=4), bulk_exponent(
    ...     curvature=1.0, learning_rate=0.5, batch_size=4, noise="loss_proportional")
    (6.5, 7.0)
    """
    kind = _checks.one_of("noise", noise, _NOISES)
    batch = _checks.positive("batch_size", batch_size)
    cold = batch / (_checks.positive("learning_rate", learning_rate) * _checks.positive("curvature", curvature))
    if kind.startswith("sde"):
        return 1 + (cold / 2 if kind == "sde_gaussian_inputs" else cold)
    found = (0.5 if kind == "gaussian_inputs" else 1.0) + cold - batch / 2
    if found <= 0.5:
        msg = f"learning_rate must be below {2 * learning_rate * cold / batch:.6g}: beyond it no density of this form is normalisable, got {learning_rate:.6g}."
        raise ValueError(msg)
    return found
