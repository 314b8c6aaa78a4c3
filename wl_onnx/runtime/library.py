"""Where the operator library lies, for onnxruntime to load."""

from __future__ import annotations

import sys

import onnxruntime

from wl_onnx.errors import LibraryError
from wl_onnx.kernels.native import installed_directory

__all__ = ["MINIMUM_ONNXRUNTIME", "check_onnxruntime", "get_library_path"]

MINIMUM_ONNXRUNTIME = (1, 17)
"""The oldest onnxruntime that has all that the operator library calls."""

_FILE_NAMES = {"win32": "wl_onnx_ops.dll", "darwin": "libwl_onnx_ops.dylib"}
_FILE_NAME_ELSEWHERE = "libwl_onnx_ops.so"


def get_library_path() -> str:
    """Path of the operator library, for `SessionOptions.register_custom_ops_library`.

    Returns:
        An absolute path, also in an editable installation.

    Raises:
        LibraryError: the library was not built, or onnxruntime is older than 1.17.

    Example:
        >>> options = onnxruntime.SessionOptions()
        >>> options.register_custom_ops_library(get_library_path())
    """
    check_onnxruntime()
    name = _FILE_NAMES.get(sys.platform, _FILE_NAME_ELSEWHERE)
    path = installed_directory() / "kernels" / name
    if not path.is_file():
        raise LibraryError(
            f"cannot find the operator library: {path} must be there, got no such file; "
            "reinstall wl-onnx with a C++ compiler at hand"
        )
    return str(path)


def check_onnxruntime() -> None:
    """Checks that onnxruntime is recent enough.

    Raises:
        LibraryError: it is older than 1.17.
    """
    major, minor = onnxruntime.__version__.split(".")[:2]
    if (int(major), int(minor)) < MINIMUM_ONNXRUNTIME:
        raise LibraryError(
            "cannot run compressed models: onnxruntime must be 1.17 or newer, "
            f"got {onnxruntime.__version__}; pip install --upgrade onnxruntime"
        )
