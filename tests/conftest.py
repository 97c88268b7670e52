"""Shared fixtures: where the real data lie, and float64 where theory is compared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# two workers share two cores: BLAS threads of their own make a fourth-moment edge take 76 s instead of 6
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# half of the suite's time is compilation: workers share it, and the next run finds it done
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

SHARED = Path(os.environ.get("GRADNOISE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real data sets; the tests skip where it is absent, but never in CI."""
    if not SHARED.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{SHARED} is missing: in CI the real data must be there")
        pytest.skip(f"no real data at {SHARED}; set GRADNOISE_DATA")
    return SHARED
