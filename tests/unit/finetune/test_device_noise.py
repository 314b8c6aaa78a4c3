"""Reads from cells as a parametrisation: what is drawn when, and what gradients see of it."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from wl_onnx.analog import Storage, find_device
from wl_onnx.errors import InputError
from wl_onnx.planning.cell_writer import CellWriter

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch.nn.utils import parametrize  # noqa: E402  only where torch is

from wl_onnx.finetune.device_noise import NoisyRead  # noqa: E402

PCM = find_device("pcm-nandakumar2019")
WRITER = CellWriter(Storage(PCM))


def draw_weight(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_each_read_is_another() -> None:
    weight, read = draw_weight(20, 30), NoisyRead(WRITER)
    first, second = read(weight), read(weight)
    assert first.shape == weight.shape
    assert first.dtype == weight.dtype
    assert (first != second).float().mean() > 0.99


def test_evaluation_and_no_strength_give_the_weight() -> None:
    weight = draw_weight(20, 30)
    read = NoisyRead(WRITER).eval()
    assert torch.equal(read(weight), weight)
    read.train()
    read.strength = 0.0
    assert torch.equal(read(weight), weight)


def test_strength_scales_the_errors() -> None:
    weight = draw_weight(20, 30)
    whole, half = NoisyRead(WRITER), NoisyRead(WRITER, strength=0.5)
    inner = weight.abs() < 1.5  # what is cut is cut at any strength
    errors = (whole(weight) - weight)[inner]
    torch.testing.assert_close((half(weight) - weight)[inner], errors / 2, atol=1e-5, rtol=1e-4)


def test_seeds_fix_the_draws() -> None:
    weight = draw_weight(20, 30)
    same, other = NoisyRead(WRITER, seed=3), NoisyRead(WRITER, seed=4)
    first = [NoisyRead(WRITER, seed=3)(weight) for _ in range(2)]
    assert torch.equal(first[0], first[1])
    assert torch.equal(first[0], same(weight))
    assert not torch.equal(first[0], other(weight))


def test_nothing_is_drawn_from_the_global_generator() -> None:
    weight = draw_weight(20, 30)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    NoisyRead(WRITER)(weight)
    assert torch.equal(torch.get_rng_state(), before)


def test_copies_draw_on_by_themselves() -> None:
    weight, read = draw_weight(20, 30), NoisyRead(WRITER)
    read(weight)
    other = copy.deepcopy(read)
    assert torch.equal(read(weight), other(weight))


def test_straight_through_passes_the_gradient_on() -> None:
    weight = draw_weight(20, 30).requires_grad_()
    factors = draw_weight(20, 30, seed=1)
    (NoisyRead(WRITER)(weight) * factors).sum().backward()
    assert torch.equal(weight.grad, factors)


@pytest.mark.parametrize(
    "storage",
    [
        Storage(PCM),
        Storage(PCM, protect=frozenset()),
        Storage(PCM, protect=frozenset(), mapping="offset"),
        Storage(PCM, scale="channel", ranges=5, cells=3),
    ],
)
def test_exact_gradients_are_those_of_the_read(storage: Storage) -> None:
    values = draw_weight(6, 8).double()
    read = NoisyRead(CellWriter(storage), gradient="exact", refresh_every=1 << 30)
    read.refresh(values)

    def draw(weight: torch.Tensor) -> torch.Tensor:
        read._generator = torch.Generator().manual_seed(1)
        return read(weight)

    weight = values.clone().requires_grad_()
    draw(weight).sum().backward()
    step = 1e-7
    slopes = (draw(values + step) - draw(values - step)) / (2 * step)
    # But for a weight beside a knot of the table or an edge of a range.
    close = torch.isclose(weight.grad, slopes, rtol=1e-4, atol=1e-4)
    assert close.float().mean() > 0.95
    assert (weight.grad - 1).abs().max() > 0.01


def test_a_device_without_noise_has_finite_gradients() -> None:
    weight = draw_weight(6, 8).requires_grad_()
    read = NoisyRead(CellWriter(Storage(find_device("gaussian:0"))), gradient="exact")
    out = read(weight)
    assert (out - weight).abs().max() < 0.1 * weight.abs().max()  # the range may be cut
    out.sum().backward()
    assert torch.isfinite(weight.grad).all()


def test_the_layout_follows_the_weight_at_intervals() -> None:
    weight, read = draw_weight(20, 30), NoisyRead(WRITER, refresh_every=3)
    tops = [float(read(weight * 10**power).abs().max()) for power in range(6)]
    top = float(weight.abs().max())
    np.testing.assert_array_less(tops[:3], 2 * top)  # cut at the range of the first
    assert all(one > 500 * top for one in tops[3:])
    assert all(one < 2000 * top for one in tops[3:])
    read.refresh(weight)
    assert float(read(weight).abs().max()) < 2 * top


def test_zeros_are_exact_where_they_are_protected() -> None:
    weight = draw_weight(20, 30)
    weight[::2] = 0
    assert torch.equal(NoisyRead(WRITER)(weight)[::2], weight[::2])
    unprotected = CellWriter(Storage(PCM, protect=frozenset(("sign",))))
    assert (NoisyRead(unprotected)(weight)[::2] != 0).all()
    assert torch.equal(NoisyRead(WRITER)(torch.zeros(3, 4)), torch.zeros(3, 4))


def test_more_cells_err_less_where_errors_cost_more() -> None:
    storage = Storage(PCM, cells=2, protect=frozenset(("sign", "sensitivity")))
    costs = np.ones((20, 300))
    costs[:10] = 100
    weight = draw_weight(1, 300).expand(20, 300)
    read = NoisyRead(CellWriter(storage), costs=costs)
    errors = torch.stack([read(weight) - weight for _ in range(20)]).std(dim=(0, 2))
    assert errors[:10].max() < 0.6 * errors[10:].min()


def test_it_is_a_parametrisation() -> None:
    module = torch.nn.Linear(30, 20)
    plain = module.weight.detach().clone()
    parametrize.register_parametrization(module, "weight", NoisyRead(WRITER))
    assert not torch.equal(module.weight, plain)
    with parametrize.cached():
        assert torch.equal(module.weight, module.weight)
    module.eval()
    assert torch.equal(module.weight, plain)
    assert module.state_dict().keys() == {"bias", "parametrizations.weight.original"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refresh_every": 0}, "refresh_every must be at least 1, got 0"),
        ({"strength": -0.5}, "strength must be finite and not negative, got -0.5"),
        ({"strength": float("nan")}, "strength must be finite and not negative, got nan"),
        ({"seed": -1}, r"seed must be in 0..2\*\*63 - 1, got -1"),
        ({"gradient": "none"}, "gradient must be straight-through or exact, got none"),
    ],
)
def test_refusals(options: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match=f"^cannot read with noise: {message}$"):
        NoisyRead(WRITER, **options)


def test_a_cost_for_each_weight() -> None:
    read = NoisyRead(WRITER, costs=np.ones((3, 4)))
    expected = (
        r"^cannot read with noise: costs must be of the weight's shape \[2, 5\], got \[3, 4\]$"
    )
    with pytest.raises(InputError, match=expected):
        read(draw_weight(2, 5))
