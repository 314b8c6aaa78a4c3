"""Session options of our own, equal to the caller's, so that the caller's stay as they are.

What a session of ours adds to its options (weights, the operator library, no arena) must not reach
the next session that the caller opens with the same options: onnxruntime refuses weights that a
model does not have, and a library that is registered twice.
"""

from __future__ import annotations

import functools
import logging
import threading

import onnxruntime
from onnx import TensorProto, helper

__all__ = ["copy_options"]

_logger = logging.getLogger(__name__)
_lock = threading.Lock()

# What would leave files behind when options are copied.
_SIDE_EFFECTS = {"enable_profiling": False, "optimized_model_filepath": ""}


def copy_options(
    options: onnxruntime.SessionOptions | None,
) -> onnxruntime.SessionOptions | None:
    """Options with all settings of other ones, but for registered operator libraries.

    onnxruntime has no copy of its own in Python, nor a list of the settings; but a session gives
    back a copy of the options that it was opened with. So a session of one operator is opened,
    which takes a millisecond.

    Args:
        options: what to copy, left as it is; None for the defaults.

    Returns:
        The copy, or None where a copy would lack something: execution providers that were added
        to the options, or settings with which that small session does not open.
    """
    if options is None:
        return onnxruntime.SessionOptions()
    if getattr(options, "has_providers", bool)():  # since 1.22
        return None
    with _lock:
        kept = {name: getattr(options, name) for name in _SIDE_EFFECTS}
        try:
            for name, value in _SIDE_EFFECTS.items():
                setattr(options, name, value)
            session = onnxruntime.InferenceSession(
                _idle_model(), options, ["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # onnxruntime's exceptions have no public base
            _logger.debug("session options cannot be copied: %s", error)
            return None
        finally:
            for name, value in kept.items():
                setattr(options, name, value)
    copy = session.get_session_options()
    for name, value in kept.items():
        setattr(copy, name, value)
    return copy


@functools.cache
def _idle_model() -> bytes:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "idle",
        [info("x", TensorProto.FLOAT, [1])],
        [info("y", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    data: bytes = model.SerializeToString()
    return data
