"""The bridge where torch is not installed."""

from __future__ import annotations

import sys

import pytest

from wl_onnx import finetune
from wl_onnx.errors import LibraryError


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    expected = r'^cannot fine-tune: torch is not installed; pip install "wl-onnx\[finetune\]"$'
    with pytest.raises(LibraryError, match=expected):
        finetune.to_torch("model.onnx")
    with pytest.raises(LibraryError, match=expected):
        finetune.to_onnx(object(), "model.onnx")  # type: ignore[arg-type]
    with pytest.raises(LibraryError, match=expected):
        finetune.initializer_names(object())  # type: ignore[arg-type]
    with pytest.raises(LibraryError, match=expected):
        finetune.attach(object(), {"fc.weight": finetune.Mask(0.5)})  # type: ignore[arg-type]
    with pytest.raises(LibraryError, match=expected):
        finetune.export_state(object())  # type: ignore[arg-type]
    with pytest.raises(LibraryError, match=expected):
        finetune.detach(object())  # type: ignore[arg-type]
