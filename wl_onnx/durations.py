"""Times as people write them: a number with s, m, h, d or y."""

from __future__ import annotations

import math
import re

from wl_onnx.errors import InputError

__all__ = ["format_duration", "parse_duration", "parse_durations"]

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "y": 365 * 86_400.0}
_FORM = re.compile(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([smhdy])\s*", re.IGNORECASE)


def parse_duration(text: str) -> float:
    """Seconds of a duration such as 20s, 1.5h or 1y; a year has 365 days.

    Raises:
        InputError: it is none.

    Example:
        >>> parse_duration("1.5h")
        5400.0
    """
    match = _FORM.fullmatch(text)
    try:
        seconds = float(match[1]) * _SECONDS[match[2].lower()] if match else math.nan
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise InputError(
            f"cannot use time {text!r}: it must be a number with s, m, h, d or y, got {text!r}; "
            "write it as 20s, 1h or 1d"
        )
    return seconds


def parse_durations(text: str) -> tuple[float, ...]:
    """Seconds of durations that commas separate, each once, in rising order.

    Raises:
        InputError: one is none, or there is none at all.
    """
    return tuple(sorted({parse_duration(part) for part in text.split(",")}))


def format_duration(seconds: float) -> str:
    """A duration in the largest unit of which it is a whole number, or else in seconds.

    Example:
        >>> format_duration(86_400.0), format_duration(90.0)
        ('1d', '90s')
    """
    for unit in "ydhms":
        count = seconds / _SECONDS[unit]
        if count >= 1 and count.is_integer():
            return f"{count:.0f}{unit}"
    return f"{seconds:g}s"
