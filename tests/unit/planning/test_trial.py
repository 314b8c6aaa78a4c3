from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wl_onnx.evaluation import Score
from wl_onnx.planning.assembly import Assembly
from wl_onnx.planning.sequence import CodedLayers
from wl_onnx.planning.trial import Setting, Trial, form_blocks


@given(st.lists(st.integers(1, 10**9), max_size=60))
def test_blocks_are_runs_of_neighbours_and_none_is_empty(num_weights: list[int]) -> None:
    blocks = form_blocks(num_weights)
    assert len(blocks) == len(num_weights)
    assert all(b - a in (0, 1) for a, b in itertools.pairwise(blocks))
    assert set(blocks) == set(range(len(set(blocks))))
    assert len(set(blocks)) <= 6
    if len(num_weights) >= 3:
        assert blocks.count(0) == 1
        assert blocks.count(blocks[-1]) == 1


@given(st.integers(7, 60))
def test_blocks_of_equal_layers_are_of_about_equal_size(count: int) -> None:
    blocks = form_blocks([1000] * count)
    sizes = [blocks.count(block) for block in range(1, blocks[-1])]
    assert max(sizes) - min(sizes) <= 1


def test_numbers_that_can_be_varied() -> None:
    assert Setting(1e-8).num_numbers == 2
    assert Setting(1e-8, factors=(1.0, 1.0, 1.0)).num_numbers == 5


@pytest.mark.parametrize("factor", [1.5, 0.4])
def test_one_number_is_varied_and_lambda_follows(factor: float) -> None:
    setting = Setting(lam=1e-4, step_ratio=0.2, damping=0.1, factors=(1.0, 2.0))
    shares = (0.25, 0.75)
    varied = [setting.vary(index, factor, shares) for index in range(setting.num_numbers)]
    assert [one.step_ratio for one in varied] == [0.2 * factor, 0.2, 0.2, 0.2]
    assert [one.damping for one in varied] == [0.1, 0.1 * factor, 0.1, 0.1]
    assert [one.factors for one in varied[2:]] == [(factor, 2.0), (1.0, 2 * factor)]
    assert all(one.factors == setting.factors for one in varied[:2])
    # The more bits the loss of a block buys, the more lambda must rise for the size to stay.
    assert varied[2].lam == pytest.approx(1e-4 * factor**0.25)
    assert varied[3].lam == pytest.approx(1e-4 * factor**0.75)
    for one in varied:
        assert (one.lam > setting.lam) == (factor > 1)


@pytest.mark.parametrize("index", range(4))
def test_a_number_is_varied_and_back(index: int) -> None:
    setting = Setting(1e-8, factors=(1.0, 3.0))
    back = setting.vary(index, 1.7, (0.4, 0.6)).vary(index, 1 / 1.7, (0.4, 0.6))
    for field in dataclasses.fields(Setting):
        assert getattr(back, field.name) == pytest.approx(getattr(setting, field.name))


def test_what_a_trial_is_judged_by() -> None:
    score = Score(drop=None, kl=None, snr_db=None, divergence=0.5, meets=False, excess=0.25)
    trial = Trial(
        Setting(1e-8), CodedLayers({}, {}, {}), Assembly({}, (), {}, (), {}, {}), 300, score, (1.0,)
    )
    assert (trial.meets, trial.excess, trial.cost) == (False, 0.25, 300)
    for target, meets, excess in ((400, True, -0.25), (300, True, 0.0), (200, False, 0.5)):
        sized = dataclasses.replace(trial, target_bytes=target)
        assert (sized.meets, sized.excess, sized.cost) == (meets, excess, 0.5)
