"""The version of this package, as its metadata has it."""

from __future__ import annotations

import importlib.metadata

__all__ = ["__version__"]

try:
    __version__ = importlib.metadata.version("wl-onnx")
except importlib.metadata.PackageNotFoundError:  # run from its source folder
    __version__ = "0+source"
