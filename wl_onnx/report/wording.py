"""Numbers as people read them: units, thousands separators, three digits that count."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MINUS",
    "MISSING",
    "TIMES",
    "format_bytes",
    "format_count",
    "format_db",
    "format_percent",
    "format_ratio",
    "format_seconds",
    "format_shape",
    "format_value",
]

MISSING = "\N{EN DASH}"
_SPACE = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"


def format_bytes(count: float | None) -> str:
    """A number of bytes in powers of 1,000.

    Example:
        >>> format_bytes(1724336).split()
        ['1.72', 'MB']
    """
    if count is None:
        return MISSING
    if round(count) < 1000:
        return f"{count:.0f}{_SPACE}B"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if float(f"{count:.3g}") < 1000 or unit == "GB":
            break
    return f"{_three_digits(count)}{_SPACE}{unit}"


def format_count(count: float | None) -> str:
    """A whole number with thousands separators.

    Example:
        >>> format_count(400000)
        '400,000'
    """
    return MISSING if count is None else f"{count:,.0f}"


def format_ratio(ratio: float | None) -> str:
    """How many times smaller or longer.

    Example:
        >>> format_ratio(7.7234) == "7.72" + TIMES
        True
    """
    return MISSING if ratio is None or not math.isfinite(ratio) else _three_digits(ratio) + TIMES


def format_percent(share: float | None, digits: int = 2) -> str:
    """A share in 0..1 as percent.

    Args:
        share: the share, or None.
        digits: behind the point.
    """
    return MISSING if share is None else f"{100 * share:.{digits}f}{_SPACE}%"


def format_db(snr_db: float | None) -> str:
    """A ratio in decibels."""
    return MISSING if snr_db is None else f"{snr_db:.1f}{_SPACE}dB"


def format_seconds(seconds: float) -> str:
    """A time in the unit that makes it easiest to read.

    Example:
        >>> format_seconds(0.00123).split()
        ['1.23', 'ms']
    """
    unit, factor = ("s", 1.0) if seconds >= 1 else ("ms", 1e3) if seconds >= 1e-3 else ("µs", 1e6)
    return f"{_three_digits(seconds * factor)}{_SPACE}{unit}"


def format_shape(shape: Iterable[int]) -> str:
    """Dimensions.

    Example:
        >>> format_shape((500, 800)).split(TIMES)
        ['500 ', ' 800']
    """
    return f" {TIMES} ".join(map(str, shape)) or "scalar"


def format_value(value: float | None) -> str:
    """A number of any size in few digits.

    Example:
        >>> format_value(0.0123456)
        '0.0123'
    """
    if value is None:
        return MISSING
    return "0" if value == 0 else f"{value:.3g}"


def _three_digits(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
