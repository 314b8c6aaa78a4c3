"""Small modules and data to train."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wl_onnx.finetune.training_data import TrainingData

if TYPE_CHECKING:
    from torch import nn

NUM_CLASSES = 3
NUM_FEATURES = 4


def linear_module(seed: int = 0) -> nn.Module:
    import torch
    from torch import nn

    module = nn.Linear(NUM_FEATURES, NUM_CLASSES)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(size=tuple(parameter.shape))))
    return module


def classified(count: int = 40, seed: int = 1) -> TrainingData:
    """Points about three centres, labelled by centre."""
    rng = np.random.default_rng(seed)
    centers = 2 * np.random.default_rng(9).normal(size=(NUM_CLASSES, NUM_FEATURES))
    labels = rng.integers(NUM_CLASSES, size=count)
    points = centers[labels] + rng.normal(size=(count, NUM_FEATURES))
    return TrainingData({"x": points.astype(np.float32)}, labels)


def values_of(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy().copy() for name, p in module.named_parameters()}
