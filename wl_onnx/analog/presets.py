"""Devices by name, with their published constants."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from wl_onnx.analog.pcm import PcmDevice, PowerLawDrift, ProgrammingNoise, ReadNoise
from wl_onnx.errors import InputError

if TYPE_CHECKING:
    from wl_onnx.analog.device import Device

__all__ = ["DEFAULT_DEVIATION", "PRESETS", "find_device", "gaussian", "pcm_joshi", "pcm_nandakumar"]

DEFAULT_DEVIATION = 0.05
"""Of the device `gaussian`, as a share of the range: about that of the other two at half range."""

_G_MAX_USIEMENS = 25.0


def pcm_nandakumar() -> PcmDevice:
    """Phase-change memory with programming noise, drift and read noise.

    Source: Nandakumar et al., "Phase-change memory models for deep learning training and
    inference", ICECS 2019, fitted to a million devices; IBM's AIHWKit has the same constants in
    its `PCMLikeNoiseModel`.
    """
    return PcmDevice(
        name="pcm-nandakumar2019",
        g_max_usiemens=_G_MAX_USIEMENS,
        programming=ProgrammingNoise(0.26348, 1.9650, -1.1731),
        drift=PowerLawDrift(
            mean_slope=-0.0155,
            mean_intercept=0.0244,
            mean_low=0.049,
            mean_high=0.1,
            deviation_slope=-0.0125,
            deviation_intercept=-0.0059,
            deviation_low=0.008,
            deviation_high=0.045,
        ),
        read_noise=ReadNoise(scale=0.0088, exponent=0.65, floor=1e-3, cap=0.2, t_read_s=250e-9),
        t0_s=20.0,
        source="Nandakumar et al., ICECS 2019",
    )


def pcm_joshi() -> PcmDevice:
    """Phase-change memory with programming noise alone.

    Source: Joshi et al., "Accurate deep neural network inference using computational phase-change
    memory", Nature Communications 11, 2473 (2020): deviation -0.00178767 g^2 + 0.07585724 g +
    0.28638599 uS, g in uS up to 25, here as a polynomial of the share g / g_max.
    """
    return PcmDevice(
        name="pcm-joshi2020",
        g_max_usiemens=_G_MAX_USIEMENS,
        programming=ProgrammingNoise(
            0.28638599, 0.07585724 * _G_MAX_USIEMENS, -0.00178767 * _G_MAX_USIEMENS**2
        ),
        source="Joshi et al., Nature Communications 2020",
    )


def gaussian(deviation: float = DEFAULT_DEVIATION) -> PcmDevice:
    """A cell whose write adds noise of one deviation everywhere; no drift, no read noise.

    Args:
        deviation: as a share of the range, finite and not negative.

    Raises:
        InputError: the deviation is none.
    """
    if not (math.isfinite(deviation) and deviation >= 0):
        raise InputError(
            f"cannot make device gaussian: its deviation must be finite and not negative, got "
            f"{deviation}"
        )
    name = "gaussian" if deviation == DEFAULT_DEVIATION else f"gaussian:{deviation:g}"
    return PcmDevice(
        name=name,
        g_max_usiemens=_G_MAX_USIEMENS,
        programming=ProgrammingNoise(deviation * _G_MAX_USIEMENS),
        source="given as a share of the range",
    )


PRESETS: dict[str, Callable[[], Device]] = {
    "pcm-nandakumar2019": pcm_nandakumar,
    "pcm-joshi2020": pcm_joshi,
    "gaussian": gaussian,
}
"""What `find_device` knows; a new device is a new entry."""


def find_device(name: str) -> Device:
    """The device of a name.

    Args:
        name: a key of `PRESETS`; `gaussian:S` is the device `gaussian` of the deviation S.

    Raises:
        InputError: no such device; the error names all that exist.

    Example:
        >>> find_device("gaussian:0.1").deviation(0.5, 0.0).round(3).item()
        2.5
    """
    kind, separator, parameter = name.partition(":")
    if separator and kind == "gaussian":
        try:
            return gaussian(float(parameter))
        except ValueError as error:
            raise InputError(
                "cannot make device gaussian: its deviation must be a share of the range that is "
                f"finite and not negative, got {parameter!r}"
            ) from error
    make = PRESETS.get(name)
    if make is None:
        raise InputError(
            f"cannot find a device: the name must be one of {', '.join(PRESETS)} or gaussian:S, "
            f"got {name!r}; a measured one is given as a table"
        )
    return make()
