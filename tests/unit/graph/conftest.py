from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from wl_onnx import graph


@pytest.fixture
def external_model(tmp_path: Path) -> Path:
    """An MLP of three layers in a folder of its own, all its initializers in one data file."""
    from tests.unit.graph.builders import mlp

    folder = tmp_path / "source"
    folder.mkdir()
    onnx.save_model(
        mlp(),
        folder / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    return folder / "model.onnx"


@pytest.fixture
def compress():
    """Replaces every weight that can be replaced by a dummy blob; gives the arrays by key."""

    def replace(
        model: graph.CompressibleModel, blobs: str = "attribute", size: int = 5
    ) -> dict[str, np.ndarray]:
        sites = [site for site in graph.find_weights(model) if site.skip_reason is None]
        arrays = {site.key: np.array(site.numpy()) for site in sites}
        graph.replace_weights(
            model,
            {key: graph.Replacement(key.encode() * size, f"blob of {key}") for key in arrays},
            blobs=blobs,
            metadata={"version": "0.1.0"},
        )
        return arrays

    return replace
