"""One-weight models around the nodes of portable forms, and what their weights come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.blobs import BlobFields, random_tables
from wl_onnx.portable.form import PortableForm, build_nodes

DOMAIN = "portable.test"
TYPES = [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16]

_LEVELS = onnxruntime.GraphOptimizationLevel


def build_model(
    form: PortableForm, shape: tuple[int, ...], data_type: int, *, function: bool
) -> ModelProto:
    """A model whose output `out` is the weight, decoded in the graph or in a function.

    The weight is float32 or float64 there, exactly.
    """
    roles = list(form.tensors)
    names = {role: f"w.{role}" for role in roles}
    functions = []
    if function:
        inner = {role: f"a{index}" for index, role in enumerate(roles)}
        body = build_nodes(
            form, shape=shape, data_type=data_type, inputs=inner, output="b", prefix=""
        )
        opsets = [helper.make_opsetid("", 18)]
        functions = [helper.make_function(DOMAIN, "f", list(inner.values()), ["b"], body, opsets)]
        nodes = [helper.make_node("f", list(names.values()), ["w"], domain=DOMAIN)]
    else:
        nodes = build_nodes(
            form, shape=shape, data_type=data_type, inputs=names, output="w", prefix="w."
        )
    shown = TensorProto.DOUBLE if data_type == TensorProto.DOUBLE else TensorProto.FLOAT
    nodes.append(helper.make_node("Cast", ["w"], ["out"], to=shown))
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "graph",
            [],
            [helper.make_tensor_value_info("out", shown, shape)],
            [numpy_helper.from_array(form.tensors[role], names[role]) for role in roles],
        ),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)],
        functions=functions,
        ir_version=8,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def run_stock(
    model: ModelProto, *, optimized: bool = True, saved: Path | None = None
) -> npt.NDArray[Any]:
    """What onnxruntime gives without a library of ours; `saved` takes the optimized model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not optimized:
        options.graph_optimization_level = _LEVELS.ORT_DISABLE_ALL
    if saved is not None:
        options.optimized_model_filepath = str(saved)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, ["CPUExecutionProvider"], enable_fallback=0
    )
    result: npt.NDArray[Any] = session.run(None, {})[0]
    return result


def run_reference(model: ModelProto) -> npt.NDArray[Any]:
    """What the evaluator of the onnx package gives."""
    result: npt.NDArray[Any] = ReferenceEvaluator(model).run(None, {})[0]
    return result


def check_bits(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> None:
    """The same shape and the same bits, the sign of a zero too."""
    assert found.shape == wanted.shape
    wanted = wanted.astype(found.dtype)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))


def random_filter(
    rng: np.random.Generator,
    *,
    layout: int,
    hash_: int,
    bits: int,
    num_groups: int = 5,
    max_units: int = 60,
    codebook_type: str = "f2",
    dead: float = 0.1,
) -> bytes:
    """A valid filter of random tables, in one block or in several, some without a table."""
    num_clusters = int(min(2**bits, 4096, 2 ** rng.uniform(0, 13)))
    blocks: list[tuple[int, ...]] = []
    left = num_groups
    while left > 0:
        count = int(rng.integers(1, left + 1))
        units = 0 if rng.random() < dead else int(rng.integers(8, max_units + 1))
        blocks.append((count, units, int(rng.integers(256)) if rng.random() < 0.5 else 1))
        left -= count
    num_weights = (num_groups - 1) * 1024 + int(rng.integers(1, 1025))
    return BlobFields(
        num_weights=num_weights,
        layout=layout,
        hash=hash_,
        bits=bits,
        codebook=rng.normal(size=num_clusters).astype(codebook_type),
        seed=int(rng.integers(2**32)),
        num_keys=int(rng.integers(num_weights + 1)),
        blocks=blocks,
        tables=random_tables(rng, layout, bits, [block[1] for block in blocks]),
    ).to_bytes()
