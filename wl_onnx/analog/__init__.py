"""Analog storage: models of noisy memory cells."""

from wl_onnx.analog.device import Constant, Device, ProgrammedCells
from wl_onnx.analog.pcm import PcmDevice, PowerLawDrift, ProgrammingNoise, ReadNoise
from wl_onnx.analog.presets import PRESETS, find_device, gaussian

__all__ = [
    "PRESETS",
    "Constant",
    "Device",
    "PcmDevice",
    "PowerLawDrift",
    "ProgrammedCells",
    "ProgrammingNoise",
    "ReadNoise",
    "find_device",
    "gaussian",
]
