"""Why chains diverge at a step that was tuned for them."""

from __future__ import annotations

import numpy as np

from gradnoise.infer.plans.plan import Plan

UNLIKE = 1e4  # ratio of two parameters' scales from which on float32 does not hold both


def why_thrown(plan: Plan) -> str:
    """Say what makes chains diverge at a step that was tuned here: not its size where the law lies."""
    law = plan.where.law
    scales = np.sqrt(np.diag(plan.where.hessian))
    if scales.max() > UNLIKE * scales.min():
        cause = (
            f"the columns are badly scaled (curvatures differ by a factor {(scales.max() / scales.min()) ** 2:.2g}), so that rounding "
            "alone moves the chains: use datasets.standardise"
        )
    else:
        cause = (
            f"the noise of a batch and the curvature change with the distance from the mode (over the posterior the noise is "
            f"{law.noise_drift:.3g} times that at the mode), and single batches throw chains to where the step is too large: use "
            "infer.corrected_langevin, infer.sample or a larger batch_size"
        )
    return f"The step was tuned for these data and is {plan.settings['stability']:.2g} of the stability edge around the mode; but {cause}."
