"""The palette: codebook indices, coded without loss and decoded fast.

The indices are entropy-coded by interleaved rANS with static frequencies. Where it pays, the rows
and the columns of the tensor are sorted into classes, and each pair of classes has frequencies of
its own: dead inputs and dead neurons cost next to nothing.

Source: Duda, "Asymmetric numeral systems", arXiv:1311.2540, 2013; interleaving after Giesen,
"Interleaved entropy coders", arXiv:1402.3392, 2014. The bytes are written down in FORMAT.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wl_onnx.codecs.arguments import (
    CODEBOOK_TYPES,
    Blob,
    call_core,
    to_bytes,
    to_centroids,
    to_choice,
    to_integers,
    to_name,
    to_output,
)
from wl_onnx.codecs.container import MAX_WEIGHTS, seal
from wl_onnx.errors import InputError
from wl_onnx.kernels.native import core, resolve_threads

__all__ = [
    "PaletteInfo",
    "decode",
    "decode_codes",
    "decode_into",
    "encode",
    "inspect",
    "with_codebook",
]

_SCHEME_OFFSET = 16  # behind the frame's magic, version, codec and number of weights
_IS_REGULAR = 2
_REGULAR_BYTES = 4 + 2


@dataclasses.dataclass(frozen=True)
class PaletteInfo:
    """What a blob says of itself.

    Attributes:
        num_weights: weights of the tensor.
        num_clusters: number of centroids.
        codebook: float32 [num_clusters], the centroids as stored.
        codebook_type: "float16" or "float32".
        codebook_bytes: bytes of the centroids; fewer where they lie at even distances.
        row_length: length of the rows of the matrix whose rows or columns have classes, else 0.
        num_row_classes: classes of rows, 1 to 8.
        num_column_classes: classes of columns, 1 to 8.
        num_chunks: parts that can be decoded each by itself.
        num_lanes: interleaved rANS states of a chunk.
        probability_bits: frequencies add up to 2**probability_bits.
        model_bytes: bytes of the classes and frequencies.
        size_bytes: bytes of the whole blob.
    """

    num_weights: int
    num_clusters: int
    codebook: npt.NDArray[np.float32]
    codebook_type: str
    codebook_bytes: int
    row_length: int
    num_row_classes: int
    num_column_classes: int
    num_chunks: int
    num_lanes: int
    probability_bits: int
    model_bytes: int
    size_bytes: int


def encode(
    codes: npt.ArrayLike,
    *,
    codebook: npt.ArrayLike,
    row_length: int | Sequence[int] | None = None,
    codebook_type: str = "float16",
    threads: int = 1,
) -> bytes:
    """A blob that gives back each weight's centroid exactly.

    The same arguments, `threads` aside, give the same bytes on every machine.

    Args:
        codes: integers [n], the centroid of each weight in row-major order, 0 to c - 1; n is 1 to
            2**32 - 1.
        codebook: floats [c], the centroids, 1 to 4096 of them, finite. Zero is one like others.
        row_length: length of the rows of the tensor as a matrix whose rows or columns may differ
            in their statistics, 1 or more; the last row may be shorter. Of several the best is
            taken. None: the tensor is no matrix.
        codebook_type: "float16" or "float32", how centroids are stored.
        threads: threads that encode; 0 means one for each core.

    Returns:
        The blob, checksum included.

    Raises:
        InputError: an argument breaks a rule above.

    Example:
        >>> blob = encode([0, 2, 1, 0], codebook=[0.0, -1.0, 0.5])
        >>> decode(blob)
        array([ 0. ,  0.5, -1. ,  0. ], dtype=float32)
    """
    if row_length is None:
        lengths = []
    else:
        lengths = list(row_length) if isinstance(row_length, Sequence) else [row_length]
    for length in lengths:
        if not 1 <= length <= MAX_WEIGHTS:
            raise InputError(
                f"cannot encode weights: row_length must be from 1 to 2**32 - 1, got {length}"
            )
    body = call_core(
        "encode weights",
        lambda: core().palette_encode(
            to_integers(codes, np.uint16, "codes"),
            to_centroids(codebook),
            to_choice(codebook_type, CODEBOOK_TYPES, "codebook_type"),
            lengths,
            resolve_threads(threads),
        ),
    )
    return seal(body)


def decode(
    blob: Blob, *, threads: int = 1, out: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """The weights of a blob.

    Args:
        blob: bytes that `encode` gave.
        threads: threads that decode; 0 means one for each core.
        out: float32 [num_weights], C-contiguous, to write into instead of a new array.

    Returns:
        float32 [num_weights]: the centroid of each weight as it is stored, exactly.

    Raises:
        BlobError: the blob is damaged.
        InputError: `out` does not fit.
    """
    if out is None:
        out = np.empty(inspect(blob).num_weights, np.float32)
    elif out.dtype != np.float32:
        raise InputError(f"cannot decode blob: out must be float32, got {out.dtype}")
    decode_into(blob, out, onnx_type=1, threads=threads)
    return out


def decode_into(blob: Blob, out: npt.NDArray[Any], *, onnx_type: int, threads: int = 1) -> None:
    """Decodes a blob into an array of any element type that a weight may have.

    Args:
        blob: bytes that `encode` gave.
        out: C-contiguous and writable, num_weights elements of the type, any shape.
        onnx_type: 1 float32, 10 float16, 11 float64, 16 bfloat16 (TensorProto.DataType).
            Centroids are rounded to nearest, ties to even.
        threads: threads that decode; 0 means one for each core.

    Raises:
        BlobError: the blob is damaged.
        InputError: `out` or `onnx_type` does not fit.
    """
    flat = to_output(out)
    call_core(
        "decode blob",
        lambda: core().palette_decode(to_bytes(blob), onnx_type, resolve_threads(threads), flat),
    )


def decode_codes(blob: Blob, *, threads: int = 1) -> npt.NDArray[np.uint16]:
    """The centroid's number of each weight.

    Returns:
        uint16 [num_weights]: what `encode` was given.

    Raises:
        BlobError: the blob is damaged.
    """
    codes = np.empty(inspect(blob).num_weights, np.uint16)
    call_core(
        "decode blob",
        lambda: core().palette_decode_codes(to_bytes(blob), resolve_threads(threads), codes),
    )
    return codes


def inspect(blob: Blob) -> PaletteInfo:
    """What a blob holds, after a check of every length and of the checksum.

    Raises:
        BlobError: the blob is damaged; the message has the offset.
    """
    data = to_bytes(blob)
    fields = call_core("read blob", lambda: core().palette_describe(data))
    codebook = np.asarray(fields.pop("codebook"), np.float32)
    codebook_type = to_name(fields.pop("codebook_type"), CODEBOOK_TYPES)
    is_regular = bool(data[_SCHEME_OFFSET] & _IS_REGULAR)
    each_bytes = np.dtype(codebook_type).itemsize
    return PaletteInfo(
        num_clusters=codebook.size,
        codebook=codebook,
        codebook_type=codebook_type,
        codebook_bytes=_REGULAR_BYTES if is_regular else each_bytes * codebook.size,
        size_bytes=data.size,
        **fields,
    )


def with_codebook(blob: Blob, codebook: npt.ArrayLike) -> bytes:
    """The same indices with other centroids; centroids at even distances take less room.

    Args:
        blob: bytes that `encode` gave.
        codebook: floats [num_clusters], finite as they are stored.

    Raises:
        BlobError: the blob is damaged.
        InputError: the number of centroids differs, or one is not finite.
    """
    body = call_core(
        "change codebook",
        lambda: core().palette_with_codebook(to_bytes(blob), to_centroids(codebook)),
    )
    return seal(body)
