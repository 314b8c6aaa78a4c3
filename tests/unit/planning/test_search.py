"""The search, with trials whose size and loss are functions of the setting."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from wl_onnx.evaluation import Score
from wl_onnx.planning.assembly import Assembly
from wl_onnx.planning.search import SearchResult, search
from wl_onnx.planning.sequence import CodedLayers
from wl_onnx.planning.trial import Setting, Trial

EMPTY = CodedLayers({}, {}, {}), Assembly({}, (), {}, (), {}, {})
WEIGHTS = (0.2, 0.5, 0.3)


@dataclasses.dataclass
class Bench:
    """A model whose loss grows with lambda and whose size falls, with noise on both.

    Attributes:
        limit: most loss; or with a target most size.
        target_bytes: see `Trial`.
        noise: deviation of the noise, on a log scale.
        depths: how much each of the other numbers counts.
        best: what each of them is best at.
        stop: raises KeyboardInterrupt in the trial of this number.
    """

    limit: float = 1.0
    target_bytes: int | None = None
    noise: float = 0.0
    depths: tuple[float, ...] = (0.1, 0.05, 0.25, 0.25, 0.25)
    best: tuple[float, ...] = (0.2, 0.03, 1.5, 0.8, 1.0)
    stop: int | None = None
    trials: list[Trial] = dataclasses.field(default_factory=list)

    def judge(self, setting: Setting) -> tuple[float, float]:
        """Size and loss without noise."""
        numbers = (setting.step_ratio, setting.damping, *setting.factors)
        bad = sum(
            weight * math.log(number / best) ** 2
            for weight, number, best in zip(self.depths, numbers, self.best, strict=True)
        )
        scale = math.prod(f**w for f, w in zip(setting.factors, WEIGHTS, strict=True))
        lam = setting.lam / scale
        return 1e6 * (lam / 1e-8) ** -0.25 * math.exp(bad), (lam / 1e-5) ** 0.9 * math.exp(bad)

    def __call__(self, setting: Setting) -> Trial:
        if self.stop == len(self.trials):
            raise KeyboardInterrupt
        rng = np.random.default_rng(len(self.trials))
        size, loss = self.judge(setting)
        size *= math.exp(self.noise * rng.standard_normal())
        loss *= math.exp(10 * self.noise * rng.standard_normal())
        excess = loss / self.limit - 1
        score = Score(None, loss, None, loss, excess <= 0, excess)
        trial = Trial(setting, *EMPTY, round(size), score, WEIGHTS, self.target_bytes)
        self.trials.append(trial)
        return trial

    def run(self, max_trials: int = 32, lam: float = 1e-8) -> SearchResult:
        setting = Setting(lam, factors=(1.0, 1.0, 1.0))
        result = search(
            self, setting, max_trials=max_trials, grows_with_lam=self.target_bytes is None
        )
        assert result.num_trials == len(self.trials) <= max_trials
        meeting = [trial for trial in self.trials if trial.meets]
        if result.best is None:
            assert not meeting
        else:
            assert result.best.meets
            assert result.best.cost == min(trial.cost for trial in meeting)
        return result


def least_size(bench: Bench) -> float:
    """The size within the limit where all numbers are at their best, lambda by bisection."""
    _, damping, *factors = bench.best
    low, high = 1e-16, 1.0
    for _ in range(100):
        setting = Setting(math.sqrt(low * high), bench.best[0], damping, tuple(factors))
        size, loss = bench.judge(setting)
        low, high = (low, setting.lam) if loss > bench.limit else (setting.lam, high)
    return size


@pytest.mark.parametrize("limit", [1e-3, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("noise", [0.0, 0.002])
def test_the_smallest_within_a_limit_on_the_loss(limit: float, noise: float) -> None:
    bench = Bench(limit=limit, noise=noise)
    result = bench.run()
    assert result.best is not None
    assert not result.is_interrupted
    assert result.best.size_bytes < 1.06 * least_size(bench)
    # Settings as they were, with the best lambda, are a good deal larger.
    plain = dataclasses.replace(bench, best=bench.best, trials=[])
    low = min(
        plain.judge(setting)[0]
        for lam in np.geomspace(1e-12, 1, 2000)
        if plain.judge(setting := Setting(lam, factors=(1.0, 1.0, 1.0)))[1] <= limit
    )
    assert result.best.size_bytes < 0.97 * low


@pytest.mark.parametrize("target", [100_000, 400_000, 3_000_000])
def test_the_least_loss_in_a_size(target: int) -> None:
    bench = Bench(target_bytes=target)
    result = bench.run()
    assert result.best is not None
    assert 0.95 * target < result.best.size_bytes <= target
    first = bench(Setting(1e-8, factors=(1.0, 1.0, 1.0)))
    # The loss of the first setting at that size.
    loss = first.divergence * (first.size_bytes / target) ** (0.9 / 0.25)
    assert result.best.divergence < loss


@pytest.mark.parametrize("lam", [1e-10, 1e-2])
def test_a_first_guess_far_away_does_no_harm(lam: float) -> None:
    bench = Bench()
    best = bench.run(lam=lam).best
    assert best is not None
    assert best.size_bytes < 1.06 * least_size(bench)


@pytest.mark.parametrize("max_trials", range(1, 33))
def test_no_more_trials_than_allowed(max_trials: int) -> None:
    bench = Bench(noise=0.002)
    bench.run(max_trials)
    assert len(bench.trials) <= max_trials


def test_more_trials_do_no_harm() -> None:
    sizes = []
    for max_trials in (4, 8, 16, 32, 64):
        best = Bench().run(max_trials).best
        assert best is not None
        sizes.append(best.size_bytes)
    assert all(b <= 1.01 * a for a, b in itertools.pairwise(sizes))
    assert sizes[-1] < sizes[0]


@pytest.mark.parametrize("target", [None, 1])
def test_nothing_meets(target: int | None) -> None:
    bench = Bench(limit=1e-30, target_bytes=target)
    result = bench.run()
    assert result.best is None
    assert not result.is_interrupted
    lams = [trial.setting.lam for trial in bench.trials]
    assert lams == sorted(lams, reverse=target is None)


@pytest.mark.parametrize("target", [None, 10**12])
def test_everything_meets(target: int | None) -> None:
    result = Bench(limit=1e30, target_bytes=target).run()
    assert result.best is not None


def test_losses_that_are_not_finite() -> None:
    """As of outputs that are NaN where lambda is large."""
    bench = Bench()

    def attempt(setting: Setting) -> Trial:
        trial = bench(setting)
        if trial.score.meets:
            return trial
        score = dataclasses.replace(trial.score, divergence=math.inf, excess=math.inf)
        bench.trials[-1] = dataclasses.replace(trial, score=score)
        return bench.trials[-1]

    result = search(attempt, Setting(1e-8, factors=(1.0, 1.0, 1.0)), max_trials=32)
    assert result.best is not None
    assert result.best.meets
    assert result.best.size_bytes < 1.15 * least_size(bench)


def test_losses_that_are_zero() -> None:
    """As of a model whose outputs do not depend on its weights."""
    bench = Bench()

    def attempt(setting: Setting) -> Trial:
        trial = bench(setting)
        score = dataclasses.replace(trial.score, divergence=0.0, excess=-math.inf, meets=True)
        return dataclasses.replace(trial, score=score)

    assert search(attempt, Setting(1e-8, factors=(1.0, 1.0, 1.0)), max_trials=20).best is not None


@pytest.mark.parametrize("stop", [1, 5, 12])
def test_ctrl_c_keeps_the_best_so_far(stop: int) -> None:
    bench = Bench(stop=stop)
    result = bench.run()
    assert result.is_interrupted
    assert result.num_trials == stop
    assert result.best is not None


@pytest.mark.parametrize(("stop", "limit"), [(0, 1.0), (3, 1e-30)])
def test_ctrl_c_before_the_first_good_trial_ends_everything(stop: int, limit: float) -> None:
    with pytest.raises(KeyboardInterrupt):
        Bench(stop=stop, limit=limit).run()


def test_the_same_trials_twice() -> None:
    one, two = Bench(noise=0.01), Bench(noise=0.01)
    one.run()
    two.run()
    assert [t.setting for t in one.trials] == [t.setting for t in two.trials]
