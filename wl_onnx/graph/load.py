"""Opening a model: from a file or a ModelProto, checked, external data left where it is."""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath

from google.protobuf.message import (  # type: ignore[import-untyped, unused-ignore]
    DecodeError,
    EncodeError,
)
from onnx import ModelProto

from wl_onnx.errors import InputError
from wl_onnx.graph.check import check_structure
from wl_onnx.graph.failures import model_error
from wl_onnx.graph.model import CompressibleModel
from wl_onnx.graph.scopes import find_bodies, find_tensors
from wl_onnx.graph.tensors import external_span, is_external

__all__ = ["load_model"]

_LFS_POINTER = b"version https://git-lfs"


def load_model(
    model: str | os.PathLike[str] | ModelProto,
    *,
    folder: str | os.PathLike[str] | None = None,
) -> CompressibleModel:
    """Opens a model and checks that it is whole; the bytes of external data are not read.

    Args:
        model: path of an ONNX file, or a ModelProto, which is copied.
        folder: what external data of a ModelProto is relative to; the working folder by default.

    Raises:
        InputError: no such file, or it cannot be read.
        ModelError: not an ONNX model, a damaged or truncated one, or external data is missing,
            too short, or outside the model's folder.

    Example:
        >>> load_model("/nowhere/model.onnx")
        Traceback (most recent call last):
            ...
        wl_onnx.errors.InputError: cannot load /nowhere/model.onnx: it must be a file, got no such \
file
    """
    if isinstance(model, ModelProto):
        loaded = CompressibleModel(_copy(model), None, Path(folder or Path.cwd()))
    else:
        path = Path(model)
        loaded = CompressibleModel(_parse(path), path, path.parent)
    check_structure(loaded)
    _check_external(loaded)
    return loaded


def _copy(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    try:
        copy.CopyFrom(model)
    except EncodeError as error:
        raise model_error(
            f"cannot load {model.graph.name}: a ModelProto must be below 2 GB, got {error}; "
            "save it with external data and give the path"
        ) from error
    return copy


def _parse(path: Path) -> ModelProto:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"cannot load {path}: it must be a file, got no such file") from None
    except IsADirectoryError:
        raise model_error(f"cannot load {path}: it must be an ONNX file, got a directory") from None
    except OSError as error:
        raise InputError(
            f"cannot load {path}: it must be a readable file, got {error.strerror}"
        ) from error
    if not data:
        raise model_error(f"cannot load {path}: it must be an ONNX model, got an empty file")
    if data.startswith(_LFS_POINTER):
        raise model_error(
            f"cannot load {path}: it must be an ONNX model, got a Git LFS pointer; run git lfs pull"
        )
    try:
        proto: ModelProto = ModelProto.FromString(data)
    except DecodeError as error:
        raise model_error(
            f"cannot load {path}: it must be an ONNX model, got {len(data)} bytes that do not "
            "parse; the file is damaged, cut short or of another format"
        ) from error
    return proto


def _check_external(model: CompressibleModel) -> None:
    tensors = [t for t in find_tensors(find_bodies(model.proto)) if is_external(t)]
    if not tensors:
        return
    roots = {model.folder.resolve()}
    if model.path is not None:
        # Stores of downloaded models keep both files as links into one other folder.
        roots.add(model.path.resolve().parent)
    sizes: dict[str, int] = {}
    for tensor in tensors:
        span = external_span(tensor)
        if span.location not in sizes:
            sizes[span.location] = _measure(model, tensor.name, span.location, roots)
        if sizes[span.location] < span.offset + span.length:
            raise model_error(
                f"cannot load {model.name}: external data of {tensor.name} must end within "
                f"{model.folder / span.location} ({sizes[span.location]} bytes), "
                f"got byte {span.offset + span.length}; the file is cut short"
            )


def _measure(model: CompressibleModel, tensor: str, location: str, roots: set[Path]) -> int:
    path = model.folder / location
    resolved = path.resolve()
    inside = any(resolved.is_relative_to(root) for root in roots)
    absolute = Path(location).is_absolute() or bool(PureWindowsPath(location).anchor)
    if not location or absolute or ".." in Path(location).parts or not inside:
        raise model_error(
            f"cannot load {model.name}: external data of {tensor} must lie in the model's folder, "
            f"got {location!r}"
        )
    if not resolved.is_file():
        raise model_error(
            f"cannot load {model.name}: external data of {tensor} must be in {path}, "
            "got no such file"
        )
    return resolved.stat().st_size
