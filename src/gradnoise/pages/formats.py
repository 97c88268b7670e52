"""Numbers for human readers: three digits, thin spaces, powers of ten, and a dash with its reason for what is missing."""

from __future__ import annotations

import math
import re
from typing import Any

from jinja2 import Undefined
from markupsafe import Markup, escape

from gradnoise._text import digits_for

THIN = "\u202f"  # narrow no-break space
MINUS = "\u2212"
TINY = 1e-12
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_FIXED = range(-3, 6)  # exponents written without a power of ten


def missing(value: Any) -> bool:
    """Return whether there is no number: null, undefined in a template, or NaN."""
    return value is None or isinstance(value, Undefined) or (isinstance(value, float) and math.isnan(value))


def number(value: Any, why: str = "not computed", digits: int = 3) -> str | Markup:
    """Write a measured number with `digits` significant digits, or a dash that says why there is none.

    >>> number(1234.5), number(0.0168), number(-1.24e-5), number(0)
    ('1\u202f230', '0.0168', '−1.24·10⁻⁵', '0')
    >>> number(None, "no prediction")
    Markup('<span class="null" title="no prediction">–</span>')
    """
    if missing(value):
        return Markup('<span class="null" title="{}">–</span>').format(why)
    number = float(value)
    if math.isinf(number):
        return "∞" if number > 0 else f"{MINUS}∞"
    if number == 0:
        return "0"
    mantissa, exponent = f"{number:.{digits - 1}e}".split("e")
    power = int(exponent)
    if power in _FIXED:
        return _signed(_grouped(f"{float(f'{mantissa}e{power}'):.{max(0, digits - 1 - power)}f}"))
    return _signed(mantissa) + _times(power)


def placed(value: Any, spread: Any, why: str = "not computed") -> str | Markup:
    """Write a parameter's value with the digits that its standard deviation leaves it, three at least.

    >>> placed(59000.512, 0.01), placed(0.0168, 0.5)
    ('59\u202f000.512', '0.0168')
    """
    if missing(value) or missing(spread):
        return number(value, why)
    return number(value, why, digits_for(float(value), float(spread), 3))


def divergence(value: Any, why: str = "not computed") -> str | Markup:
    """Write a KL divergence; what is far below any sampling error is only said to be small.

    >>> divergence(0.0213), divergence(5.06e-25)
    ('0.0213', '< 10⁻¹²')
    """
    if not missing(value) and 0 < float(value) < TINY:
        return "< 10" + "-12".translate(_SUPERSCRIPTS)
    return number(value, why)


def setting(value: Any, why: str = "not set") -> str | Markup:
    """Write a number that was chosen, to six digits without trailing zeros: enough to type it again.

    >>> setting(0.1), setting(0.0123456), setting(1.0), setting(3e-7)
    ('0.1', '0.0123456', '1', '3·10⁻⁷')
    """
    if missing(value) or math.isinf(float(value)):
        return number(value, why)
    if float(value).is_integer() and abs(float(value)) < 1e9:
        return count(value)
    text = f"{float(value):.6g}"
    if "e" not in text:
        return _signed(_grouped(text))
    mantissa, exponent = text.split("e")
    return _signed(mantissa) + _times(int(exponent))


def count(value: Any, why: str = "not counted") -> str | Markup:
    """Write a whole number with all its digits.

    >>> count(240000)
    '240\u202f000'
    """
    if missing(value) or math.isinf(float(value)):
        return number(value, why)
    return _signed(_grouped(f"{float(value):.0f}"))


def measured(value: Any, error: Any, why: str = "not simulated") -> str | Markup:
    """Write a number with its standard error: the error keeps one digit at least, the number three.

    >>> measured(0.01683, 0.00021), measured(1.234e-5, 2.1e-7)
    ('0.0168 ± 0.0002', '(1.234 ± 0.021)·10⁻⁵')
    """
    if missing(value) or missing(error) or not math.isfinite(float(value)) or not float(value):
        return number(value, why)
    value, error = float(value), float(error)
    power = math.floor(math.log10(abs(value)))
    fine = 2 if error <= 0 else max(2, power - math.floor(math.log10(error)))
    if power in _FIXED:
        decimals = max(0, min(fine, 5) - power)
        return f"{_signed(_grouped(f'{value:.{decimals}f}'))} ± {_grouped(f'{error:.{decimals}f}')}"
    decimals = min(max(fine, 3), 5)
    scale = 10.0**power
    return f"({_signed(f'{value / scale:.{decimals}f}')} ± {error / scale:.{decimals}f}){_times(power)}"


def seconds(value: Any, why: str = "not timed") -> str | Markup:
    """Write a time in seconds, or minutes from 120 s.

    >>> seconds(0.01234), seconds(0.001), seconds(75), seconds(200)
    ('0.01\u202fs', '< 0.01\u202fs', '75\u202fs', '3.3\u202fmin')
    """
    if missing(value):
        return number(value, why)
    time = float(value)
    if 0 < time < 0.005:
        return f"< 0.01{THIN}s"
    if time >= 120:
        return f"{time / 60:.1f}{THIN}min"
    return f"{time:.0f}{THIN}s" if time >= 10 else f"{time:.1f}{THIN}s" if time >= 0.1 else f"{time:.2f}{THIN}s"


def breakable(value: Any) -> Markup:
    """Escape text and let long words break after `/`, `_`, `=` and `.`, so that a phone need not scroll."""
    return Markup(re.sub(r"(?<=[/_=.])(?=\w)", "<wbr>", str(escape(value))))


def _grouped(text: str) -> str:
    """Group the digits before the point by threes: narrow no-break spaces, from four digits on."""
    sign, whole, rest = re.fullmatch(r"(-?)(\d+)(.*)", text).groups()  # type: ignore[union-attr]
    return sign + f"{int(whole):,}".replace(",", THIN) + rest


def _signed(text: str) -> str:
    return text.replace("-", MINUS)


def _times(power: int) -> str:
    return "·10" + str(power).translate(_SUPERSCRIPTS)
