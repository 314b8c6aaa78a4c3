"""A web server, and a zoo of small models with its manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.web_server import WebServer, serve


@pytest.fixture
def server() -> Iterator[WebServer]:
    with serve() as running:
        yield running


@pytest.fixture
def describe() -> Callable[..., dict[str, Any]]:
    """Makes an entry of a manifest for bytes."""

    def make(model: str, model_path: str, data: bytes, **own: Any) -> dict[str, Any]:
        metadata: dict[str, Any] = {
            "model_sha": hashlib.sha256(data).hexdigest(),
            "model_bytes": len(data),
            "tags": ["vision", "test"],
            "io_ports": {"inputs": [{"name": "x", "shape": ["n", 64], "type": "tensor(float)"}]},
        }
        if own:
            metadata["wl_onnx"] = own
        return {
            "model": model,
            "model_path": model_path,
            "onnx_version": "1.12.0",
            "opset_version": 17,
            "metadata": metadata,
        }

    return make


@pytest.fixture
def make_zoo(
    tmp_path: Path, make_mlp: Callable[..., onnx.ModelProto], describe: Callable[..., Any]
) -> Callable[..., Path]:
    """Writes small models and a manifest of them; gives the manifest."""

    def make(count: int = 3, **own: Any) -> Path:
        folder = tmp_path / "zoo"
        entries = []
        for index in range(count):
            rng = np.random.default_rng(index)
            model = make_mlp(rng.laplace(size=(64, 64)).astype(np.float32))
            data = model.SerializeToString()
            path = folder / "a" / f"m{index}.onnx"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            entries.append(describe(f"Model {index}", f"a/m{index}.onnx", data, **own))
        manifest = folder / "ONNX_HUB_MANIFEST.json"
        manifest.write_text(json.dumps(entries), encoding="utf-8")
        return manifest

    return make
