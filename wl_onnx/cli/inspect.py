"""`wl-onnx inspect`: what a compressed model holds."""

from __future__ import annotations

from wl_onnx import evaluation
from wl_onnx.cli.console import OUTPUT, print_json
from wl_onnx.cli.options import Json, ModelPath
from wl_onnx.cli.report_tables import print_report

__all__ = ["inspect"]


def inspect(model: ModelPath, json: Json = False) -> None:
    """Show what is inside a compressed model, tensor by tensor, beside the bounds."""
    report = evaluation.inspect(model)
    if json:
        print_json(report)
        return
    print_report(report, title=str(model))
    for name, value in report["metadata"].items():
        if name != "errors":  # they stand in the table
            OUTPUT.print(f"{name}: {value}", soft_wrap=True)
