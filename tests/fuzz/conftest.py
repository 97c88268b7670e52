"""The modules beside the tests, whatever pytest's import mode; and draws that are the same on every machine."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis.internal.conjecture import providers

sys.path.insert(0, str(Path(__file__).parent))

# hypothesis also draws the constants that it finds in the code loaded so far: a new line of src, or another order of the tests,
# would make other cases of the same seed
if hasattr(providers, "_get_local_constants") and hasattr(providers, "_local_constants"):
    none = providers._local_constants
    providers._get_local_constants = lambda: none
