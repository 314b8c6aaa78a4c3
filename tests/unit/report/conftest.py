"""Reports that measure nothing, so that they are made in no time and always the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

import wl_onnx
from tests.pages import Node, fixed_comparison, read_page
from wl_onnx.report import Report, write_report


@pytest.fixture
def make_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[Report, Node, str]]:
    """Writes two models and the report on them; gives its numbers, its tree and its text."""
    pytest.importorskip("jinja2")
    monkeypatch.setattr("wl_onnx.evaluation.compare", fixed_comparison)

    def make(
        original: onnx.ModelProto, compressed: onnx.ModelProto, **options: Any
    ) -> tuple[Report, Node, str]:
        paths = tmp_path / "before.onnx", tmp_path / "after.onnx"
        for model, path in zip((original, compressed), paths, strict=True):
            path.write_bytes(model.SerializeToString(deterministic=True))
        output = tmp_path / "page.html"
        report = write_report(*paths, output, force=True, **options)
        text = output.read_text(encoding="utf-8")
        return report, read_page(text), text

    return make


@pytest.fixture
def compress_file(tmp_path: Path) -> Callable[..., onnx.ModelProto]:
    """Compresses a model as the file that `make_page` writes."""

    def compress(model: onnx.ModelProto, **options: Any) -> onnx.ModelProto:
        path = tmp_path / "source.onnx"
        path.write_bytes(model.SerializeToString(deterministic=True))
        return wl_onnx.compress(path, **options).model

    return compress
