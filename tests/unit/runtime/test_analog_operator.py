"""AnalogRead, as stock onnxruntime and as our own sessions run it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tests.cells import feeds, open_stock, random_tensor, read_model, small_tensor
from tests.devices import RECORDS
from tests.unit.graph import builders
from wl_onnx import graph
from wl_onnx.codecs import cells, palette
from wl_onnx.codecs.cells import CellTensor, Symbol
from wl_onnx.runtime.opening import open_model
from wl_onnx.runtime.session import MODES, InferenceSession
from wl_onnx.runtime.weights import WeightDecoder

BLOB = cells.encode(small_tensor())


def store(array: np.ndarray, number: int = 0, **changes: object) -> bytes:
    """Cells of an array: one for each magnitude, none where it is below a tenth of the largest."""
    flat = np.asarray(array, np.float32).reshape(-1)
    scale = float(abs(flat).max())
    labels = np.where(abs(flat) < scale / 10, 0, np.where(flat > 0, 1, 2))
    fields: dict[str, object] = {
        "num_weights": flat.size,
        "symbols": [Symbol(0, 0, 0, 0), Symbol(0, 1), Symbol(0, -1)],
        "labels": labels,
        "levels": np.round(abs(flat[labels > 0]) / scale * 255).astype(int),
        "device_record": RECORDS["nandakumar"],
        "compensates_drift": True,
        "tensor": number,
        "scale": scale,
    }
    return cells.encode(CellTensor(**(fields | changes)))  # type: ignore[arg-type]


def stored_model(
    proto: onnx.ModelProto, *, palettes: tuple[str, ...] = (), blobs: str = "attribute"
) -> tuple[graph.CompressibleModel, dict[str, bytes]]:
    """A model with its weights in cells, but for some; its blobs by key."""
    model = graph.load_model(proto)
    found, replacements = {}, {}
    for number, site in enumerate(graph.find_weights(model)):
        if graph.why_not_analog(site) is not None:
            continue
        codec = "palette" if site.key in palettes else "analog"
        array = np.array(site.numpy(), np.float32)
        if codec == "palette":
            codes = (array.reshape(-1) > 0).astype(int)
            found[site.key] = palette.encode(codes, codebook=[-0.5, 0.5])
        else:
            found[site.key] = store(array, number)
        replacements[site.key] = graph.Replacement(found[site.key], "", codec=codec)
    graph.replace_weights(model, replacements, blobs=blobs)  # type: ignore[arg-type]
    return model, found


def run_mlp(session: object, **fed: float) -> np.ndarray:
    x = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)
    return session.run(None, {"x": x, **feeds(**fed)})[0]  # type: ignore[attr-defined]


def test_fresh_reads_differ_and_fed_ones_do_not() -> None:
    session = open_stock(read_model(BLOB, [3, 20]))
    one, two = (session.run(None, feeds(1, -1, 0.0))[0] for _ in range(2))
    assert (one != two).sum() > 20
    three, four = (session.run(None, feeds(1, 5, 0.0))[0] for _ in range(2))
    np.testing.assert_array_equal(three, four)
    assert (session.run(None, feeds(2, 5, 0.0))[0] != three).sum() > 20
    assert (session.run(None, feeds(1, 6, 0.0))[0] != three).sum() > 20
    assert (session.run(None, feeds(1, 5, 9.0))[0] != three).sum() > 20
    np.testing.assert_array_equal(session.run(None, feeds(1, 5, 0.0))[0], three)


def test_without_inputs_each_run_reads_the_blob_s_own_cells() -> None:
    session = open_stock(read_model(BLOB, [60], inputs=()))
    one, two = (session.run(None, {})[0] for _ in range(2))
    assert (one != two).sum() > 20


@pytest.mark.skipif(
    tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 31),
    reason="older onnxruntimes, 1.17 and 1.20 among them, crash at a gap before an input",
)
def test_missing_inputs_stand_for_the_blob_s_own() -> None:
    expected = cells.read(BLOB, read_seed=3)
    session = open_stock(read_model(BLOB, [60], inputs=("", "seed", "")))
    (found,) = session.run(None, {"seed": np.array(3)})
    np.testing.assert_array_equal(found, expected)
    session = open_stock(read_model(BLOB, [60], inputs=("", "seed", "time")))
    (found,) = session.run(None, {"seed": np.array(3), "time": np.array(7, np.float32)})
    np.testing.assert_array_equal(found, cells.read(BLOB, read_seed=3, time_s=7))


def test_programming_stays_with_its_seed() -> None:
    # 400 reads of one write: their mean is what was programmed, another write's is not.
    tensor = random_tensor(
        np.random.default_rng(5), num_weights=200, symbols=[Symbol(0, 1)], labels=None,
        levels=np.full(200, 180), write_bits=8, device_record=RECORDS["nandakumar"], is_pair=False,
        compensates_drift=False, row_exponents=None, column_exponents=None, channel_scales=None,
        scale=1.0, inverts_response=False,
    )  # fmt: skip
    blob = cells.encode(tensor)
    session = open_stock(read_model(blob, [200]))
    reads = np.array([session.run(None, feeds(1, seed, 3600.0))[0] for seed in range(400)])
    deviation = reads.std(axis=0).mean()
    first, second = reads[:200].mean(axis=0), reads[200:].mean(axis=0)
    noise = deviation * np.sqrt(2 / 200)
    assert np.sqrt(np.mean((first - second) ** 2)) < 1.3 * noise
    other = np.array([session.run(None, feeds(2, seed, 3600.0))[0] for seed in range(50)]).mean(
        axis=0
    )
    assert np.sqrt(np.mean((first - other) ** 2)) > 5 * noise


@pytest.mark.parametrize(
    ("time_s", "got"), [(-1.0, "-1"), (np.nan, "nan"), (np.inf, "inf"), (2e12, "1999")]
)
def test_a_time_out_of_range_is_a_status(time_s: float, got: str) -> None:
    session = open_stock(read_model(BLOB, [60]))
    message = f"cannot run AnalogRead node read_w: input time_s must be from 0 .*, got {got}"
    with pytest.raises(Exception, match=message):
        session.run(None, feeds(1, 1, time_s))
    np.testing.assert_array_equal(
        session.run(None, feeds(1, 1, 5.0))[0],
        cells.read(BLOB, write_seed=1, read_seed=1, time_s=5),
    )


def test_a_seed_that_is_no_single_number_is_a_status() -> None:
    session = open_stock(read_model(BLOB, [60]))
    fed = feeds(1, 1, 5.0)
    expected = session.run(None, fed)[0]
    np.testing.assert_array_equal(
        session.run(None, fed | {"wl_read_seed": np.array([[1]])})[0], expected
    )
    with pytest.raises(Exception, match=r"input read_seed must be one number .*, got 2 of type 7"):
        session.run(None, fed | {"wl_read_seed": np.array([1, 2])})


def test_inputs_of_other_types_are_refused() -> None:
    session = open_stock(read_model(BLOB, [60]))
    with pytest.raises(Exception, match=r"(?i)unexpected input data type"):
        session.run(None, feeds(1, 1, 5.0) | {"wl_read_seed": np.array(1.0, np.float32)})
    proto = read_model(BLOB, [60])
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    with pytest.raises(Exception, match="Type"):
        open_stock(proto)


def test_a_blob_as_input() -> None:
    proto = read_model(BLOB, [60], inputs=("wl_write_seed", "wl_read_seed", "wl_time_s"))
    node = proto.graph.node[0]
    kept = [one for one in node.attribute if one.name != "blob"]
    del node.attribute[:]
    node.attribute.extend(kept)
    with pytest.raises(Exception, match=r"its blob must be .*, got neither"):
        open_stock(proto)
    node.input.append("b")
    info = helper.make_tensor_value_info("b", TensorProto.UINT8, [len(BLOB)])
    proto.graph.input.append(info)
    with pytest.raises(Exception, match="its input must be an initializer"):
        open_stock(proto)
    proto.graph.input.remove(info)
    tensor = helper.make_tensor("b", TensorProto.UINT8, [len(BLOB)], BLOB, raw=True)
    proto.graph.initializer.append(tensor)
    (found,) = open_stock(proto).run(None, feeds(1, 2, 3.0))
    np.testing.assert_array_equal(found, cells.read(BLOB, write_seed=1, read_seed=2, time_s=3.0))


@pytest.mark.parametrize("ir_version", [3, 8])
@pytest.mark.parametrize("blobs", ["attribute", "initializer"])
def test_every_mode_reads_alike(ir_version: int, blobs: str) -> None:
    proto = builders.mlp(ir_version=ir_version, opset=8 if ir_version == 3 else 17)
    model, found = stored_model(proto, palettes=("w2",), blobs=blobs)
    packed = graph.to_proto(model)
    stock = open_stock(packed)
    assert [one.name for one in stock.get_inputs()] == ["x"]
    expected = run_mlp(stock, read_seed=4, time_s=60.0)
    x = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)
    w1 = cells.read(found["w1"], write_seed=0, read_seed=4, time_s=60).reshape(8, 16)
    w2 = palette.decode(found["w2"]).reshape(4, 16)
    b1 = builders.arrays_of(builders.mlp())["b1"]
    dense = np.maximum(x @ w1 + b1, 0) @ w2.T
    np.testing.assert_allclose(expected, dense, rtol=1e-4, atol=1e-5)
    for mode in MODES:
        session = InferenceSession(packed, mode=mode)
        np.testing.assert_allclose(run_mlp(session, read_seed=4, time_s=60.0), expected, rtol=1e-5)
        assert (run_mlp(session) != run_mlp(session)).any()
    opened = open_model(model)
    np.testing.assert_allclose(run_mlp(opened, read_seed=4, time_s=60.0), expected, rtol=1e-5)


def test_a_model_with_external_data_is_read(tmp_path: Path) -> None:
    proto = builders.mlp()
    graph_ = proto.graph
    graph_.initializer[0].CopyFrom(builders.weight("w1", 8, 700))
    graph_.initializer[1].CopyFrom(builders.weight("b1", 700))
    graph_.initializer[2].CopyFrom(builders.weight("w2", 4, 700))
    del graph_.value_info[:]
    del graph_.quantization_annotation[:]
    model, _ = stored_model(proto, palettes=("w2",), blobs="initializer")
    graph.save_model(model, tmp_path / "m.onnx")
    results = [
        run_mlp(InferenceSession(tmp_path / "m.onnx", mode=mode), read_seed=4) for mode in MODES
    ]
    assert len(list(tmp_path.iterdir())) == 2
    np.testing.assert_allclose(results[1], results[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(results[2], results[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [builders.branches, builders.nested])
def test_weights_of_subgraphs_are_read(make) -> None:
    model, found = stored_model(make())
    packed = graph.to_proto(model)
    x = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)
    fed = {"x": x, "c": np.array(True), **feeds(7, 9, 30.0)}

    def weight(name: str) -> np.ndarray:
        (blob,) = (blob for key, blob in found.items() if key.split("/")[-1] == name)
        return cells.read(blob, write_seed=7, read_seed=9, time_s=30).reshape(8, 8)

    first = weight("w")
    second = weight("outer") if make is builders.branches else first
    for session in (open_stock(packed), *(InferenceSession(packed, mode=m) for m in MODES)):
        (result,) = session.run(None, fed)
        np.testing.assert_allclose(result, x @ first @ second, rtol=1e-4, atol=1e-4)


def test_restored_weights_are_the_targets() -> None:
    model, found = stored_model(builders.mlp())
    graph.restore_weights(model, WeightDecoder())
    arrays = builders.arrays_of(graph.to_proto(model))
    for key, blob in found.items():
        np.testing.assert_array_equal(arrays[key].reshape(-1), cells.decode(blob))


def test_a_hundred_runs_do_not_grow() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    blob = cells.encode(random_tensor(np.random.default_rng(2), num_weights=300_000))
    session = open_stock(read_model(blob, [300_000]), threads=2)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    for seed in range(10):
        session.run(None, feeds(seed % 3, -1, float(seed % 2)))
    before = resident()
    for seed in range(100):
        session.run(None, feeds(seed % 3, -1, float(seed % 2)))
    assert resident() - before < 2 << 20  # one leaked tensor of the 100 would be 1.2 MB
