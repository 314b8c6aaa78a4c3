"""The Bloomier filter: a lossy static function from weight index to centroid.

Stored keys (the non-zero weights) always give back their value. Every other index gives a zero, or,
with probability `num_clusters / 2**bits`, a centroid: a false positive, the same at every decoding
and on every machine. The layout "prefix" gives each centroid a code of its own length; centroid j
then appears with probability 2**-length[j].

Source: Reagen, Gupta, Adolf, Mitzenmacher, Rush, Wei, Brooks, "Weightless: Lossy weight encoding
for deep neural network compression", ICML 2018. The bytes are written down in FORMAT.md.
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
from wl_onnx.codecs.container import CHECKSUM_BYTES, MAX_WEIGHTS, seal
from wl_onnx.errors import InputError
from wl_onnx.kernels.native import core, resolve_threads

__all__ = [
    "BlobInfo",
    "decode",
    "decode_codes",
    "decode_into",
    "encode",
    "inspect",
    "with_codebook",
]

_LAYOUTS = {"ribbon": 1, "xor": 2, "prefix": 3}
_HASHES = {"tabulation": 1, "murmur3": 2}

_HEADER_BYTES = 16 + 20


@dataclasses.dataclass(frozen=True)
class BlobInfo:
    """What a blob's header says.

    Attributes:
        layout: "ribbon", "xor" or "prefix".
        hash: "tabulation" or "murmur3".
        bits: bits of a cell, 1 to 16; of a "prefix" layout, of the longest code.
        lengths: uint8 [num_clusters], bits of each centroid's code; `bits` but for "prefix".
        num_weights: weights of the tensor.
        num_keys: stored keys, the weights that are surely right.
        num_clusters: number of centroids.
        codebook: float32 [num_clusters], the centroids as stored.
        codebook_type: "float16" or "float32".
        num_blocks: blocks with a table and a seed of their own.
        seed: seed of every hash.
        size_bytes: bytes of the whole blob.
    """

    layout: str
    hash: str
    bits: int
    lengths: npt.NDArray[np.uint8]
    num_weights: int
    num_keys: int
    num_clusters: int
    codebook: npt.NDArray[np.float32]
    codebook_type: str
    num_blocks: int
    seed: int
    size_bytes: int


def encode(
    indices: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    num_weights: int,
    codebook: npt.ArrayLike,
    bits: int | Sequence[int] | npt.NDArray[np.integer[Any]],
    layout: str = "ribbon",
    hash: str = "tabulation",  # noqa: A002  (the field's own name)
    seed: int = 0,
    threads: int = 1,
    codebook_type: str = "float16",
) -> bytes:
    """A blob that maps each index to its centroid and, mostly, every other index to zero.

    The same arguments, `threads` aside, give the same bytes on every machine.

    Args:
        indices: integers [n], strictly ascending flat row-major indices, below `num_weights`.
        values: integers [n], the centroid of each, 0 to c - 1.
        num_weights: weights of the tensor, 1 to 2**32 - 1.
        codebook: floats [c], the centroids, 1 to 4096 of them, finite.
        bits: bits of a cell, 1 to 16, with 2**bits >= c. For the layout "prefix", integers [c]:
            bits of each centroid's code, 1 to 16, where 2**-bits adds up to at most 1; one number
            stands for all centroids. `lengths.choose_lengths` gives good ones.
        layout: "ribbon", about 1.02 cells a key, or "xor", 1.24 cells and faster to decode, or
            "prefix", a ribbon whose keys have codes of different lengths.
        hash: "tabulation", the fast one, or "murmur3", which no pattern of indices can defeat.
        seed: seed of every hash, 0 to 2**32 - 1.
        threads: threads that construct; 0 means one for each core.
        codebook_type: "float16" or "float32", how centroids are stored.

    Returns:
        The blob, checksum included.

    Raises:
        InputError: an argument breaks a rule above.
        EncodeError: no table exists for one of 256 seeds; `hash="murmur3"` is the way out.

    Example:
        >>> blob = encode([3, 7], [1, 0], num_weights=8, codebook=[-1.0, 0.5], bits=16)
        >>> decode(blob)[[3, 7]]
        array([ 0.5, -1. ], dtype=float32)
    """
    if not 0 <= seed < 2**32:
        raise InputError(f"cannot encode weights: seed must be from 0 to 2**32 - 1, got {seed}")
    if not 1 <= num_weights <= MAX_WEIGHTS:
        raise InputError(
            f"cannot encode weights: num_weights must be from 1 to 2**32 - 1, got {num_weights}"
        )
    centroids = to_centroids(codebook)
    lengths = _code_lengths(bits, layout, centroids.size)
    body = call_core(
        "encode weights",
        lambda: core().bloomier_encode(
            to_integers(indices, np.uint32, "indices"),
            to_integers(values, np.uint16, "values"),
            num_weights,
            centroids,
            lengths,
            to_choice(layout, _LAYOUTS, "layout"),
            to_choice(hash, _HASHES, "hash"),
            to_choice(codebook_type, CODEBOOK_TYPES, "codebook_type"),
            seed,
            resolve_threads(threads),
        ),
        advice="; try hash=murmur3",
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
        float32 [num_weights]: the centroid of each stored key, exactly; for other indices zero or
        a false positive.

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
        lambda: core().bloomier_decode(to_bytes(blob), onnx_type, resolve_threads(threads), flat),
    )


def decode_codes(blob: Blob, *, threads: int = 1) -> npt.NDArray[np.uint16]:
    """The centroid's number of each weight.

    Returns:
        uint16 [num_weights]: 0 for a zero weight, j + 1 for centroid j.

    Raises:
        BlobError: the blob is damaged.
    """
    codes = np.empty(inspect(blob).num_weights, np.uint16)
    call_core(
        "decode blob",
        lambda: core().bloomier_decode_codes(to_bytes(blob), resolve_threads(threads), codes),
    )
    return codes


def inspect(blob: Blob) -> BlobInfo:
    """What a blob holds, after a check of every length and of the checksum.

    Raises:
        BlobError: the blob is damaged; the message has the offset.
    """
    data = to_bytes(blob)
    fields = call_core("read blob", lambda: core().bloomier_describe(data))
    return BlobInfo(
        layout=to_name(fields["layout"], _LAYOUTS),
        hash=to_name(fields["hash"], _HASHES),
        bits=fields["bits"],
        lengths=np.asarray(fields["lengths"], np.uint8),
        num_weights=fields["num_weights"],
        num_keys=fields["num_keys"],
        num_clusters=fields["num_clusters"],
        codebook=np.asarray(fields["codebook"], np.float32),
        codebook_type=to_name(fields["codebook_type"], CODEBOOK_TYPES),
        num_blocks=fields["num_blocks"],
        seed=fields["seed"],
        size_bytes=data.size,
    )


def with_codebook(blob: Blob, codebook: npt.ArrayLike) -> bytes:
    """The same filter with other centroids: keys and false positives stay where they are.

    Args:
        blob: bytes that `encode` gave.
        codebook: floats [num_clusters], finite as they are stored.

    Raises:
        BlobError: the blob is damaged.
        InputError: the number of centroids differs, or one is not finite.
    """
    info = inspect(blob)
    centroids = to_centroids(codebook)
    if centroids.size != info.num_clusters:
        raise InputError(
            f"cannot change codebook: it must have {info.num_clusters} centroids, "
            f"got {centroids.size}"
        )
    with np.errstate(over="ignore"):
        stored = centroids.astype("<f2" if info.codebook_type == "float16" else "<f4")
    if not np.isfinite(stored).all():
        raise InputError(
            f"cannot change codebook: centroids must be finite as {info.codebook_type}, "
            f"got {centroids[~np.isfinite(stored)][0]}"
        )
    body = bytearray(to_bytes(blob)[:-CHECKSUM_BYTES].tobytes())
    body[_HEADER_BYTES : _HEADER_BYTES + stored.nbytes] = stored.tobytes()
    return seal(bytes(body))


def _code_lengths(
    bits: int | Sequence[int] | npt.NDArray[np.integer[Any]], layout: str, num_clusters: int
) -> npt.NDArray[np.uint8]:
    """Bits of each centroid's code, uint8 [num_clusters]."""
    array = np.asarray(bits)
    if array.ndim > 0 and layout != "prefix":
        raise InputError(
            f"cannot encode weights: bits must be one number for the layout {layout}, "
            f"got {list(array.shape)}; the layout prefix takes one for each centroid"
        )
    if array.ndim > 0 and array.shape != (num_clusters,):
        raise InputError(
            f"cannot encode weights: bits must be one number or one for each of {num_clusters} "
            f"centroids, got {list(array.shape)}"
        )
    if array.size and array.dtype.kind not in "ui":
        raise InputError(f"cannot encode weights: bits must be whole numbers, got {array.dtype}")
    wrong = array[(array < 1) | (array > 16)]
    if wrong.size:
        raise InputError(f"cannot encode weights: bits must be from 1 to 16, got {wrong.flat[0]}")
    return np.ascontiguousarray(np.broadcast_to(array, num_clusters), np.uint8)
