"""Statistical assertions with declared error rates: how this library tests its laws, and how you can test yours.

Every assertion names the probability of a false alarm (`false_fail`), the smallest error that it promises to see
(`detects`) and the probability of overlooking it (`miss`), and **refuses** a sample that cannot keep that promise
(`InsensitiveSample`). Standard errors come from independent chains, whatever the correlation inside a chain.

What a session spends is added up: `declared()` holds the `false_fail` of every comparison made, `declare` adds one of your own.

NumPy and SciPy only: these functions know no simulator, so they cannot be tuned to one.
"""

from gradnoise.testing.counts import assert_uniform
from gradnoise.testing.defects import UndetectedDefect, assert_fails, planted_defects
from gradnoise.testing.estimates import assert_estimate
from gradnoise.testing.moments import assert_covariance, assert_mean
from gradnoise.testing.verdict import InsensitiveSample, Passed, declare, declared

__all__ = [
    "InsensitiveSample",
    "Passed",
    "UndetectedDefect",
    "assert_covariance",
    "assert_estimate",
    "assert_fails",
    "assert_mean",
    "assert_uniform",
    "declare",
    "declared",
    "planted_defects",
]
