"""`wl-onnx demo`: the main job on the bundled model."""

from __future__ import annotations

import tempfile
from pathlib import Path

import wl_onnx
from wl_onnx import evaluation
from wl_onnx.cli.compare import print_comparison
from wl_onnx.cli.console import OUTPUT, progress_bar, set_up_logging
from wl_onnx.cli.report_tables import print_report
from wl_onnx.errors import LibraryError
from wl_onnx.kernels.native import installed_directory

__all__ = ["demo"]


def demo() -> None:
    """Compress the bundled LeNet-5 and run it on 1,000 handwritten digits, before and after."""
    set_up_logging(quiet=False)
    folder = installed_directory() / "models"
    model, digits = folder / "lenet5.onnx", folder / "digits.npz"
    for path in (model, digits):
        if not path.is_file():
            raise LibraryError(
                f"cannot run the demo: {path} must be installed, got no such file; "
                "reinstall wl-onnx"
            )
    with tempfile.TemporaryDirectory(prefix="wl_onnx-") as temporary:
        output = Path(temporary) / "lenet5.wl.onnx"
        with progress_bar(quiet=False) as progress:
            result = wl_onnx.compress(model, output, progress=progress)
        print_report(result.report, title="LeNet-5, compressed with the defaults")
        with progress_bar(quiet=False) as progress:
            comparison = evaluation.compare(model, output, digits, progress=progress)
    print_comparison(comparison)
    OUTPUT.print(
        "materialize decodes when the session is created; cached and streaming decode in the graph."
    )
