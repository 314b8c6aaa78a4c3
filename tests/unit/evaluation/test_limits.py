from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wl_onnx.errors import InputError
from wl_onnx.evaluation import Feeds, Limits, Score, Validator, load_feeds
from wl_onnx.graph import load_model
from wl_onnx.runtime.opening import open_model

MakeModel = Callable[..., onnx.ModelProto]


def make_validator(model: onnx.ModelProto, data: Any, limits: Limits) -> Validator:
    loaded = load_model(model)
    return Validator(loaded, load_feeds(data, open_model(loaded).get_inputs()), limits)


def one_node(op_type: str, *, size: int = 4, **attributes: Any) -> onnx.ModelProto:
    """`y`, of whatever type, = op(x)."""
    kinds = {"ArgMax": TensorProto.INT64}
    graph = helper.make_graph(
        [helper.make_node(op_type, ["x"], ["y"], **attributes)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", size])],
        [helper.make_tensor_value_info("y", kinds.get(op_type, TensorProto.FLOAT), None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(7).standard_normal((301, 64), dtype=np.float32)


@pytest.fixture
def noisy(weight: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(9).standard_normal(weight.shape, dtype=np.float32)
    return weight + np.float32(0.3) * noise


@pytest.fixture
def labels(rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Those of the model itself, but for every fourth."""
    labels = (rows @ weight).argmax(axis=1)
    labels[::4] = 3
    return labels


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_drop": -0.1}, "max_drop must be a finite number of at least 0, got -0.1"),
        ({"max_drop": math.nan}, "max_drop must be a finite number of at least 0, got nan"),
        ({"max_drop": "1"}, "max_drop must be a finite number of at least 0, got '1'"),
        ({"max_drop": True}, "got True"),
        ({"max_kl": 0}, "max_kl must be a finite number above 0, got 0"),
        ({"max_kl": math.inf}, "max_kl must be a finite number above 0, got inf"),
        ({"min_snr": -math.inf}, "min_snr must be a finite number of dB, got -inf"),
        ({"validation_fn": len}, "validation_fn must come with max_drop, got none"),
        ({"validation_fn": 3, "max_drop": 1}, "must be a function of a session, got int"),
    ],
)
def test_limits_out_of_range_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Limits(**given)


def test_limits_at_their_ends_are_taken() -> None:
    Limits(max_drop=0, max_kl=1e-9, min_snr=-3, validation_fn=lambda _session: 0.0)
    Limits()


def test_the_original_meets_every_limit(
    make_model: MakeModel, weight: np.ndarray, rows: np.ndarray, labels: np.ndarray
) -> None:
    limits = Limits(max_drop=0, max_kl=1e-6, min_snr=90)
    model = make_model(weight)
    validator = make_validator(model, {"x": rows, "labels": labels}, limits)
    assert validator.baseline == 100 * np.mean((rows @ weight).argmax(axis=1) == labels)
    assert validator.num_classes == 10
    for same in (model, load_model(model)):
        assert validator.measure(same) == Score(0.0, 0.0, math.inf, 0.0, meets=True, excess=0.0)


def test_losses_are_numpys(
    make_model: MakeModel,
    weight: np.ndarray,
    noisy: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
) -> None:
    data = {"x": rows, "labels": labels}
    score = make_validator(make_model(weight), data, Limits()).measure(make_model(noisy))

    before, after = (rows.astype(np.float64) @ w for w in (weight, noisy))
    drop = 100 * (np.mean(before.argmax(1) == labels) - np.mean(after.argmax(1) == labels))
    assert drop > 1
    assert score.drop == pytest.approx(drop)
    snr_db = 10 * math.log10((before**2).sum() / ((after - before) ** 2).sum())
    assert score.snr_db == pytest.approx(snr_db, rel=1e-5)

    def divergence(t: float) -> float:
        p, q = (np.exp(one / t) / np.exp(one / t).sum(1, keepdims=True) for one in (before, after))
        return float((p * np.log(p / q)).sum(1).mean())

    t = (before - before.mean(1, keepdims=True)).std() / 3
    assert t > 1.2
    assert score.kl == pytest.approx(divergence(1), rel=1e-4)
    assert score.divergence == pytest.approx(t * t * divergence(t), rel=1e-4)
    assert score.meets
    assert score.excess == -math.inf


def test_the_excess_is_that_of_the_worst_limit(
    make_model: MakeModel,
    weight: np.ndarray,
    noisy: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
) -> None:
    data = {"x": rows, "labels": labels}
    model, other = make_model(weight), make_model(noisy)

    def measure(**limits: float) -> Score:
        return make_validator(model, data, Limits(**limits)).measure(other)

    free = measure()
    assert free.drop is not None
    assert free.kl is not None
    assert free.snr_db is not None
    assert measure(max_drop=0).excess == pytest.approx(free.drop)
    assert measure(max_drop=2 * free.drop).excess == pytest.approx(-0.5)
    assert measure(max_drop=free.drop / 2).excess == pytest.approx(1)
    assert measure(max_kl=free.kl / 4).excess == pytest.approx(3)
    assert measure(min_snr=40).excess == pytest.approx((40 - free.snr_db) / 40)
    assert measure(min_snr=0.5).excess == pytest.approx(0.5 - free.snr_db)
    both = measure(max_drop=2 * free.drop, max_kl=free.kl / 4, min_snr=0.5)
    assert both.excess == pytest.approx(3)
    assert not both.meets
    assert measure(max_drop=free.drop).meets
    assert measure(max_drop=free.drop * (1 + 1e-12)).excess == 0


def test_the_guide_falls_with_quality(
    make_model: MakeModel, weight: np.ndarray, noisy: np.ndarray, rows: np.ndarray
) -> None:
    validator = make_validator(make_model(weight), {"x": rows}, Limits())
    guides = [
        validator.measure(make_model(weight + np.float32(step) * (noisy - weight))).divergence
        for step in (0, 0.01, 0.1, 1, 3)
    ]
    assert guides[0] == 0
    assert guides == sorted(set(guides))


def test_without_classes_the_guide_is_the_noise_of_the_worst_output(
    make_model: MakeModel, weight: np.ndarray, noisy: np.ndarray, rows: np.ndarray
) -> None:
    model = make_model(weight, extra=True)
    score = make_validator(model, {"x": rows}, Limits()).measure(make_model(noisy, extra=True))
    before, after = (rows.astype(np.float64) @ w for w in (weight, noisy))
    error = ((after - before) ** 2).sum()
    noise = error / min((before**2).sum(), ((before + 1) ** 2).sum())
    assert score.divergence == pytest.approx(noise, rel=1e-5)
    assert score.snr_db == pytest.approx(-10 * math.log10(noise), rel=1e-5)
    assert score.drop is None
    # With a limit on it, the divergence of the first output is the better guide.
    limited = make_validator(model, {"x": rows}, Limits(max_kl=1))
    assert limited.measure(make_model(noisy, extra=True)).divergence > 2 * noise


def test_a_softmax_alone_is_told_by_its_noise() -> None:
    rows = np.random.default_rng(3).standard_normal((9, 4)).astype(np.float32)
    validator = make_validator(one_node("Softmax", axis=1), {"x": rows}, Limits())
    score = validator.measure(one_node("Sigmoid"))
    p = np.exp(rows) / np.exp(rows).sum(1, keepdims=True)
    noise = ((1 / (1 + np.exp(-rows)) - p) ** 2).sum() / (p**2).sum()
    assert score.divergence == pytest.approx(float(noise), rel=1e-5)


def test_integers_alone_are_a_guide_too() -> None:
    rows = np.random.default_rng(3).standard_normal((50, 4)).astype(np.float32)
    limits = Limits(max_drop=1, validation_fn=lambda _session: 5.0)
    validator = make_validator(one_node("ArgMax", axis=1), {"x": rows}, limits)
    score = validator.measure(one_node("ArgMax", axis=1, select_last_index=1))
    assert score == Score(0.0, None, None, 0.0, meets=True, excess=-1.0)
    rows[:, 2:] = rows[:, :2]  # so that the first and the last index differ
    validator = make_validator(one_node("ArgMax", axis=1), {"x": rows}, limits)
    assert validator.measure(one_node("ArgMax", axis=1, select_last_index=1)).divergence > 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_model_that_gives_nan_or_infinity_does_not_meet(
    make_model: MakeModel, weight: np.ndarray, rows: np.ndarray, labels: np.ndarray, bad: float
) -> None:
    calls = []

    def count(_session: object) -> float:
        calls.append(1)
        return 1.0

    broken = weight.copy()
    broken[0, 0] = bad
    data = {"x": rows, "labels": labels}
    for limits in (Limits(), Limits(max_drop=100, validation_fn=count)):
        score = make_validator(make_model(weight), data, limits).measure(make_model(broken))
        infinity = math.inf
        assert score == Score(infinity, infinity, -infinity, infinity, meets=False, excess=infinity)
    assert len(calls) == 1


def test_a_model_with_another_shape_does_not_meet(rows: np.ndarray) -> None:
    validator = make_validator(one_node("Relu", size=64), {"x": rows}, Limits())
    assert not validator.measure(one_node("Flatten", size=64, axis=0)).meets


def test_a_model_without_the_output_is_refused(
    make_model: MakeModel, weight: np.ndarray, rows: np.ndarray
) -> None:
    validator = make_validator(make_model(weight, extra=True), {"x": rows}, Limits())
    with pytest.raises(InputError, match=r"compressed model: .* got none named shifted"):
        validator.measure(make_model(weight))


def test_the_validation_function_gets_sessions(
    make_model: MakeModel, weight: np.ndarray, noisy: np.ndarray, rows: np.ndarray
) -> None:
    def quality(session: Any) -> np.ndarray:
        (logits,) = session.run(["logits"], {"x": rows[:5]})
        return -np.abs(logits).mean(keepdims=True)

    expected = [-np.abs(rows[:5] @ w).mean() for w in (weight, noisy)]
    limits = Limits(max_drop=0.01, validation_fn=quality)
    validator = make_validator(make_model(weight), {"x": rows}, limits)
    assert validator.baseline == pytest.approx(expected[0], rel=1e-5)
    score = validator.measure(make_model(noisy))
    assert score.drop == pytest.approx(expected[0] - expected[1], rel=1e-4)
    assert score.meets == (expected[0] - expected[1] <= 0.01)


def fail(_session: object) -> float:
    raise OSError("no such\nimages")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (fail, "validation function fail must give a number, got OSError: no such images"),
        (lambda _s: math.nan, "must give a finite number for the original, got nan"),
        (lambda _s: -math.inf, "must give a finite number for the original, got -inf"),
        (lambda _s: None, "must give a number, got NoneType"),
        (lambda _s: "0.9", "must give a number, got str"),
        (lambda _s: np.zeros(2), "must give a number, got ndarray"),
        (lambda: 1.0, "must give a number, got TypeError: "),
    ],
)
def test_a_validation_function_that_fails_on_the_original_is_an_error(
    make_model: MakeModel, weight: np.ndarray, rows: np.ndarray, function: Any, message: str
) -> None:
    limits = Limits(max_drop=1, validation_fn=function)
    with pytest.raises(InputError, match=message) as caught:
        make_validator(make_model(weight), {"x": rows}, limits)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("cannot validate product: the validation function ")


def test_a_validation_function_that_fails_on_a_compressed_model(
    make_model: MakeModel, weight: np.ndarray, rows: np.ndarray
) -> None:
    answers: list[Any] = [1.0, math.nan, ValueError("odd")]

    def answer(_session: object) -> float:
        value = answers.pop(0)
        if isinstance(value, Exception):
            raise value
        return float(value)

    limits = Limits(max_drop=1, validation_fn=answer)
    validator = make_validator(make_model(weight), {"x": rows}, limits)
    score = validator.measure(make_model(weight))
    assert (score.drop, score.meets, score.excess) == (math.inf, False, math.inf)
    with pytest.raises(InputError, match=r"compressed model: .*got ValueError: odd") as caught:
        validator.measure(make_model(weight))
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("limits", "labels", "message"),
    [
        (Limits(max_drop=1), None, "got no labels; give labels, a validation function, max_kl"),
        (Limits(max_drop=1), np.full(301, 10), "got labels 10 to 10 for 10 classes"),
        (Limits(max_drop=1), np.arange(301) % 4 - 1, "got labels -1 to 2 for 10 classes"),
    ],
)
def test_accuracy_needs_labels_that_fit(
    make_model: MakeModel,
    weight: np.ndarray,
    rows: np.ndarray,
    limits: Limits,
    labels: np.ndarray | None,
    message: str,
) -> None:
    data = {"x": rows} if labels is None else {"x": rows, "labels": labels}
    with pytest.raises(InputError, match=f"cannot measure the accuracy of product: .*{message}"):
        make_validator(make_model(weight), data, limits)


def test_labels_for_each_row_of_the_output_or_an_error(caplog: pytest.LogCaptureFixture) -> None:
    rows = np.ones((6, 4), np.float32)
    data = {"x": rows, "labels": np.zeros(6, int)}
    flat = one_node("Flatten", axis=0)
    with pytest.raises(InputError, match="got 6 labels for 1 rows"):
        make_validator(flat, data, Limits(max_drop=1))
    with caplog.at_level(logging.WARNING, "wl_onnx"):
        assert make_validator(flat, data, Limits()).baseline is None
    assert "labels are not used" in caplog.text


@pytest.mark.parametrize(
    ("model", "limits", "message"),
    [
        (one_node("ReduceSum", keepdims=0), Limits(max_kl=1), "first output must be floats with"),
        (one_node("ArgMax", axis=1), Limits(max_kl=1), "at least 2 classes .* got y; give min_snr"),
        (one_node("ArgMax", axis=1), Limits(min_snr=9), "must have an output of floats, got none"),
        (one_node("Floor"), Limits(min_snr=9), "may be zero for all samples, got y; give max_drop"),
        (one_node("Log"), Limits(), "outputs must be finite, got NaN or infinity in y"),
    ],
)
def test_an_original_on_which_a_limit_cannot_be_measured(
    model: onnx.ModelProto, limits: Limits, message: str
) -> None:
    rows = np.full((3, 4), 0.5, np.float32)
    rows[0, 0] = 0
    with pytest.raises(InputError, match=f"cannot .* one: .*{message}|cannot .*{message}"):
        make_validator(model, {"x": rows}, limits)


def test_an_original_without_numbers_is_refused() -> None:
    graph = helper.make_graph(
        [helper.make_node("SequenceConstruct", ["x"], ["s"])],
        "lists",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.zeros(1, np.float32), "unused")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(InputError, match=r"cannot validate lists: .* got seq\(tensor\(float\)\)"):
        make_validator(model, {"x": np.ones((2, 4), np.float32)}, Limits())


def test_compressed_models_are_decoded(
    make_model: MakeModel,
    weight: np.ndarray,
    compressed: tuple[onnx.ModelProto, np.ndarray],
    rows: np.ndarray,
) -> None:
    model, decoded = compressed
    limits = Limits(min_snr=-30)
    score = make_validator(make_model(weight, extra=True), {"x": rows}, limits).measure(model)
    before, after = rows @ weight, rows @ decoded
    worst = ((after - before) ** 2).sum() / min((before**2).sum(), ((before + 1) ** 2).sum())
    assert score.snr_db == pytest.approx(-10 * math.log10(worst), rel=1e-4)


def test_feeds_may_be_batches_of_any_size(
    make_model: MakeModel, weight: np.ndarray, noisy: np.ndarray, rows: np.ndarray
) -> None:
    labels = np.arange(len(rows)) % 10
    feeds: Feeds = load_feeds(
        [{"x": rows[:7], "labels": labels[:7]}, {"x": rows[7:], "labels": labels[7:]}],
        open_model(make_model(weight)).get_inputs(),
    )
    one = Validator(load_model(make_model(weight)), feeds, Limits())
    other = make_validator(make_model(weight), {"x": rows, "labels": labels}, Limits())
    first, second = (v.measure(make_model(noisy)) for v in (one, other))
    assert first.drop == second.drop
    assert first.kl == pytest.approx(second.kl, rel=1e-5)
