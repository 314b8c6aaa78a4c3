"""Tensors of analog cells to encode, and small models that read them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from tests.devices import RECORDS
from wl_onnx.codecs.cells import CellTensor, Lines, Symbol
from wl_onnx.runtime.library import get_library_path


def random_tensor(rng: np.random.Generator, **changes: Any) -> CellTensor:
    """A tensor with something of everything, some of it left out at random."""
    num_weights = int(changes.pop("num_weights", 6000 ** rng.uniform(0, 1)))
    record = changes.pop("device_record", RECORDS[str(rng.choice(list(RECORDS)))])
    num_symbols = int(rng.choice([1, 2, 3, 7]))
    most = 64 if rng.random() < 0.1 else 4
    symbols = [
        Symbol(
            *rng.uniform(-2, 2, 2).astype(np.float16).tolist(),
            curve=float(np.float16(rng.choice([0.0, 0.0, 1.5, -2.0]))),
            cells=int(rng.integers(0, most)),
        )
        for _ in range(num_symbols)
    ]
    if rng.random() < 0.3:
        symbols = [Symbol(one.low, one.high, 0.0, 1) for one in symbols]
    labels = rng.integers(0, num_symbols, num_weights) if num_symbols > 1 else None
    counts = np.array([one.cells for one in symbols])
    stored = int((counts[labels if labels is not None else np.zeros(num_weights, int)] > 0).sum())
    write_bits = int(rng.integers(1, 17))
    is_pair = bool(rng.random() < 0.4)
    fields: dict[str, Any] = {
        "num_weights": num_weights,
        "symbols": symbols,
        "labels": labels,
        "levels": rng.integers(0, 2**write_bits, stored * (2 if is_pair else 1)),
        "device_record": record,
        "write_bits": write_bits,
        "is_pair": is_pair,
        "inverts_response": bool(rng.random() < 0.7),
        "compensates_drift": bool(rng.random() < 0.7),
        "tensor": int(rng.integers(0, 2**32)),
        "write_seed": int(rng.integers(0, 2**63)) * 2 + 1,
        "time_s": float(np.float32(rng.choice([0.0, 20.0, 86400.0, 3e7]))),
        "reference_level": 0.5,
        "scale": float(np.float32(rng.uniform(0.01, 3))),
    }
    if rng.random() < 0.5:
        count = int(rng.integers(1, 9))
        fields["channel_scales"] = rng.uniform(0.1, 2, count).astype(np.float16)
        fields["channel_inner"] = int(rng.integers(1, 50))
    for name in ("row_exponents", "column_exponents"):
        if rng.random() < 0.4:
            exponents = rng.integers(4, 12, int(rng.integers(1, 20))).astype(np.uint8)
            fields[name] = Lines(exponents, int(rng.integers(1, 60)))
    return CellTensor(**(fields | changes))


def small_tensor() -> CellTensor:
    """A small tensor with every part of a blob in it; no random numbers."""
    i = np.arange(60)
    labels = i * i % 7 % 3
    return CellTensor(
        num_weights=60,
        symbols=[Symbol(0.0, 0.0, 0.0, 0), Symbol(0.0, 1.0, 1.5, 2), Symbol(-0.25, -1.0, 0.0, 1)],
        labels=labels,
        levels=(i * 37 % 101 % 32)[: int((labels > 0).sum())],
        device_record=RECORDS["nandakumar"],
        write_bits=5,
        compensates_drift=True,
        tensor=3,
        write_seed=2**63 + 5,
        time_s=3600.0,
        scale=0.5,
        channel_scales=np.array([1.0, 0.5, 2.0], np.float16),
        channel_inner=20,
        row_exponents=Lines(np.array([8, 10, 7], np.uint8), 20),
    )


def read_model(
    blob: bytes,
    shape: list[int],
    *,
    data_type: int = TensorProto.FLOAT,
    inputs: tuple[str, ...] = ("wl_write_seed", "wl_read_seed", "wl_time_s"),
    **attributes: Any,
) -> onnx.ModelProto:
    """A model that gives a weight as it is read, as float64; made without our own rewriting."""
    types = {"wl_write_seed": 7, "wl_read_seed": 7, "wl_time_s": 1, "seed": 7, "time": 1}
    tensor = helper.make_tensor("", TensorProto.UINT8, [len(blob)], blob, raw=True)
    node = helper.make_node(
        "AnalogRead",
        list(inputs),
        ["w"],
        name="read_w",
        domain="com.wl_onnx",
        **{"shape": shape, "data_type": data_type, "blob": tensor, **attributes},
    )
    graph = helper.make_graph(
        [node, helper.make_node("Cast", ["w"], ["y"], to=TensorProto.DOUBLE)],
        "read",
        [helper.make_tensor_value_info(name, types[name], None) for name in inputs if name],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)],
        value_info=[helper.make_tensor_value_info("w", data_type, shape)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.wl_onnx", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def open_stock(proto: onnx.ModelProto, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session of stock onnxruntime with our library."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.register_custom_ops_library(get_library_path())
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), options, ["CPUExecutionProvider"]
    )


def feeds(
    write_seed: int | None = None, read_seed: int | None = None, time_s: float | None = None
) -> dict[str, np.ndarray]:
    """What a session of `read_model` is fed with."""
    values = {
        "wl_write_seed": None if write_seed is None else np.uint64(write_seed).view(np.int64),
        "wl_read_seed": None if read_seed is None else np.int64(read_seed),
        "wl_time_s": None if time_s is None else np.float32(time_s),
    }
    return {name: np.array(value) for name, value in values.items() if value is not None}
