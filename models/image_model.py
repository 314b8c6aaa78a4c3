"""The frame of an ONNX model that classifies images: its input, its output, its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper, numpy_helper
from script_files import replacing

if TYPE_CHECKING:
    import numpy.typing as npt

INPUT = "input"
OUTPUT = "logits"
OPSET = 18
IR_VERSION = 8
NUM_CLASSES = 10


def make_image_model(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    initializers: Mapping[str, npt.NDArray[Any]],
    image_shape: tuple[int, int, int],
    *,
    metadata: Mapping[str, str],
    producer: str,
) -> onnx.ModelProto:
    """A model, opset 18 and IR version 8, checked by onnx.

    Args:
        name: of the graph.
        nodes: from `INPUT`, float32 [N, *image_shape], to `OUTPUT`, float32 [N, 10].
        initializers: arrays by name.
        image_shape: channels, rows and columns.
        metadata: written to `metadata_props`.
        producer: the script's path.
    """
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", *image_shape])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", NUM_CLASSES])],
        [numpy_helper.from_array(array, key) for key, array in initializers.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name=f"wl_onnx {producer}",
    )
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return model


def write_measured(
    path: Path, model: onnx.ModelProto, *, dataset: str, accuracy: float, run: Mapping[str, Any]
) -> str:
    """Writes a model with what it was measured to and how it was made.

    Args:
        path: of the ONNX file.
        model: whose metadata are replaced.
        dataset: on whose test images it was measured.
        accuracy: in 0..1.
        run: what it was trained with.

    Returns:
        The same in one line.

    Raises:
        ScriptError: the file cannot be written.
    """
    facts = {"dataset": dataset, "test_accuracy": f"{accuracy:.4f}"}
    helper.set_model_props(model, facts | {key: str(value) for key, value in run.items()})
    with replacing(path) as temporary:
        onnx.save(model, temporary)
    return (
        f"{path}: {path.stat().st_size:,} bytes, test accuracy {100 * accuracy:.2f} % "
        "in onnxruntime"
    )
