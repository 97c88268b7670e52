"""What counts as definite and as symmetric does not depend on units, nor on the last bits of another processor."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import numpy as np
import pytest
from calls import called, public_formulas, valid_call

from gradnoise import _checks, theory

RNG = np.random.default_rng(5)
DRAWN = RNG.standard_normal((6, 9))
GOOD = DRAWN @ DRAWN.T / 18
GOOD = GOOD + GOOD.T  # to the last bit, whatever BLAS did
UNITS = 10.0 ** np.array([-9, 6, 0, -4, 9, 2])


@pytest.mark.parametrize("definite", ["semi", "positive"])
def test_units_do_not_decide_what_is_definite(definite):
    """Condition 1e36 by units alone; eigenvalues of the plain matrix are then rounding, of either sign."""
    scaled = GOOD * np.outer(UNITS, UNITS)
    assert (_checks.symmetric("A", scaled, definite=definite) == scaled).all()
    wrong, units = GOOD - 2 * np.linalg.eigvalsh(GOOD)[0] * np.eye(6), UNITS ** (0.2 if definite == "semi" else 1)
    with pytest.raises(
        ValueError, match=r"^A must (be positive definite|have no negative eigenvalue), but its smallest"
    ):
        _checks.symmetric("A", wrong * np.outer(units, units), definite=definite)


def test_rounding_is_no_curvature():
    """A column twice: the smallest eigenvalue is rounding, above 0 on one processor and below on another. Both are refused alike."""
    columns = DRAWN.T * UNITS
    twice = np.c_[columns, 3e5 * columns[:, 1]]
    for order in (range(7), [6, 3, 1, 0, 2, 5, 4]):
        gram = twice[:, order].T @ twice[:, order]
        _checks.symmetric("A", gram, definite="semi")
        for sign in (-1, 1):
            with pytest.raises(ValueError, match=r"^A must be positive definite, but it is singular up to rounding"):
                _checks.symmetric("A", gram * (1 + sign * 1e-16 * np.eye(7)), definite="positive")
    with pytest.raises(ValueError, match="but its smallest is -1"):  # not hidden by the other's size
        _checks.symmetric("A", np.diag([1e10, -1.0]), definite="semi")


def test_a_sum_of_float32_has_no_negative_eigenvalue():
    rows = RNG.standard_normal((4000, 30)).astype(np.float32)
    rows[:, 7] = rows[:, 8]
    gram = rows.T @ rows
    assert np.linalg.eigvalsh(gram.astype(float))[0] < 1e-2
    _checks.symmetric("A", gram, definite="semi")


def matrices(found):
    """All square matrices in a result, with their names."""
    if is_dataclass(found):
        return [
            (f"{f.name}.{n}", m) for f in fields(found) if f.name[0] != "_" for n, m in matrices(getattr(found, f.name))
        ]
    square = isinstance(found, np.ndarray) and found.ndim == 2 and len(found) == len(found.T) > 1
    return [("", found)] if square else []


def test_covariances_are_symmetric_to_the_last_bit():
    """Every formula: what is symmetric up to rounding is symmetric."""
    seen, crooked = 0, []
    for name in public_formulas():
        if "." in name or name in ("tail_exponent_estimate", "shuffled_weights"):  # weights of pairs: no covariance
            continue
        for field, matrix in matrices(called(name, valid_call(name))):
            if np.abs(matrix - matrix.T).max() <= 1e-9 * np.abs(matrix).max():
                seen += 1
                crooked += [f"{name} {field}"] if (matrix != matrix.T).any() else []
    assert seen > 30
    assert not crooked


def test_kinetic_tuning_at_any_condition():
    """One answer, right to 1 %, or one error that names the Hessian: never one of LAPACK's."""
    basis = np.linalg.qr(DRAWN[:, :6])[0]
    for power in (4, 8, 10, 12, 14, 15, 17):
        hessian = basis @ np.diag(np.geomspace(1, 10.0**-power, 6)) @ basis.T
        for noise in (0 * hessian, (hessian + hessian.T) / 2):
            if power < 13:
                tuned = theory.kinetic_tuning(hessian, noise, num_examples=1000, batch_size=60)
                assert tuned.variance_error < 0.01
                continue
            with pytest.raises(ValueError, match=r"^hessian must"):
                theory.kinetic_tuning(hessian, noise, num_examples=1000, batch_size=60)
