"""The bundle: many small tensors in one blob, coded adaptively, without tables.

A tensor of a few hundred weights is smaller than the tables that describe it. So a bundle has
none: each bit of a level is coded with a probability that is mixed from several contexts, all of
which are learned along the way, over all tensors of the bundle. What a tensor costs beside its
weights is a handful of bytes. It decodes some hundred times slower than a palette.

Source: Mahoney, "Adaptive weighing of context models for lossless data compression", Florida Tech.
CS-2005-16, 2005. The bytes are written down in FORMAT.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wl_onnx.codecs.arguments import Blob, call_core, to_bytes, to_centroids, to_output
from wl_onnx.codecs.container import seal
from wl_onnx.errors import InputError
from wl_onnx.kernels.native import core

__all__ = [
    "MAX_BUNDLE_TENSORS",
    "MAX_BUNDLE_WEIGHTS",
    "BundleInfo",
    "BundleTensor",
    "BundleTensorInfo",
    "check_sizes",
    "decode",
    "decode_into",
    "encode",
    "inspect",
]

MAX_BUNDLE_TENSORS = 1 << 16
"""Most tensors of a bundle."""

MAX_BUNDLE_WEIGHTS = 1 << 23
"""Most weights of a bundle, all tensors together."""

_KINDS = ("step", "float16 codebook", "float32 codebook", "float16", "float32")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BundleTensor:
    """A tensor to encode: levels with a step or a codebook, or values as they are.

    Of `step`, `codebook` and `values` exactly one is given.

    Attributes:
        levels: integers [n], the weights; 0 is the most likely one. None with `values`.
        row_length: weights of a row of the tensor's matrix, 1 to n; the last row may be shorter.
            None: n.
        step: a weight is `offset + level * step`, rounded once to float32. Finite; the fewer bits
            its mantissa has, the fewer are stored. Levels are -2**24 to 2**24.
        offset: see `step`.
        codebook: floats [c], at most 4096 and n + 1, finite, best ascending; a weight is
            `codebook[level + zero_index]`. Even distances take little room.
        zero_index: the centroid of level 0, 0 to c - 1.
        codebook_type: "float16" or "float32", how centroids are stored.
        values: float16 or float32 [n], finite: the weights themselves, stored exactly.
    """

    levels: npt.ArrayLike | None = None
    row_length: int | None = None
    step: float | None = None
    offset: float = 0.0
    codebook: npt.ArrayLike | None = None
    zero_index: int = 0
    codebook_type: str = "float16"
    values: npt.NDArray[np.float16] | npt.NDArray[np.float32] | None = None


@dataclasses.dataclass(frozen=True)
class BundleTensorInfo:
    """What a bundle says of one tensor.

    Attributes:
        num_weights: its weights.
        kind: "step", "float16 codebook", "float32 codebook", "float16" or "float32".
        row_length: weights of a row.
        step: distance of levels; 0 where the kind is another.
        offset: value of level 0 of the kind "step".
        codebook: float32 [c], the centroids as stored; empty where the kind has none.
        zero_index: the centroid of level 0.
        size_bits: its share of the blob, whole bytes; those of all tensors add up to the blob.
    """

    num_weights: int
    kind: str
    row_length: int
    step: float
    offset: float
    codebook: npt.NDArray[np.float32]
    zero_index: int
    size_bits: int


@dataclasses.dataclass(frozen=True)
class BundleInfo:
    """What a bundle says of itself.

    Attributes:
        tensors: each tensor, in the order of `encode`.
        num_weights: weights of all tensors.
        size_bytes: bytes of the whole blob.
    """

    tensors: tuple[BundleTensorInfo, ...]
    num_weights: int
    size_bytes: int


def encode(tensors: Sequence[BundleTensor]) -> bytes:
    """A blob that gives back the weights of all tensors exactly.

    The same tensors give the same bytes on every machine. The order counts for the size: tensors
    that are alike should follow each other.

    Args:
        tensors: 1 to 65,536 of them, with at most 2**23 weights together.

    Returns:
        The blob, checksum included.

    Raises:
        InputError: a tensor breaks a rule of `BundleTensor`.

    Example:
        >>> blob = encode([BundleTensor(levels=[0, 2, -1, 0], step=0.5)])
        >>> decode(blob)
        [array([ 0. ,  1. , -0.5,  0. ], dtype=float32)]
    """
    writer = core().BundleWriter()
    for index, tensor in enumerate(tensors):
        _add(writer, index, tensor)
    return seal(call_core("encode bundle", writer.encode))


def decode(blob: Blob) -> list[npt.NDArray[np.float32]]:
    """The weights of every tensor: float32 [num_weights], exact.

    Args:
        blob: bytes that `encode` gave.

    Raises:
        BlobError: the blob is damaged.
    """
    data = to_bytes(blob)
    sizes = call_core("decode blob", lambda: core().bundle_sizes(data))
    outs = [np.empty(size, np.float32) for size in sizes]
    decode_into(data, outs, onnx_types=[1] * len(outs))
    return outs


def decode_into(blob: Blob, outs: Sequence[npt.NDArray[Any]], *, onnx_types: Sequence[int]) -> None:
    """Decodes a blob into arrays of any element types that weights may have.

    Args:
        blob: bytes that `encode` gave.
        outs: an array for each tensor, C-contiguous and writable, num_weights elements of its
            type, any shape.
        onnx_types: the type of each: 1 float32, 10 float16, 11 float64, 16 bfloat16
            (TensorProto.DataType). Weights are rounded to nearest, ties to even.

    Raises:
        BlobError: the blob is damaged.
        InputError: `outs` or `onnx_types` do not fit.
    """
    flat = [to_output(out) for out in outs]
    types = list(onnx_types)
    call_core("decode blob", lambda: core().bundle_decode(to_bytes(blob), types, flat))


def check_sizes(blob: Blob, num_weights: Sequence[int]) -> None:
    """Checks that a blob holds tensors of these sizes, before anything is allocated for them.

    Args:
        blob: bytes that `encode` gave.
        num_weights: weights of each tensor.

    Raises:
        BlobError: the blob is damaged.
        InputError: it holds others.
    """
    data = to_bytes(blob)
    sizes = call_core("decode blob", lambda: core().bundle_sizes(data))
    if list(sizes) != list(num_weights):
        raise InputError(
            f"cannot decode blob: its tensors must have {_shorten(num_weights)} weights, "
            f"got {_shorten(sizes)}"
        )


def _shorten(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return f"[{shown}]" if len(numbers) <= 8 else f"[{shown}, ... ({len(numbers)} in all)]"


def inspect(blob: Blob) -> BundleInfo:
    """What a blob holds, after it was decoded to see what each tensor takes.

    Raises:
        BlobError: the blob is damaged; the message has the offset.
    """
    data = to_bytes(blob)
    tensors = call_core("read blob", lambda: core().bundle_describe(data))
    shares = _share_bytes(data.size, [fields.pop("bits") for fields in tensors])
    infos = tuple(
        BundleTensorInfo(
            kind=_KINDS[fields.pop("kind")],
            codebook=np.asarray(fields.pop("codebook"), np.float32),
            size_bits=8 * share,
            **fields,
        )
        for fields, share in zip(tensors, shares, strict=True)
    )
    return BundleInfo(infos, sum(info.num_weights for info in infos), data.size)


def _share_bytes(size_bytes: int, bits: Sequence[int]) -> list[int]:
    """Whole bytes in proportion to the bits; the frame is everyone's."""
    frame_bits = max(0, 8 * size_bytes - sum(bits)) / len(bits)
    ends = np.cumsum(np.asarray(bits, np.float64) + frame_bits)
    places = np.rint(ends * (size_bytes / ends[-1])).astype(np.int64)
    return [int(share) for share in np.diff(places, prepend=0)]


def _add(writer: Any, index: int, tensor: BundleTensor) -> None:
    given = [tensor.step, tensor.codebook, tensor.values]
    if sum(one is not None for one in given) != 1 or (
        (tensor.levels is None) != (tensor.values is not None)
    ):
        raise InputError(
            f"cannot encode bundle: tensor {index} must have levels and either a step or a "
            "codebook, or else values, got another choice"
        )
    weights = _to_weights(index, tensor)
    row_length = weights.size if tensor.row_length is None else tensor.row_length
    if not 0 <= row_length < 2**32:
        raise InputError(
            f"cannot encode bundle: row_length of tensor {index} must be from 1 to the number of "
            f"weights, got {row_length}"
        )
    if tensor.values is not None:
        is_half = tensor.values.dtype == np.float16
        writer.add_values(weights, row_length, is_half)
    elif tensor.step is not None:
        with np.errstate(over="ignore"):  # the core refuses what is infinite then
            step, offset = float(np.float32(tensor.step)), float(np.float32(tensor.offset))
        writer.add_step(weights, row_length, step, offset)
    else:
        if not 0 <= tensor.zero_index < 2**32:
            raise InputError(
                f"cannot encode bundle: zero_index of tensor {index} must be a centroid's number, "
                f"got {tensor.zero_index}"
            )
        if tensor.codebook_type not in ("float16", "float32"):
            raise InputError(
                f"cannot encode bundle: codebook_type of tensor {index} must be float16 or "
                f"float32, got {tensor.codebook_type!r}"
            )
        codebook = to_centroids(tensor.codebook if tensor.codebook is not None else [])
        is_half = tensor.codebook_type == "float16"
        writer.add_codebook(weights, row_length, codebook, tensor.zero_index, is_half)


def _to_weights(index: int, tensor: BundleTensor) -> npt.NDArray[Any]:
    """The levels as int32 or the values as float32, flat."""
    if tensor.values is not None:
        values = np.asarray(tensor.values)
        if values.ndim != 1 or values.dtype not in (np.float16, np.float32):
            raise InputError(
                f"cannot encode bundle: values of tensor {index} must be float16 or float32 [n], "
                f"got {values.dtype} {list(values.shape)}"
            )
        return np.ascontiguousarray(values, np.float32)
    levels = np.asarray(tensor.levels)
    if levels.ndim != 1 or (levels.size and levels.dtype.kind not in "ui"):
        raise InputError(
            f"cannot encode bundle: levels of tensor {index} must be integers [n], "
            f"got {levels.dtype} {list(levels.shape)}"
        )
    limit = np.iinfo(np.int32)
    if levels.size and not (limit.min <= int(levels.min()) <= int(levels.max()) <= limit.max):
        raise InputError(
            f"cannot encode bundle: levels of tensor {index} must be from -2**24 to 2**24, "
            f"got {int(levels.min())} to {int(levels.max())}"
        )
    return np.ascontiguousarray(levels, np.int32)
