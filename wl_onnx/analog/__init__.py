"""Analog storage: models of noisy memory cells."""

from wl_onnx.analog.blahut_arimoto import ChannelCapacity, blahut_arimoto
from wl_onnx.analog.capacity import cell_capacity
from wl_onnx.analog.device import Constant, Device, ProgrammedCells
from wl_onnx.analog.ledger import Ledger
from wl_onnx.analog.pcm import PcmDevice, PowerLawDrift, ProgrammingNoise, ReadNoise
from wl_onnx.analog.presets import PRESETS, find_device, gaussian
from wl_onnx.analog.storage import PROTECTIONS, Storage
from wl_onnx.analog.table_device import TableDevice
from wl_onnx.analog.table_file import load_table

__all__ = [
    "PRESETS",
    "PROTECTIONS",
    "ChannelCapacity",
    "Constant",
    "Device",
    "Ledger",
    "PcmDevice",
    "PowerLawDrift",
    "ProgrammedCells",
    "ProgrammingNoise",
    "ReadNoise",
    "Storage",
    "TableDevice",
    "blahut_arimoto",
    "cell_capacity",
    "find_device",
    "gaussian",
    "load_table",
]
