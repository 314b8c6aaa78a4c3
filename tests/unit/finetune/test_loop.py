"""The training loop: against NumPy, interrupted, resumed, and where it cannot be."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.unit.finetune.graphs import make
from tests.unit.finetune.modules import classified, linear_module, values_of
from wl_onnx import TrainingError, finetune
from wl_onnx.finetune.losses import Objective
from wl_onnx.finetune.training_data import TrainingData

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn

from wl_onnx.finetune.loop import StepReport, Trainer, TrainerState  # noqa: E402  needs torch


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def gradients(
    w: np.ndarray, b: np.ndarray, data: TrainingData, teacher: np.ndarray, objective: Objective
) -> tuple[np.ndarray, np.ndarray]:
    """Of the mean loss of softmax regression, by hand."""
    x, t = data.inputs["x"].astype(np.float64), objective.temperature
    logits = x @ w.T + b
    wanted = np.eye(3)[data.labels]
    error = objective.task_weight * (softmax(logits) - wanted)
    error += objective.distill_weight * t * (softmax(logits / t) - softmax(teacher / t))
    return error.T @ x / len(x), error.mean(0)


@pytest.mark.parametrize("objective", [Objective(), Objective(0, 1, 3.0), Objective(0.5, 2.0)])
def test_descent_is_that_of_numpy(objective: Objective) -> None:
    data, module = classified(), linear_module()
    teacher = np.random.default_rng(4).normal(size=(40, 3))
    w, b = (values.astype(np.float64) for values in values_of(module).values())
    speed: list[Any] = [0.0, 0.0]
    steps = 12
    for step in range(steps):
        speed = [
            0.9 * v + g
            for v, g in zip(speed, gradients(w, b, data, teacher, objective), strict=True)
        ]
        rate = 0.1 * 0.5 * (1 + math.cos(math.pi * step / steps))
        w, b = w - rate * speed[0], b - rate * speed[1]

    trainer = Trainer(
        module,
        data,
        objective=objective,
        teacher_logits=teacher.astype(np.float32),
        batch_size=40,
    )
    trainer.run("train", steps, learning_rate=0.1, optimizer="sgd", schedule="cosine")
    np.testing.assert_allclose(module.weight.detach(), w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(module.bias.detach(), b, rtol=1e-4, atol=1e-5)


def test_adam_is_that_of_its_authors() -> None:
    data, module = classified(), linear_module()
    weight, bias = (values.astype(np.float64) for values in values_of(module).values())
    values, means, squares = [weight, bias], [0.0, 0.0], [0.0, 0.0]
    for step in range(1, 8):
        grads = gradients(*values, data, np.zeros((40, 3)), Objective())
        for index, grad in enumerate(grads):
            means[index] = 0.9 * means[index] + 0.1 * grad
            squares[index] = 0.999 * squares[index] + 0.001 * grad**2
            size = np.sqrt(squares[index] / (1 - 0.999**step)) + 1e-8
            values[index] = values[index] - 0.01 * means[index] / (1 - 0.9**step) / size

    Trainer(module, data, batch_size=99).run("s", 7, learning_rate=0.01, schedule="constant")
    np.testing.assert_allclose(module.weight.detach(), values[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(module.bias.detach(), values[1], rtol=1e-4, atol=1e-5)


def test_a_seed_gives_the_same_parameters() -> None:
    def train(seed: int) -> dict[str, np.ndarray]:
        module = linear_module()
        Trainer(module, classified(), batch_size=8, seed=seed).run("s", 2, learning_rate=0.1)
        return values_of(module)

    first, again, other = train(1), train(1), train(2)
    np.testing.assert_array_equal(first["weight"], again["weight"])
    assert not np.array_equal(first["weight"], other["weight"])


def test_each_epoch_shows_every_sample_once_in_an_order_of_its_own() -> None:
    seen: list[float] = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(3))

        def forward(self, x: Any) -> Any:
            if self.training:
                seen.extend(x[:, 0].tolist())
            return self.w + x

    data = TrainingData(
        {"x": np.arange(12, dtype=np.float32).repeat(3).reshape(12, 3)}, np.zeros(12, int)
    )
    trainer = Trainer(Spy(), data, batch_size=4)
    trainer.run("one", 2, learning_rate=0.1)
    trainer.run("two", 1, learning_rate=0.1)
    orders = [seen[:12], seen[12:24], seen[24:]]
    assert [sorted(order) for order in orders] == 3 * [list(range(12))]
    assert len(set(map(tuple, orders))) == 3


def test_a_rest_of_a_batch_and_parts_of_epochs_are_steps() -> None:
    reports: list[StepReport] = []
    trainer = Trainer(linear_module(), classified(43), batch_size=10, report=reports.append)
    assert trainer.steps_per_epoch == 4
    trainer.run("s", 1.5, learning_rate=0.1)
    assert (reports[-1].step, reports[-1].steps) == (6, 6)
    assert (reports[-1].epoch, reports[-1].epochs) == (2, 2)
    trainer.run("t", 0.01, learning_rate=0.1)
    assert reports[-1].steps == 1


def test_only_the_parameters_that_train_get_gradients() -> None:
    module = nn.Sequential(linear_module(), nn.ReLU(), nn.Linear(3, 3))
    module[2].bias.requires_grad_(False)
    before = values_of(module)
    with_gradient: set[str] = set()

    def look(progress: float) -> None:
        with_gradient.update(n for n, p in module.named_parameters() if p.grad is not None)

    trainer = Trainer(module, classified(), batch_size=20)
    trainer.run("s", 1, learning_rate=0.1, parameters=[module[2].weight], after_step=look)
    assert with_gradient == {"2.weight"}
    changed = {n for n, v in values_of(module).items() if not np.array_equal(v, before[n])}
    assert changed == {"2.weight"}
    # What was asked before holds again.
    assert [n for n, p in module.named_parameters() if not p.requires_grad] == ["2.bias"]
    assert all(p.grad is None for p in module.parameters())

    with_gradient.clear()
    trainer.run("t", 1, learning_rate=0.1, after_step=look)
    assert with_gradient == {"0.weight", "0.bias", "2.weight"}


def test_penalties_and_what_follows_a_step_hear_how_far_it_is() -> None:
    module = linear_module()
    beside = nn.Parameter(torch.tensor(3.0))
    progress: dict[str, list[float]] = {"penalty": [], "after": []}

    def penalty(share: float) -> Any:
        progress["penalty"].append(share)
        return (beside - 1) ** 2

    def after(share: float) -> None:
        progress["after"].append(share)
        assert not torch.is_grad_enabled()
        module.weight[:, 0] = 0

    trainer = Trainer(
        module, classified(), batch_size=10, parameters=[*module.parameters(), beside]
    )
    trainer.run("s", 50, learning_rate=0.2, penalty=penalty, after_step=after)
    assert progress["penalty"] == [step / 200 for step in range(200)]
    assert progress["after"] == [step / 200 for step in range(1, 201)]
    assert float(beside.detach()) == pytest.approx(1, abs=1e-2)
    assert not module.weight[:, 0].any()
    assert module.weight[:, 1].all()


def damage(value: float) -> Callable[[Any], None]:
    """Breaks the bias of a class that no sample has: of minus infinity, no loss is infinite."""

    def change(module: Any) -> None:
        module.bias[0] = value

    return change


def interrupt(module: Any) -> None:
    module.bias[0] = 7.0
    raise KeyboardInterrupt


NAN_LOSS = r"^cannot fine-tune: the loss must stay finite, got nan at step 11 of s; the last good"
INFINITE = r"^cannot fine-tune: every parameter must stay finite, got nan or inf at step 12 of s; "


@pytest.mark.parametrize(
    ("happens", "error", "message"),
    [
        (damage(math.nan), TrainingError, NAN_LOSS),
        (damage(-math.inf), TrainingError, INFINITE),
        (interrupt, KeyboardInterrupt, None),
    ],
    ids=["loss", "parameter", "ctrl-c"],
)
def test_the_last_whole_epoch_is_kept(
    happens: Callable[[Any], None], error: type[BaseException], message: str | None
) -> None:
    data = classified()
    assert data.labels is not None
    data = dataclasses.replace(data, labels=1 + data.labels % 2)
    module = linear_module()
    states: list[TrainerState] = []

    def stop(share: float) -> None:
        if round(share * 12) == 10:  # in the third epoch of four steps
            happens(module)

    trainer = Trainer(module, data, batch_size=10)
    with pytest.raises(error, match=message):
        trainer.run("s", 3, learning_rate=0.1, after_step=stop, on_epoch=states.append)
    assert [state.step for state in states] == [4, 8]
    for name, values in values_of(module).items():
        np.testing.assert_array_equal(values, states[-1].tensors[name])
        assert np.isfinite(values).all()
    assert all(p.requires_grad and p.grad is None for p in module.parameters())
    trainer.run("t", 1, learning_rate=0.1)  # as good as new


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("schedule", ["cosine", "constant", "one-cycle"])
def test_a_resumed_run_ends_like_one_without_a_break(optimizer: str, schedule: str) -> None:
    how = {"learning_rate": 0.05, "optimizer": optimizer, "schedule": schedule}
    whole, states = linear_module(), []
    summary = Trainer(whole, classified(), batch_size=8).run(
        "s",
        3.4,
        on_epoch=states.append,
        **how,  # type: ignore[arg-type]
    )
    assert [state.step for state in states] == [5, 10, 15, 17]
    for state in states:
        fresh = linear_module(seed=5)
        again = Trainer(fresh, classified(), batch_size=8).run("s", 3.4, resume=state, **how)  # type: ignore[arg-type]
        for name, values in values_of(whole).items():
            np.testing.assert_array_equal(values, values_of(fresh)[name])
        assert again == summary


def test_parameters_beside_the_module_are_part_of_the_state() -> None:
    def train(states: list[TrainerState], resume: TrainerState | None) -> float:
        beside = nn.Parameter(torch.tensor(3.0))
        module = linear_module()
        Trainer(module, classified()).run(
            "s",
            4,
            learning_rate=0.1,
            parameters=[*module.parameters(), beside],
            penalty=lambda share: beside**2,
            on_epoch=states.append,
            resume=resume,
        )
        return float(beside.detach())

    states: list[TrainerState] = []
    assert train(states, None) == train([], states[1])


def test_a_graph_of_several_inputs_takes_them_in_its_order() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Mul", ["p", "second"], ["y"]),
    ]
    weights = {"w": np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)}
    model = make(nodes, weights, ("n", 4))  # type: ignore[arg-type]
    second = copy.deepcopy(model.graph.input[0])
    second.name = "second"
    second.type.tensor_type.shape.dim[1].dim_value = 3
    model.graph.input.append(second)
    points = classified()
    scales = np.random.default_rng(2).uniform(0.5, 2, (40, 3)).astype(np.float32)
    data = TrainingData({"x": points.inputs["x"], "second": scales}, points.labels)
    module = finetune.to_torch(model)
    trainer = Trainer(module, data, validation=data)
    right = ((data.inputs["x"] @ weights["w"] * scales).argmax(1) == data.labels).mean()
    assert trainer.evaluate(data).accuracy == pytest.approx(right)
    summary = trainer.run("s", 100, learning_rate=0.05)
    assert summary.accuracy is not None
    assert summary.accuracy > max(right, 0.8)


def test_evaluation_is_over_all_samples() -> None:
    data, module = classified(1203), linear_module()
    evaluation = Trainer(module, data).evaluate(data)
    w, b = values_of(module).values()
    scores = softmax((data.inputs["x"] @ w.T + b).astype(np.float64))
    assert data.labels is not None
    assert evaluation.accuracy == (scores.argmax(1) == data.labels).mean()
    expected = -np.log(scores[np.arange(1203), data.labels]).mean()
    assert evaluation.loss == pytest.approx(expected, rel=1e-5)


def test_reports_tell_loss_accuracy_and_bytes() -> None:
    reports: list[StepReport] = []
    module = linear_module()
    trainer = Trainer(
        module, classified(), validation=classified(60, seed=7), report=reports.append, batch_size=8
    )
    trainer.size_bytes = 123
    summary = trainer.run("prune", 3, learning_rate=0.1)
    assert {(r.stage, r.size_bytes, r.epochs, r.steps) for r in reports} == {("prune", 123, 3, 15)}
    assert reports[0].accuracy is None
    assert (
        reports[-1].accuracy
        == summary.accuracy
        == trainer.evaluate(classified(60, seed=7)).accuracy
    )
    assert reports[-1].loss == summary.loss
    assert summary.loss < reports[0].loss
    assert [r.step for r in reports if r.epoch == 2] == [6, 7, 8, 9, 10, 10]


def test_probabilities_are_trained_by_their_logarithms() -> None:
    plain, ended = linear_module(), nn.Sequential(linear_module(), nn.Softmax(1))
    teacher = np.random.default_rng(4).normal(size=(40, 3)).astype(np.float32)
    objective = Objective(0.5, 1.0)
    for module, scores in ((plain, teacher), (ended, softmax(teacher).astype(np.float32))):
        trainer = Trainer(module, classified(), objective=objective, teacher_logits=scores)
        trainer.run("s", 5, learning_rate=0.1)
    np.testing.assert_allclose(ended[0].weight.detach(), plain.weight.detach(), atol=1e-4)
    data = classified()
    first, second = (Trainer(module, data).evaluate(data) for module in (plain, ended))
    assert second.loss == pytest.approx(first.loss, rel=1e-3)


def test_modes_are_those_of_before() -> None:
    module = nn.Sequential(linear_module(), nn.Dropout())
    module.eval()
    modes: set[bool] = set()
    trainer = Trainer(module, classified(), validation=classified())
    trainer.run("s", 2, learning_rate=0.1, after_step=lambda share: modes.add(module.training))
    assert modes == {True}
    assert not module.training


def test_products_in_bfloat16_train_the_same_within_its_rounding() -> None:
    data = classified()
    values, gaps = {}, {}
    for precision in ("float32", "bfloat16"):
        module = linear_module()
        before = values_of(module)
        trainer = Trainer(module, data, batch_size=40, precision=precision)
        trainer.run("train", 20, learning_rate=1e-2)
        assert {p.dtype for p in module.parameters()} == {torch.float32}
        values[precision] = values_of(module)
        gaps[precision] = max(np.abs(values[precision][k] - before[k]).max() for k in before)
    for name, wanted in values["float32"].items():
        found = values["bfloat16"][name]
        assert (found != wanted).any()
        np.testing.assert_allclose(found, wanted, atol=0.1 * gaps["float32"])
