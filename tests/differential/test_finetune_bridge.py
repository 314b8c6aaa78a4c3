"""The operators of the bridge on onnx's own node tests, against their data and onnxruntime."""

from __future__ import annotations

import collections
import fnmatch
import functools
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import defs, numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

torch = pytest.importorskip("torch", reason="torch is not installed")

import wl_onnx.finetune.operators  # noqa: E402, F401  fills the registry
from wl_onnx import ModelError, finetune  # noqa: E402
from wl_onnx.finetune.element_types import to_array, to_tensor  # noqa: E402
from wl_onnx.finetune.registry import (  # noqa: E402
    NEWEST_OPSET,
    OLDEST_OPSET,
    find_operator,
    known_versions,
)

# Cases of operators that the bridge knows, which it refuses: by patterns of their names.
REFUSED = {
    "test_*_uint16": "torch stores uint16 but does not compute with it",
    "test_*_uint32": "torch stores uint32 but does not compute with it",
    "test_*_uint64": "torch stores uint64 but does not compute with it",
    "test_*_uint16_expanded": "torch stores uint16 but does not compute with it",
    "test_*_uint32_expanded": "torch stores uint32 but does not compute with it",
    "test_*_uint64_expanded": "torch stores uint64 but does not compute with it",
    "test_cast*FLOAT8*": "8-bit floats saturate in ONNX and not in torch",
    "test_cast*FLOAT4*": "torch has no such element type",
    "test_cast*INT4*": "torch has no such element type",
    "test_cast*INT2*": "torch has no such element type",
    "test_cast*E8M0*": "8-bit floats saturate in ONNX and not in torch",
    "test_equal_string*": "torch has no texts",
    "test_identity_sequence": "inputs of the bridge are tensors",
    "test_identity_opt": "inputs of the bridge are tensors",
    "test_if*": "the condition is an input, and the graph of a module has no branches",
    "test_affine_grid_*_expanded": "its branches depend on a rank that the graph computes",
    "test_bitwise_*_ui64_*": "torch stores uint64 but does not compute with it",
    "test_bitwise_not_3d": "torch stores uint16 but does not compute with it",
    "test_not_?d": "of opset 1",
}
# Those that run, and cannot give what the data says.
DIFFERENT = {
    "test_training_dropout*": "draws at random: only type, shape and rate are the specification's",
    "test_resize_downsample_scales_*_align_corners": (
        "the data divides by a length before it is rounded down, the specification's text and "
        "onnxruntime by the length itself"
    ),
}
# What the bridge gives is the data's, and not what onnxruntime 1.31 gives.
NOT_ONNXRUNTIME = {
    "test_attention_4d_with_past_and_present_qk_matmul_bias_?d_mask_causal": (
        "onnxruntime masks by the lowest finite number, the data by minus infinity"
    ),
}
# Two roundings or so of values about 1.
TOLERANCE = {"float16": (2e-3, 1e-3), "bfloat16": (2e-2, 1e-2)}


def find_reason(name: str, reasons: dict[str, str]) -> str | None:
    return next((why for pattern, why in reasons.items() if fnmatch.fnmatch(name, pattern)), None)


@functools.cache
def load_cases() -> dict[str, TestCase]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnx overflows on purpose while it makes its data
        cases = load_model_tests(kind="node")
    return {case.name: case for case in cases if is_claimed(read_model(case))}


def read_model(case: TestCase) -> onnx.ModelProto:
    return case.model or onnx.load(Path(case.model_dir) / "model.onnx")


def is_claimed(model: onnx.ModelProto) -> bool:
    known = {*known_versions(), ("", "If")}
    used = {(node.domain, node.op_type) for node in model.graph.node}
    return used <= known


NAMES = sorted(load_cases())
RUNNING = [
    name for name in NAMES if not find_reason(name, REFUSED) and not find_reason(name, DIFFERENT)
]


def as_array(value: object) -> np.ndarray:
    is_proto = isinstance(value, onnx.TensorProto)
    return numpy_helper.to_array(value) if is_proto else np.asarray(value)


def as_tensor(value: object) -> torch.Tensor:
    array = as_array(value)
    return to_tensor(array, onnx.helper.np_dtype_to_tensor_dtype(array.dtype))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run(module: torch.nn.Module, inputs: list[torch.Tensor]) -> list[np.ndarray]:
    outputs = module(*inputs)
    return [to_array(o) for o in (outputs if isinstance(outputs, tuple) else (outputs,))]


def run_onnxruntime(model: onnx.ModelProto, inputs: list[np.ndarray]) -> list[list[np.ndarray]]:
    """The outputs, or nothing where onnxruntime has no kernel for this type or version."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        names = [value.name for value in session.get_inputs()]
        return [session.run(None, dict(zip(names, inputs, strict=True)))]
    except Exception:
        return []


def assert_close(found: np.ndarray, expected: np.ndarray, rtol: float, atol: float) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    loose = TOLERANCE.get(found.dtype.name, (0.0, 0.0))
    if found.dtype.name == "bfloat16":
        found, expected = found.astype(np.float32), expected.astype(np.float32)
    np.testing.assert_allclose(found, expected, max(rtol, loose[0]), max(atol, loose[1]))


@pytest.mark.parametrize("name", RUNNING)
def test_gives_the_data_and_what_onnxruntime_gives(name: str) -> None:
    case = load_cases()[name]
    model = read_model(case)
    module = finetune.to_torch(model)
    for inputs, outputs in case.data_sets:
        found = run(module, [as_tensor(value) for value in inputs])
        references = [[as_array(value) for value in outputs]]
        if not find_reason(name, NOT_ONNXRUNTIME):
            references += run_onnxruntime(model, [as_array(value) for value in inputs])
        for reference in references:
            assert len(found) == len(reference)
            for one, other in zip(found, reference, strict=True):
                assert_close(one, other, case.rtol, max(case.atol, 1e-6))


@pytest.mark.parametrize("name", [n for n in NAMES if find_reason(n, REFUSED)])
def test_what_is_not_claimed_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ModelError, match=r"^cannot bring .* to torch: .* must .*, got ") as caught:
        finetune.to_torch(read_model(load_cases()[name]))
    assert "\n" not in str(caught.value)


def test_every_pattern_is_of_some_case() -> None:
    for pattern in (*REFUSED, *DIFFERENT, *NOT_ONNXRUNTIME):
        assert fnmatch.filter(NAMES, pattern), f"take out {pattern}"


def test_most_cases_are_claimed(add_to_summary: Callable[[str], None]) -> None:
    reasons = collections.Counter(find_reason(n, REFUSED) for n in NAMES if n not in RUNNING)
    add_to_summary(
        f"onnx node tests of the bridge's {len(known_versions())} operators: {len(RUNNING)} of "
        f"{len(NAMES)} claimed, {sum(reasons.values())} not: element types, texts, branches"
    )
    assert len(RUNNING) > 0.8 * len(NAMES)


def test_dropout_in_training_draws_at_the_rate() -> None:
    case = load_cases()["test_training_dropout_mask"]
    module = finetune.to_torch(read_model(case))
    torch.manual_seed(0)
    x = torch.ones(200, 500)
    y, mask = module(x, *[as_tensor(value) for value in case.data_sets[0][0][1:]])
    rate = float(as_array(case.data_sets[0][0][1]))
    # Six standard deviations of a mean of 100,000 draws.
    assert abs(float(mask.float().mean()) - (1 - rate)) < 6 * np.sqrt(rate * (1 - rate) / 1e5)
    np.testing.assert_allclose(y.numpy(), mask.numpy() / (1 - rate), rtol=1e-6)


@pytest.mark.parametrize("name", fnmatch.filter(NAMES, "test_resize_downsample_scales_*_align*"))
def test_aligned_corners_are_those_of_onnxruntime(name: str) -> None:
    case = load_cases()[name]
    inputs = [as_array(value) for value in case.data_sets[0][0]]
    model = read_model(case)
    ((expected,),) = run_onnxruntime(model, inputs)
    found = run(finetune.to_torch(model), [torch.from_numpy(one) for one in inputs])
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-6)


def list_versions() -> list[tuple[str, str]]:
    return [key for key in known_versions() if defs.has(key[1], key[0])]


@pytest.mark.parametrize(("domain", "name"), list_versions())
def test_every_version_of_an_operator_is_entered(domain: str, name: str) -> None:
    """Else a model of a version that was overlooked would be computed by an older one's rules."""
    for opset in range(OLDEST_OPSET, min(NEWEST_OPSET, defs.onnx_opset_version()) + 1):
        try:
            since = defs.get_schema(name, opset, domain).since_version
        except defs.SchemaError:
            continue
        assert since in known_versions()[domain, name], f"opset {opset}"
        assert find_operator(domain, name, opset) is find_operator(domain, name, since)


# What has no gradient by its nature.
WITHOUT_GRADIENT = {"ArgMax", "ArgMin", "Hardmax", "Shape", "Size", "IsInf", "IsNaN"}
# Where the gradient itself is infinite or there is none, not the bridge's.
SINGULAR = (
    "test_acosh_example",
    "test_mod_float_edge_cases*",
    "test_*_nan_robustness",
    "test_reduce_*_empty_set*",
)


def with_float_inputs() -> list[str]:
    found = []
    for name in RUNNING:
        model = read_model(load_cases()[name])
        if len(model.graph.node) != 1 or any(fnmatch.fnmatch(name, p) for p in SINGULAR):
            continue
        node = model.graph.node[0]
        entry = find_operator("", node.op_type, model.opset_import[0].version)
        kinds = {v.name: v.type.tensor_type.elem_type for v in model.graph.input}
        floats = [i for i, n in enumerate(node.input) if n and kinds.get(n) == 1]
        if (
            entry is not None
            and set(floats) - entry.fixed
            and node.op_type not in WITHOUT_GRADIENT
            and model.graph.output[0].type.tensor_type.elem_type == 1
        ):
            found.append(name)
    return found


@pytest.mark.parametrize("name", with_float_inputs())
def test_gradients_reach_every_float_input(name: str) -> None:
    case = load_cases()[name]
    model = read_model(case)
    node = model.graph.node[0]
    entry = find_operator("", node.op_type, model.opset_import[0].version)
    assert entry is not None
    inputs = [as_tensor(value) for value in case.data_sets[0][0]]
    given = [index for index, value in enumerate(node.input) if value]
    trained = []
    for index, tensor in zip(given, inputs, strict=True):
        if tensor.dtype == torch.float32 and index not in entry.fixed:
            trained.append(tensor.requires_grad_(True))
    outputs = finetune.to_torch(model)(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    first = outputs[0]
    first[first.isfinite()].sum().backward()
    reached = [tensor for tensor in trained if tensor.grad is not None]
    assert len(reached) == len(trained)
    assert all(bool(tensor.grad.isfinite().all()) for tensor in reached)
