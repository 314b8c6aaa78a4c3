"""Small models whose one weight is decoded, and what it decodes to by another way."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from wl_onnx.codecs import bloomier, palette

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnxruntime

DTYPES: dict[int, Any] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.DOUBLE: np.float64,
    TensorProto.BFLOAT16: ml_dtypes.bfloat16,
}


@dataclasses.dataclass(frozen=True)
class Weight:
    """A blob, and what it decodes to: float32, in the weight's shape."""

    shape: tuple[int, ...]
    blob: bytes
    dense: np.ndarray
    operator: str = "BloomierDecode"

    def as_type(self, data_type: int) -> np.ndarray:
        return self.dense.astype(DTYPES[data_type])


class Build:
    """Makes the models of the tests."""

    def weight(self, shape: Sequence[int] = (96, 33, 100), seed: int = 0, **options: Any) -> Weight:
        return _make_weight(tuple(shape), seed, tuple(sorted(options.items())))

    def palette_weight(self, shape: Sequence[int] = (96, 33, 100), seed: int = 0) -> Weight:
        rng = np.random.default_rng(seed)
        codebook = (rng.standard_normal(17) / 3).astype(np.float32)
        codes = rng.choice(17, math.prod(shape), p=rng.dirichlet(np.ones(17)))
        blob = palette.encode(
            codes, codebook=codebook, codebook_type="float32", row_length=shape[-1]
        )
        return Weight(tuple(shape), blob, codebook[codes].reshape(shape), "PaletteDecode")

    def node(
        self,
        weight: Weight | None,
        *,
        data_type: int | None = TensorProto.FLOAT,
        blob_input: str = "",
        name: str = "decode_w",
        output: str = "w",
        **attributes: Any,
    ) -> NodeProto:
        """A decode node; an attribute given as None is left out."""
        if weight is not None:
            attributes = {"shape": list(weight.shape), "data_type": data_type, **attributes}
            if not blob_input:
                attributes = {"blob": self.blob_tensor(weight.blob), **attributes}
        return helper.make_node(
            "BloomierDecode" if weight is None else weight.operator,
            [blob_input] if blob_input else [],
            [output],
            name=name,
            domain="com.wl_onnx",
            **{key: value for key, value in attributes.items() if value is not None},
        )

    def blob_tensor(self, blob: bytes, name: str = "") -> TensorProto:
        return helper.make_tensor(name, TensorProto.UINT8, [len(blob)], blob, raw=True)

    def model(self, graph: GraphProto) -> ModelProto:
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.wl_onnx", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def lookup(
        self,
        weight: Weight,
        *,
        data_type: int | None = TensorProto.FLOAT,
        as_input: bool = False,
        **options: Any,
    ) -> ModelProto:
        """A model that gives rows `i` of the weight as float64, which holds any type exactly."""
        nodes = [
            self.node(
                weight, data_type=data_type, blob_input="w.blob" if as_input else "", **options
            ),
            helper.make_node("Gather", ["w", "i"], ["rows"]),
            helper.make_node("Cast", ["rows"], ["y"], to=TensorProto.DOUBLE),
        ]
        graph = helper.make_graph(
            nodes,
            "lookup",
            [helper.make_tensor_value_info("i", TensorProto.INT64, ["n"])],
            [helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)],
            [self.blob_tensor(weight.blob, "w.blob")] if as_input else [],
            value_info=[
                helper.make_tensor_value_info("w", data_type or TensorProto.FLOAT, weight.shape)
            ],
        )
        return self.model(graph)

    def rows(self, session: onnxruntime.InferenceSession, weight: Weight) -> np.ndarray:
        """All rows of the weight, as a session gives them."""
        return session.run(["y"], {"i": np.arange(weight.shape[0])})[0]


@functools.cache
def _make_weight(shape: tuple[int, ...], seed: int, options: tuple[tuple[str, Any], ...]) -> Weight:
    rng = np.random.default_rng(seed)
    num_weights = math.prod(shape)
    indices = np.flatnonzero(rng.random(num_weights) < 0.05)
    # 1/3 and the like differ from type to type.
    codebook = rng.standard_normal(16) / 3
    settings = {"bits": 9, "codebook_type": "float32", **dict(options)}
    values = rng.integers(0, 16, indices.size)
    blob = bloomier.encode(indices, values, num_weights=num_weights, codebook=codebook, **settings)
    return Weight(shape, blob, bloomier.decode(blob).reshape(shape))


@pytest.fixture(scope="session")
def build() -> Build:
    return Build()
