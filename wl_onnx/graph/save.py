"""Writing a model: external data first, each file under a temporary name and then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from google.protobuf.message import EncodeError  # type: ignore[import-untyped, unused-ignore]
from onnx import ModelProto, TensorProto

from wl_onnx.errors import InputError
from wl_onnx.files import check_place, data_path, rename_both, temporary_beside
from wl_onnx.graph.failures import model_error
from wl_onnx.graph.scopes import find_bodies, find_tensors
from wl_onnx.graph.tensors import (
    EXTERNAL_MINIMUM_BYTES,
    ExternalSpan,
    external_span,
    fill_raw,
    inline_bytes,
    is_external,
    point_to_external,
)

if TYPE_CHECKING:
    import numpy as np

    from wl_onnx.graph.model import CompressibleModel

__all__ = ["INLINE_LIMIT_BYTES", "check_output", "save_model", "to_proto"]

INLINE_LIMIT_BYTES = 1_800_000_000
"""Most bytes of tensors inside a protobuf, whose own limit is 2 GiB with all else in it."""

_PAGE_BYTES = 4096
_LARGE_BYTES = 1 << 20
_ALIGNMENT_BYTES = 64


def check_output(
    output: str | os.PathLike[str],
    *,
    source: CompressibleModel | None = None,
    force: bool = False,
) -> Path:
    """Checks that a model may be written to a path, before any work is done.

    Args:
        output: where the model is to go.
        source: the model that it is made from, whose files must not be overwritten.
        force: whether an existing file may be replaced.

    Returns:
        The path.

    Raises:
        InputError: the path is a directory, its folder is absent or not writable, it exists and
            `force` is off, or it is a file of the source.
    """
    path = Path(output)
    if source is not None:
        mine = [path, data_path(path)]
        theirs = [*([source.path] if source.path else []), *sorted(source.external_paths)]
        for one in mine:
            if any(_is_same(one, other) for other in theirs):
                raise InputError(
                    f"cannot write {path}: the output must not overwrite the input, got {one}"
                )
    check_place(path, "output")
    if not force:
        _require_absent(path)
    return path


def save_model(
    model: CompressibleModel, path: str | os.PathLike[str], *, force: bool = False
) -> None:
    """Writes a model: whole or not at all, and the same model gives the same bytes.

    What was inline stays inline. External and deferred tensors go to `<path>.data`, one after
    another, so that no more than one deferred tensor is held. Where inline tensors pass
    `INLINE_LIMIT_BYTES`, initializers above 1 KiB go there too.

    Args:
        model: the model; it still refers to its own external data afterwards.
        path: where it goes.
        force: whether existing files are replaced.

    Raises:
        InputError: as `check_output`, or the disk is full.
        ModelError: what cannot be external is too large for a protobuf.
    """
    target = check_output(path, source=model, force=force)
    _defer_excess(model)
    tensors = [t for t in find_tensors(find_bodies(model.proto)) if is_external(t)]
    data_target = data_path(target)
    if tensors and not force:
        _require_absent(data_target)
    try:
        with contextlib.ExitStack() as stack:
            if tensors:
                temporary_data = stack.enter_context(temporary_beside(data_target))
                with temporary_data.open("xb") as file:
                    spans = _write_tensors(model, tensors, file, data_target.name)
                with _repointed(tensors, spans):
                    data = _serialize(model)
            else:
                data = _serialize(model)
            temporary = stack.enter_context(temporary_beside(target))
            temporary.write_bytes(data)
            if tensors:
                rename_both(temporary, temporary_data, target)
            else:
                temporary.replace(target)
    except OSError as error:
        raise InputError(
            f"cannot write {target}: its folder must be writable and have space, "
            f"got {error.strerror or error}"
        ) from error


def to_proto(model: CompressibleModel) -> ModelProto:
    """The model as one ModelProto of its own, everything in it.

    Raises:
        ModelError: it does not fit in a protobuf; save it to a path instead.
    """
    tensors = list(find_tensors(find_bodies(model.proto)))
    external = sum(external_span(t).length for t in tensors if is_external(t))
    size_bytes = external + sum(map(inline_bytes, tensors))
    if size_bytes > INLINE_LIMIT_BYTES:
        raise model_error(
            f"cannot hold {model.name} as one ModelProto: its tensors must take at most "
            f"{INLINE_LIMIT_BYTES} bytes, got {size_bytes}; give an output path"
        )
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    for tensor in find_tensors(find_bodies(proto)):
        if is_external(tensor):
            fill_raw(tensor, model.read_bytes(tensor))
    return proto


def _is_same(one: Path, other: Path) -> bool:
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()


def _require_absent(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise InputError(
            f"cannot write {path}: the output must not exist, got a file there; force replaces it"
        )


def _defer_excess(model: CompressibleModel) -> None:
    bodies = find_bodies(model.proto)
    if sum(map(inline_bytes, find_tensors(bodies))) <= INLINE_LIMIT_BYTES:
        return
    for body in bodies:
        for tensor in body.initializers:
            if inline_bytes(tensor) > EXTERNAL_MINIMUM_BYTES:
                model.defer(tensor, _hold(model.read(tensor)))


def _hold(array: np.ndarray) -> Callable[[], np.ndarray]:
    return lambda: array


def _write_tensors(
    model: CompressibleModel, tensors: list[TensorProto], file: BinaryIO, location: str
) -> list[ExternalSpan]:
    written: dict[ExternalSpan, ExternalSpan] = {}
    for tensor in tensors:
        source = external_span(tensor)
        if source in written:
            continue
        # ONNX asks for whole pages, so that large tensors can be mapped.
        alignment = _PAGE_BYTES if source.length >= _LARGE_BYTES else _ALIGNMENT_BYTES
        file.write(bytes(-file.tell() % alignment))
        written[source] = ExternalSpan(location, file.tell(), source.length)
        file.write(model.read_bytes(tensor).data)
    return [written[external_span(tensor)] for tensor in tensors]


@contextlib.contextmanager
def _repointed(tensors: list[TensorProto], spans: list[ExternalSpan]) -> Iterator[None]:
    before = [external_span(tensor) for tensor in tensors]
    for tensor, span in zip(tensors, spans, strict=True):
        point_to_external(tensor, span)
    try:
        yield
    finally:
        for tensor, span in zip(tensors, before, strict=True):
            point_to_external(tensor, span)


def _serialize(model: CompressibleModel) -> bytes:
    try:
        data: bytes = model.proto.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise model_error(
            f"cannot write {model.name}: all that is not external must take less than 2 GiB, "
            "got more; store blobs as initializers"
        ) from error
    return data
