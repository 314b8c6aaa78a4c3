"""Random changes of images: against what NumPy says they may be."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.finetune import perceptron
from wl_onnx.errors import InputError
from wl_onnx.finetune.augmentation import AUGMENTATIONS, find_augmentation
from wl_onnx.finetune.losses import Objective

torch = pytest.importorskip("torch", reason="torch is not installed")


def change(name: str, images: np.ndarray, seed: int = 0) -> np.ndarray:
    augment = find_augmentation(name)
    assert augment is not None
    (changed,) = augment((torch.from_numpy(images),), torch.Generator().manual_seed(seed))
    return changed.numpy()


def test_mirrored_images_are_windows_of_the_padded_ones() -> None:
    images = np.random.default_rng(0).normal(size=(60, 2, 9, 11)).astype(np.float32)
    changed = change("mirror", images)
    padded = np.pad(images, ((0, 0), (0, 0), (4, 4), (4, 4)))
    found = set()
    for source, one in zip(padded, changed, strict=True):
        windows = [
            (flip, top, left)
            for flip in (1, -1)
            for top in range(9)
            for left in range(9)
            if np.array_equal(source[:, top : top + 9, left : left + 11][:, :, ::flip], one)
        ]
        assert windows
        found.add(windows[0])
    assert len(found) > 40
    assert 10 < sum(flip == -1 for flip, _, _ in found) < 50


def test_warped_images_are_turned_scaled_and_shifted_within_bounds() -> None:
    """Of an image that rises along x the map can be read off the values inside."""
    size = 29
    axis = np.linspace(-1, 1, size + 1)[:-1] + 1 / size
    ramp = np.broadcast_to(axis.astype(np.float32), (200, 1, size, size)).copy()
    changed = change("affine", ramp)[:, 0, 8:-8, 8:-8].reshape(200, -1)
    y, x = np.meshgrid(axis[8:-8], axis[8:-8], indexing="ij")
    terms = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], 1)
    fitted = np.linalg.lstsq(terms, changed.T, rcond=None)[0]
    assert np.abs(terms @ fitted - changed.T).max() < 1e-5
    scale = np.hypot(fitted[0], fitted[1])
    angle = np.degrees(np.arctan2(-fitted[1], fitted[0]))
    for values, bound in ((np.log(scale), 0.1), (angle, 10.0), (fitted[2], 2 / 14)):
        assert np.abs(values).max() <= bound + 1e-4
        assert np.abs(values).max() > 0.9 * bound
        assert abs(values.mean()) < 0.2 * bound


@pytest.mark.parametrize("name", AUGMENTATIONS[1:])
def test_the_generator_decides(name: str) -> None:
    images = np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32)
    np.testing.assert_array_equal(change(name, images), change(name, images))
    assert (change(name, images) != change(name, images, seed=1)).any()


@pytest.mark.parametrize("name", AUGMENTATIONS[1:])
def test_inputs_that_are_no_images_stay(name: str) -> None:
    augment = find_augmentation(name)
    assert augment is not None
    inputs = (torch.randn(3, 4), torch.ones(3, 1, 2, 2, dtype=torch.int64))
    for before, after in zip(inputs, augment(inputs, torch.Generator()), strict=True):
        assert before is after


def test_none_is_none_and_others_are_refused() -> None:
    assert find_augmentation("none") is None
    with pytest.raises(InputError, match=r"augment must be none, affine, mirror, got 'blur'$"):
        find_augmentation("blur")


def test_a_trainer_shows_the_teacher_what_it_shows_the_student() -> None:
    """A student that is its teacher learns nothing, whatever is done to the inputs."""
    from wl_onnx.finetune import to_torch
    from wl_onnx.finetune.loop import Trainer

    student, teacher = (to_torch(perceptron.trained()) for _ in range(2))
    seen = []

    def augment(
        inputs: tuple[torch.Tensor, ...], generator: torch.Generator
    ) -> tuple[torch.Tensor, ...]:
        seen.append(torch.rand(1, generator=generator).item())
        return tuple(3 * one + torch.randn(one.shape, generator=generator) for one in inputs)

    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    trainer = Trainer(
        student,
        perceptron.draw_samples(64, seed=1),
        objective=Objective(0.0, 1.0),
        batch_size=16,
        augment=augment,
        teacher=teacher,
    )
    summary = trainer.run("train", 2, learning_rate=1e-2, optimizer="sgd")
    assert summary.loss == pytest.approx(0.0, abs=1e-6)
    assert len(set(seen)) == 8
    for name, tensor in student.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=1e-5)


def test_scores_of_inputs_as_they_are_do_not_go_with_augmentation() -> None:
    from wl_onnx.finetune import to_torch
    from wl_onnx.finetune.loop import Trainer

    data = perceptron.draw_samples(64, seed=1)
    with pytest.raises(InputError, match="the teacher must be a module where inputs are augmented"):
        Trainer(
            to_torch(perceptron.trained()),
            data,
            teacher_logits=np.zeros((64, perceptron.NUM_CLASSES), np.float32),
            objective=Objective(0.0, 1.0),
            augment=find_augmentation("affine"),
        )
