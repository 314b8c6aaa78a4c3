"""The search for a rate weight, on models of how size and accuracy follow it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wl_onnx.finetune.rate_search import RateSearch, RateTarget, RateTrial


def search(
    target: RateTarget,
    size: Callable[[float], float],
    drop: Callable[[float], float | None],
    *,
    first: float = 1.0,
    max_rounds: int = 8,
) -> RateSearch:
    found = RateSearch(first, target, max_rounds, [])
    while (rate_weight := found.choose()) is not None:
        found.trials.append(RateTrial(rate_weight, int(size(rate_weight)), drop(rate_weight)))
    return found


def shrink(rate_weight: float) -> float:
    return 10_000 * rate_weight**-0.7


def lose(rate_weight: float) -> float:
    return 0.4 * rate_weight


def test_without_a_target_there_is_one_round() -> None:
    found = search(RateTarget(), shrink, lambda _: None)
    assert [trial.rate_weight for trial in found.trials] == [1.0]
    assert found.best == found.trials[0]


@pytest.mark.parametrize("size", [20_000, 6000, 2000])
def test_a_size_is_met_and_not_far_undercut(size: int) -> None:
    found = search(RateTarget(size_bytes=size), shrink, lose)
    assert found.best is not None
    assert found.best.size_bytes <= size
    assert found.best.size_bytes > 0.7 * min(size, 10_000)


@pytest.mark.parametrize(("max_drop", "least"), [(0.5, 0.3), (2.0, 1.2), (0.1, 0.04)])
def test_a_drop_is_kept_and_used(max_drop: float, least: float) -> None:
    found = search(RateTarget(max_drop=max_drop), shrink, lose)
    assert found.best is not None
    assert least <= found.best.drop <= max_drop  # type: ignore[operator]
    sizes = [trial.size_bytes for trial in found.trials if found.keeps(trial)]
    assert found.best.size_bytes == min(sizes)


def test_rounds_have_an_end_and_the_closest_is_told() -> None:
    found = search(RateTarget(size_bytes=1), lambda _: 500, lose, max_rounds=4)
    assert len(found.trials) == 4
    assert found.best is None
    assert found.closest.size_bytes == 500
    found = search(RateTarget(max_drop=0.0), shrink, lose, max_rounds=3)
    assert found.best is None
    assert found.closest.drop == min(trial.drop for trial in found.trials)  # type: ignore[type-var]


def test_a_search_goes_on_from_its_trials() -> None:
    whole = search(RateTarget(max_drop=2.0), shrink, lose)
    for count in range(len(whole.trials)):
        rest = RateSearch(1.0, RateTarget(max_drop=2.0), 8, list(whole.trials[:count]))
        assert rest.choose() == whole.trials[count].rate_weight
