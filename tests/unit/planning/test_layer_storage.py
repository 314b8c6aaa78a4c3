"""One layer for cells: the cheapest of what was tried, analog or digital."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.unit.planning.problems import damage_of, make_conv, make_linear, pose
from wl_onnx import Recipe
from wl_onnx.analog import Storage, find_device
from wl_onnx.codecs import cells
from wl_onnx.planning.cell_writer import CellWriter
from wl_onnx.planning.layer_cells import code_cells
from wl_onnx.planning.layer_coding import code_quantized, quantize_problem
from wl_onnx.planning.layer_problem import CodedLayer, LayerProblem, LayerSettings
from wl_onnx.planning.layer_storage import StorageCoder

WRITER = CellWriter(Storage(find_device("pcm-nandakumar2019")))
QUIET = CellWriter(Storage(find_device("gaussian:0.002")))


def problems() -> dict[str, LayerProblem]:
    rng = np.random.default_rng(3)
    return {
        "matmul": pose(make_linear(rng.laplace(size=(40, 30))), rng),
        "gemm": pose(make_linear(rng.laplace(size=(20, 40)), is_transposed=True), rng),
        "conv": pose(make_conv(rng.laplace(size=(12, 4, 3, 3)), 1), rng),
        "grouped": pose(make_conv(rng.laplace(size=(12, 2, 3, 3)), 3), rng),
    }


PROBLEMS = problems()


def code(problem: LayerProblem, lam: float, writer: CellWriter = WRITER) -> CodedLayer:
    settings = LayerSettings(lam=lam)
    quantized = quantize_problem(problem, settings)
    return code_cells(problem, settings, quantized, writer, number=5)


def read_damage(problem: LayerProblem, coded: CodedLayer, num_reads: int = 60) -> float:
    """The mean loss of reads, through the core."""
    losses = []
    for seed in range(num_reads):
        read = cells.read(coded.blob, write_seed=seed, read_seed=seed).astype(np.float64)
        values = problem.view.to_matrices(read.reshape(problem.layer.site.shape))
        losses.append(damage_of(problem, values))
    return float(np.mean(losses))


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("lam", [1e-4, 1e-2, 1.0])
def test_what_is_told_of_cells(name: str, lam: float) -> None:
    problem = PROBLEMS[name]
    coded = code(problem, lam)
    assert (coded.codec, coded.family, coded.tensor) == ("analog", "analog", None)
    info = cells.inspect(coded.blob)
    assert info.tensor == 5
    assert coded.size_bits == round(1.8 * info.num_cells + info.digital_bits)
    stored = cells.decode(coded.blob).astype(np.float64).reshape(problem.layer.site.shape)
    np.testing.assert_allclose(coded.values, problem.view.to_matrices(stored), rtol=1e-6)
    # Reference reads of a few hundred cells are off by a percent or two, the same in all weights.
    assert coded.damage == pytest.approx(read_damage(problem, coded), rel=0.2)


@pytest.mark.parametrize("name", ["matmul", "conv"])
def test_cells_are_fewer_and_damage_is_more_as_they_cost_more(name: str) -> None:
    coded = [code(PROBLEMS[name], lam) for lam in (1e-6, 1e-4, 1e-2, 1.0)]
    bits, damages = [one.size_bits for one in coded], [one.damage for one in coded]
    assert bits == sorted(bits, reverse=True)
    assert damages == sorted(damages)
    assert bits[0] > 3 * bits[-1]
    costs = [one.cost(1e-4) for one in coded]
    assert min(costs) >= 0.95 * costs[1]


@pytest.mark.parametrize("analog_only", [False, True])
@pytest.mark.parametrize("writer", [WRITER, QUIET], ids=["pcm", "quiet"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_cheapest_of_what_was_tried_is_taken(
    name: str, writer: CellWriter, analog_only: bool
) -> None:
    problem = PROBLEMS[name]
    key = problem.layer.site.key
    for lam in (1e-5, 1e-2):
        settings = LayerSettings(lam=lam)
        coder = StorageCoder(writer, {key: 5}, analog_only)
        chosen = coder(problem, settings, Recipe(), threads=1)
        quantized = quantize_problem(problem, settings)
        coded = {"analog": code_cells(problem, settings, quantized, writer, number=5)}
        if not analog_only:
            coded["palette"] = code_quantized(problem, quantized, settings, Recipe())
        least = min(one.damage + lam * one.size_bits for one in coded.values())
        assert chosen.cost(lam) == pytest.approx(least, rel=1e-12)
        assert chosen.codec in ({"analog"} if analog_only else {"analog", "bundle", "palette"})
        expected = {name: (one.size_bits, one.damage) for name, one in coded.items()}
        assert chosen.tried == expected


def test_either_may_be_cheaper() -> None:
    problem = PROBLEMS["matmul"]
    key = problem.layer.site.key
    codecs = {
        writer.storage.device.name: StorageCoder(writer, {key: 0})(
            problem, LayerSettings(lam=1e-5), Recipe(), threads=1
        ).family
        for writer in (WRITER, QUIET)
    }
    assert codecs == {"pcm-nandakumar2019": "palette", "gaussian:0.002": "analog"}


def test_corners() -> None:
    rng = np.random.default_rng(1)
    nothing = pose(make_linear(np.zeros((8, 6))), rng)
    coded = code(nothing, 1e-2)
    assert not coded.values.any()
    assert coded.damage == 0
    assert cells.inspect(coded.blob).num_cells == 0
    dear = pose(make_linear(rng.laplace(size=(8, 6))), rng)
    assert not code(dear, 1e6).values.any()
    silent = dataclasses.replace(dear, covariance=0 * dear.covariance, energies=0 * dear.energies)
    assert np.isfinite(code(silent, 1e-2).damage)
    single = pose(make_linear(np.array([[0.7]])), rng)
    assert code(single, 1e-9).values.item() == pytest.approx(0.7, rel=0.01)
