from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.blobs import BlobFields, random_keys, random_tables, several_blocks, several_levels
from tests.portables import (
    TYPES,
    build_model,
    check_bits,
    random_filter,
    run_reference,
    run_stock,
)
from wl_onnx.codecs import bloomier
from wl_onnx.errors import InputError
from wl_onnx.kernels import reference
from wl_onnx.portable import measure_blob
from wl_onnx.portable.codebooks import numpy_type
from wl_onnx.portable.form import make_form, restore_blob

LAYOUTS = {"xor": 2, "ribbon": 1}
HASHES = {"tabulation": 1, "murmur3": 2}
FLOAT = TensorProto.FLOAT


def check(
    blob: bytes,
    shape: tuple[int, ...] | None = None,
    data_type: int = FLOAT,
    *,
    evaluator: bool = False,
) -> None:
    """The blob comes back, and the weights do, in every way of decoding them."""
    count = bloomier.inspect(blob).num_weights
    shape = (count,) if shape is None else shape
    form = make_form("bloomier", blob, shape=shape, data_type=data_type)
    assert restore_blob("bloomier", form.tensors, form.fields, shape=shape) == blob
    wanted = reference.decode(blob, numpy_type(data_type)).reshape(shape)
    model = build_model(form, shape, data_type, function=True)
    check_bits(run_stock(model), wanted)
    if evaluator:
        check_bits(run_reference(model), wanted)


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_number_of_bits(layout: str, bits: int) -> None:
    rng = np.random.default_rng(bits)
    for num_groups, codebook_type in ((1, "f2"), (5, "f4")):
        blob = random_filter(
            rng,
            layout=LAYOUTS[layout],
            hash_=1,
            bits=bits,
            num_groups=num_groups,
            codebook_type=codebook_type,
        )
        check(blob, evaluator=True)


@pytest.mark.parametrize("bits", [2, 8, 11])
@pytest.mark.parametrize("hash_", HASHES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_blocks_with_tables_and_without(layout: str, hash_: str, bits: int) -> None:
    rng = np.random.default_rng(0)
    for dead in (0.0, 0.5, 1.0):
        blob = random_filter(
            rng, layout=LAYOUTS[layout], hash_=HASHES[hash_], bits=bits, num_groups=9, dead=dead
        )
        check(blob, evaluator=True)
    check(several_blocks(LAYOUTS[layout], HASHES[hash_]), evaluator=True)


@pytest.mark.parametrize("hash_", HASHES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_a_code_for_zero(layout: str, hash_: str) -> None:
    rng = np.random.default_rng(4)
    units = [20, 0, 30]
    blob = BlobFields(
        num_weights=5000,
        layout=LAYOUTS[layout],
        hash=HASHES[hash_],
        bits=3,
        codebook=np.arange(1, 9, dtype=np.float32),
        seed=1,
        num_keys=4,
        blocks=[(1, units[0], 2), (2, units[1], 0), (2, units[2], 0)],
        tables=random_tables(rng, LAYOUTS[layout], 3, units),
    ).to_bytes()
    check(blob, evaluator=True)


@pytest.mark.parametrize("density", [0.02, 0.1, 0.9])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_encoded_keys(layout: str, density: float) -> None:
    indices, values = random_keys(np.random.default_rng(3), 90_000, density, 12)
    blob = bloomier.encode(
        indices, values, num_weights=90_000, codebook=np.linspace(-1, 2, 12), bits=7, layout=layout
    )
    check(blob, (300, 300))


@pytest.mark.parametrize(
    "shape", [(), (1,), (7,), (2, 3, 1), (1024,), (1025,), (33, 31), (2, 1, 1024)]
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_shapes(layout: str, shape: tuple[int, ...]) -> None:
    count = int(np.prod(shape))
    blob = bloomier.encode(
        range(0, count, 2),
        [0] * len(range(0, count, 2)),
        num_weights=count,
        codebook=[-0.5],
        bits=4,
        layout=layout,
    )
    check(blob, shape, evaluator=True)


@pytest.mark.parametrize("data_type", TYPES)
@pytest.mark.parametrize("codebook_type", ["float16", "float32"])
def test_element_types(data_type: int, codebook_type: str) -> None:
    indices, values = random_keys(np.random.default_rng(5), 4000, 0.2, 4)
    codebook = [1 / 3, -0.1, 65504.0, 1e-7]
    if codebook_type == "float32":
        codebook[2] = 1e30  # infinite as float16
    blob = bloomier.encode(
        indices,
        values,
        num_weights=4000,
        codebook=codebook,
        bits=6,
        layout="xor",
        codebook_type=codebook_type,
    )
    check(blob, (40, 100), data_type, evaluator=True)


@pytest.mark.parametrize("function", [False, True])
@pytest.mark.parametrize("hash_", HASHES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_is_left_to_decode(tmp_path: Path, layout: str, hash_: str, function: bool) -> None:
    blob = several_blocks(LAYOUTS[layout], HASHES[hash_])
    shape = (bloomier.inspect(blob).num_weights,)
    form = make_form("bloomier", blob, shape=shape, data_type=FLOAT)
    model = build_model(form, shape, FLOAT, function=function)
    wanted = reference.decode(blob)
    check_bits(run_stock(model, saved=tmp_path / "folded.onnx"), wanted)
    assert [node.op_type for node in onnx.load(tmp_path / "folded.onnx").graph.node] == []
    check_bits(run_stock(model, optimized=False), wanted)


def test_the_form_is_as_large_as_the_blob() -> None:
    for count in (3000, 900_000):
        indices, values = random_keys(np.random.default_rng(6), count, 0.1, 16)
        blob = bloomier.encode(
            indices, values, num_weights=count, codebook=np.arange(16), bits=9, layout="xor"
        )
        form = make_form("bloomier", blob, shape=(count,), data_type=FLOAT)
        assert form.size_bytes <= 1.01 * len(blob) + 32


def test_what_folding_holds_is_counted() -> None:
    blob = several_blocks(2, 1)
    count = bloomier.inspect(blob).num_weights
    form = make_form("bloomier", blob, shape=(count,), data_type=FLOAT)
    model = build_model(form, (count,), FLOAT, function=False)
    evaluator = onnx.reference.ReferenceEvaluator(model)
    names = [name for node in model.graph.node[:-1] for name in node.output]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    evaluator = onnx.reference.ReferenceEvaluator(model)
    values = evaluator.run(None, {})[1:]
    assert form.folding_bytes == sum(np.asarray(value).nbytes for value in values)


@pytest.mark.parametrize("attempts", [(1, 1), (1, 2)])
@pytest.mark.parametrize("hash_", HASHES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_node_has_a_use(layout: str, hash_: str, attempts: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    blob = BlobFields(
        num_weights=3000,
        layout=LAYOUTS[layout],
        hash=HASHES[hash_],
        bits=5,
        codebook=np.arange(3, dtype="f2"),
        seed=1,
        num_keys=4,
        blocks=[(1, 20, attempts[0]), (2, 30, attempts[1])],
        tables=random_tables(rng, LAYOUTS[layout], 5, [20, 30]),
    ).to_bytes()
    form = make_form("bloomier", blob, shape=(3000,), data_type=FLOAT)
    nodes = build_model(form, (3000,), FLOAT, function=False).graph.node
    used = {name for node in nodes for name in node.input}
    assert [node.op_type for node in nodes if not used.intersection(node.output)] == ["Cast"]


def test_what_has_no_portable_form_is_refused() -> None:
    with pytest.raises(InputError, match=r"its layout must be xor or ribbon, got prefix"):
        make_form("bloomier", several_levels(), shape=(4 * 1024 - 77,), data_type=FLOAT)
    with pytest.raises(InputError, match=r"^cannot make fc portable: its layout must be xor"):
        measure_blob(
            "bloomier", several_levels(), name="fc", shape=(4 * 1024 - 77,), data_type=FLOAT
        )
    with pytest.raises(InputError, match=r"its codec must be bloomier or palette, got analog"):
        make_form("analog", b"", shape=(1,), data_type=FLOAT)
    blob = several_blocks(2, 1)
    with pytest.raises(InputError, match=r"its shape must have 6868 weights, got \[5\]"):
        make_form("bloomier", blob, shape=(5,), data_type=FLOAT)
    with pytest.raises(InputError, match=r"float64 or bfloat16, got number 6"):
        make_form("bloomier", blob, shape=(6868,), data_type=TensorProto.INT32)
