"""Many models at once: a folder of them, or a zoo with a manifest."""

from wl_onnx.zoo.conversion import convert
from wl_onnx.zoo.entry import Entry
from wl_onnx.zoo.executors import open_cluster, open_processes
from wl_onnx.zoo.manifest import load_manifest
from wl_onnx.zoo.results import ZooResult
from wl_onnx.zoo.selection import find_entries

__all__ = [
    "Entry",
    "ZooResult",
    "convert",
    "find_entries",
    "load_manifest",
    "open_cluster",
    "open_processes",
]
