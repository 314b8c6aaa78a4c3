"""One self-contained page on a compressed model beside its original: `write_report`."""

from wl_onnx.report.facts import Report
from wl_onnx.report.write import write_report

__all__ = ["Report", "write_report"]
