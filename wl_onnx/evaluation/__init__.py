"""What a model or a device holds, how models compare, and what they may lose."""

from __future__ import annotations

from wl_onnx.evaluation.data import Feeds, load_feeds, load_npz, random_feeds
from wl_onnx.evaluation.device_plot import draw_device
from wl_onnx.evaluation.device_report import describe_device, list_devices
from wl_onnx.evaluation.fidelity import ORIGINAL, compare
from wl_onnx.evaluation.figure import check_picture
from wl_onnx.evaluation.inspection import inspect
from wl_onnx.evaluation.limits import Limits, Score, Validator
from wl_onnx.evaluation.metrics import Accumulator, top1
from wl_onnx.evaluation.monte_carlo import MonteCarloValidator
from wl_onnx.evaluation.split import limit_feeds, split_feeds, warn_one_sided
from wl_onnx.evaluation.sweep import TRIALS_NAME, run_sweep
from wl_onnx.evaluation.sweep_plot import draw_sweep
from wl_onnx.evaluation.sweep_summary import SweepResult
from wl_onnx.evaluation.validation import ValidationFn, load_validation_fn

__all__ = [
    "ORIGINAL",
    "TRIALS_NAME",
    "Accumulator",
    "Feeds",
    "Limits",
    "MonteCarloValidator",
    "Score",
    "SweepResult",
    "ValidationFn",
    "Validator",
    "check_picture",
    "compare",
    "describe_device",
    "draw_device",
    "draw_sweep",
    "inspect",
    "limit_feeds",
    "list_devices",
    "load_feeds",
    "load_npz",
    "load_validation_fn",
    "random_feeds",
    "run_sweep",
    "split_feeds",
    "top1",
    "warn_one_sided",
]
