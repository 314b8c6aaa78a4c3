"""Small models of one matrix product, and one of them compressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from wl_onnx.codecs import bloomier
from wl_onnx.graph import Replacement, load_model, replace_weights, to_proto

if TYPE_CHECKING:
    from collections.abc import Callable

NUM_INPUTS = 64
NUM_CLASSES = 10


@pytest.fixture(scope="session")
def make_model() -> Callable[..., ModelProto]:
    def make(
        weight: np.ndarray, *, batch: int | str = "N", name: str = "x", extra: bool = False
    ) -> ModelProto:
        """`logits` = x w, and with `extra` also `best` (int64) and `shifted`, x w + 1."""
        info = helper.make_tensor_value_info
        nodes = [helper.make_node("MatMul", [name, "w"], ["logits"])]
        outputs = [info("logits", TensorProto.FLOAT, [batch, weight.shape[1]])]
        initializers = [numpy_helper.from_array(weight, "w")]
        if extra:
            nodes.append(helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0))
            nodes.append(helper.make_node("Add", ["logits", "one"], ["shifted"]))
            nodes.append(helper.make_node("SequenceConstruct", ["logits"], ["list"]))
            initializers.append(numpy_helper.from_array(np.float32(1), "one"))
            outputs += [
                info("best", TensorProto.INT64, [batch]),
                info("shifted", TensorProto.FLOAT, [batch, weight.shape[1]]),
                helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, None),
            ]
        graph = helper.make_graph(
            nodes,
            "product",
            [info(name, TensorProto.FLOAT, [batch, weight.shape[0]])],
            outputs,
            initializers,
        )
        opsets = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    return make


@pytest.fixture(scope="session")
def weight() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((NUM_INPUTS, NUM_CLASSES), dtype=np.float32)


@pytest.fixture(scope="session")
def compressed(
    make_model: Callable[..., ModelProto], weight: np.ndarray
) -> tuple[ModelProto, np.ndarray]:
    """The model in one Bloomier filter, and the weight that it decodes to."""
    rng = np.random.default_rng(6)
    codebook = rng.standard_normal(16).astype(np.float32)
    indices = np.flatnonzero(rng.random(weight.size) < 0.3)
    blob = bloomier.encode(
        indices,
        rng.integers(0, 16, indices.size),
        num_weights=weight.size,
        codebook=codebook,
        bits=8,
        codebook_type="float32",
    )
    model = load_model(make_model(weight, extra=True))
    replace_weights(model, {"w": Replacement(blob, "a test")}, metadata={})
    return to_proto(model), bloomier.decode(blob).reshape(weight.shape)
