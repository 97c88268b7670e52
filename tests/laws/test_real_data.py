"""The exact discrete-time law of constant SGD on the paper's data sets, at the KL-optimal rate, forgetting a wrong start.

Setting of Mandt et al. (2017), Table 1: features and (for the regressions) target standardised, no intercept, N(0, 1) prior,
unit observation scale, minibatches with replacement. `benchmarks/real_data.py` is the same run with its record stored.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradnoise.testing.verdict import z_limit


@pytest.fixture(scope="module")
def study() -> Any:
    import importlib.util
    from pathlib import Path

    path = Path(__file__).parents[2] / "benchmarks" / "real_data.py"
    spec = importlib.util.spec_from_file_location("real_data", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.law
@pytest.mark.parametrize(
    "name", ["wine", *(pytest.param(name, marks=pytest.mark.slow) for name in ("skin", "protein"))]
)
def test_exact_discrete_law_on_real_data(name: str, study: Any, shared_data: Any) -> None:
    """Worst z over eigendirections; with constant noise where the data allow it, else against the noise averaged over the law."""
    result = study.measure(name, shared_data)
    assert result["softest_relative_error"] <= 0.03
    limit = z_limit(1e-6, result["dim"], result["num_chains"])
    assert result["worst_z"] < limit, result
    assert result["halved_start_z"] > limit, "a chain that remembered its start would not be seen"


@pytest.mark.slow
@pytest.mark.law
def test_effective_sample_size_on_wine(study: Any, shared_data: Any) -> None:
    """Predicted variance of chain means (all lags) against that of 4096 chains: ESS per step within 10 % in every direction."""
    predicted, measured, error = study.effective_sizes(shared_data)
    assert error.max() < 0.03
    np.testing.assert_allclose(measured, predicted, rtol=0.1)
    assert np.ptp(np.log(predicted)) > 1, "directions must differ, or the test is easy"
