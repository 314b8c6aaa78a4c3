"""The errors that wl_onnx raises: one family, each also a builtin exception.

Every message is one line of the form
`cannot <action> <thing by name>: <what must hold>, got <value>[; <what to do>]`.
"""

from __future__ import annotations

__all__ = [
    "BlobError",
    "EncodeError",
    "InputError",
    "LibraryError",
    "ModelError",
    "TrainingError",
    "WlOnnxError",
]


class WlOnnxError(Exception):
    """Base of every error that wl_onnx raises on purpose."""


class InputError(WlOnnxError, ValueError):
    """The caller asked for something that cannot be: an option, a path or an array is wrong."""


class ModelError(WlOnnxError, ValueError):
    """An ONNX file is damaged, incomplete or of a kind that cannot be treated."""


class BlobError(WlOnnxError, ValueError):
    """A blob is damaged: it was cut, changed or never was one."""


class EncodeError(WlOnnxError, RuntimeError):
    """No filter could be constructed for the keys within the bounded number of seeds."""


class TrainingError(WlOnnxError, RuntimeError):
    """Training went wrong on its own: a loss or a parameter is not finite any more."""


class LibraryError(WlOnnxError, ImportError):
    """Something that must be installed or built is absent or too old."""
