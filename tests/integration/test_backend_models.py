"""Every model of onnx's own PyTorch tests that has a float weight: there, through, and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import wl_onnx
from wl_onnx import graph

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
FOLDERS = ("pytorch-converted", "pytorch-operator")
RECIPE = wl_onnx.Recipe(sparsity=0.0, clusters=256, min_elements=1, allow_growth=True)
PROVIDERS = ["CPUExecutionProvider"]
MINIMUM_MODELS = 30


def open_plain(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=PROVIDERS)


def open_stock(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(wl_onnx.get_library_path())
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=PROVIDERS)


def loads(path: Path) -> bool:
    try:
        open_plain(onnx.load(path))
    except Exception:
        return False
    return True


def list_models() -> list[Path]:
    paths = sorted(path for folder in FOLDERS for path in (DATA / folder).rglob("model.onnx"))
    return [path for path in paths if graph.find_weights(graph.load_model(path)) and loads(path)]


MODELS = list_models()


def read_feed(path: Path, session: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    """The inputs that come with the model."""
    inputs = session.get_inputs()
    files = [path.parent / "test_data_set_0" / f"input_{i}.pb" for i in range(len(inputs))]
    tensors = [onnx.TensorProto.FromString(file.read_bytes()) for file in files]
    return {
        value.name: numpy_helper.to_array(tensor)
        for value, tensor in zip(inputs, tensors, strict=True)
    }


def decode_in_onnxruntime(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """What the operators of a model give, by a model of nothing but these operators."""
    nodes = [node for node in model.graph.node if node.domain == "com.wl_onnx"]
    outputs = []
    for node in nodes:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        outputs.append(
            helper.make_tensor_value_info(
                node.output[0], attributes["data_type"], attributes["shape"]
            )
        )
    only = helper.make_model(
        helper.make_graph(nodes, "decoders", [], outputs),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.wl_onnx", 1)],
        ir_version=8,
    )
    session = open_stock(only)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {}), strict=True))


@pytest.mark.parametrize("path", MODELS, ids=lambda p: f"{p.parents[1].name}/{p.parent.name}")
def test_runs_in_every_mode_and_decompresses_to_what_it_decodes(path: Path) -> None:
    original = onnx.load(path)
    result = wl_onnx.compress(path, recipe=RECIPE)
    encoded = {t["name"] for t in result.report["tensors"] if t["codec"] == "bloomier"}
    left = [t["reason"] for t in result.report["tensors"] if t["codec"] == "none"]
    assert all(left)
    assert encoded or left
    dense = wl_onnx.decompress(result.model) if encoded else result.model
    onnx.checker.check_model(dense)

    decoded = decode_in_onnxruntime(result.model) if encoded else {}
    assert decoded.keys() == encoded
    before = {t.name: numpy_helper.to_array(t) for t in original.graph.initializer}
    after = {t.name: numpy_helper.to_array(t) for t in dense.graph.initializer}
    for name, array in after.items():
        expected = decoded.get(name, before.get(name))
        assert array.dtype == expected.dtype
        assert array.tobytes() == expected.tobytes()

    plain = open_plain(dense)
    feed = read_feed(path, plain)
    expected = plain.run(None, feed)
    sessions = [
        wl_onnx.InferenceSession(result.model, None, PROVIDERS, mode=mode)
        for mode in ("materialize", "cached", "streaming")
    ]
    for session in (*sessions, open_stock(result.model)):
        for one, other in zip(session.run(None, feed), expected, strict=True):
            scale = max(1.0, float(np.abs(other).max()))
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * scale)
    # With 256 centroids and no pruning, the compressed model still computes the original's.
    for one, other in zip(open_plain(original).run(None, feed), expected, strict=True):
        error = np.linalg.norm(one.astype(np.float64) - other)
        assert error <= 0.1 * max(1.0, float(np.linalg.norm(one)))


def test_many_models_are_covered(add_to_summary: Callable[[str], None]) -> None:
    total = sum(1 for folder in FOLDERS for _ in (DATA / folder).rglob("model.onnx"))
    weights = [graph.find_weights(graph.load_model(path)) for path in MODELS]
    usable = sum(any(site.skip_reason is None for site in sites) for sites in weights)
    add_to_summary(
        f"onnx backend tests ({', '.join(FOLDERS)}): {len(MODELS)} of {total} models load and have "
        f"float weights, {usable} of them were compressed"
    )
    assert usable >= MINIMUM_MODELS
