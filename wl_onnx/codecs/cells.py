"""Analog memory cells: weights as levels, read back through a model of the device.

The blob holds what is written to the cells and what stays digital: scales, intervals, labels. A
read draws programming noise, drift and read noise, so that it gives other weights than were
written; the same seeds give the same weights.

Source: Isik, Choi, Zheng, Weissman, Ermon, Wong, Alaghi, "Neural network compression for noisy
storage devices", ACM TECS, 2023. The bytes are written down in FORMAT.md.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from wl_onnx.codecs import palette
from wl_onnx.codecs.arguments import Blob, call_core, to_bytes, to_output
from wl_onnx.codecs.cell_tensor import MAX_TIME_S, CellTensor, Lines, Symbol, check_tensor
from wl_onnx.codecs.container import seal
from wl_onnx.errors import BlobError, InputError
from wl_onnx.kernels.native import core, resolve_threads

__all__ = [
    "CellInfo",
    "CellTensor",
    "Lines",
    "Symbol",
    "decode",
    "decode_into",
    "encode",
    "inspect",
    "parse",
    "read",
]

_CODEC = 4
_FRAME = struct.Struct("<4sBBHQ")
_HEADER = struct.Struct("<BBBBIQff")
_PAIR, _INVERSE, _COMPENSATION = 1, 2, 4
_NEUTRAL_EXPONENT = 8  # half of what leaves a symbol's cells as they are


@dataclasses.dataclass(frozen=True)
class CellInfo:
    """What a blob says of itself.

    Attributes:
        num_weights: weights of the tensor.
        num_stored: weights that have cells.
        num_cells: analog cells; of pairs both.
        digital_bits: bits of what must not be noisy: scale, channel scales, symbols, lines,
            reference level, labels.
        label_bits: those of the labels alone.
        num_symbols: intervals.
        num_channels: channel scales; 0 for none.
        write_bits: bits of a level.
        is_pair: whether each weight has cells of either sign.
        inverts_response: whether a read inverts the mean response.
        compensates_drift: whether a reference read undoes the mean drift.
        tensor: the tensor's number in the draws.
        write_seed: the seed of programming and drift.
        time_s: time since programming.
        g_max: the device's largest mean conductance, in uS.
        has_drift: whether the device drifts.
        symbol_counts: integers [num_symbols], weights of each symbol.
        size_bytes: bytes of the whole blob.
    """

    num_weights: int
    num_stored: int
    num_cells: int
    digital_bits: int
    label_bits: int
    num_symbols: int
    num_channels: int
    write_bits: int
    is_pair: bool
    inverts_response: bool
    compensates_drift: bool
    tensor: int
    write_seed: int
    time_s: float
    g_max: float
    has_drift: bool
    symbol_counts: tuple[int, ...]
    size_bytes: int


def encode(tensor: CellTensor, *, threads: int = 1) -> bytes:
    """A blob of cells and of what belongs to them.

    The same arguments, `threads` aside, give the same bytes on every machine.

    Args:
        tensor: what is stored.
        threads: threads that encode; 0 means one for each core.

    Returns:
        The blob, checksum included.

    Raises:
        InputError: something is not as `CellTensor` says, or the device record is none.
    """
    check_tensor(tensor)
    flags = (
        _PAIR * tensor.is_pair
        | _INVERSE * tensor.inverts_response
        | _COMPENSATION * tensor.compensates_drift
    )
    labels = b""
    if len(tensor.symbols) > 1:
        labels = palette.encode(
            np.asarray(tensor.labels),
            codebook=np.arange(len(tensor.symbols), dtype=np.float32),
            row_length=tensor.row_length,
            codebook_type="float32",
            threads=threads,
        )
    levels = np.ascontiguousarray(tensor.levels, "<u1" if tensor.write_bits <= 8 else "<u2")
    num_stored = levels.size // (2 if tensor.is_pair else 1)
    blob = seal(
        b"".join(
            (
                _FRAME.pack(b"WLOX", 1, _CODEC, 0, tensor.num_weights),
                _HEADER.pack(
                    tensor.write_bits,
                    len(tensor.symbols),
                    flags,
                    0,
                    tensor.tensor,
                    tensor.write_seed,
                    tensor.time_s,
                    tensor.reference_level,
                ),
                struct.pack("<I", len(tensor.device_record)),
                tensor.device_record,
                struct.pack("<f", tensor.scale),
                _pack_channels(tensor),
                *(_pack_symbol(symbol) for symbol in tensor.symbols),
                _pack_exponents(tensor),
                struct.pack("<I", len(labels)),
                labels,
                struct.pack("<Q", num_stored),
                levels.tobytes(),
            )
        )
    )
    try:
        inspect(blob)
    except BlobError as error:  # the device record is what was not looked at before
        reason = str(error).removeprefix("cannot read blob: ")
        raise InputError(f"cannot encode cells: {reason}") from error
    return blob


def parse(blob: Blob) -> CellTensor:
    """What `encode` was given; numbers as they are stored.

    Where one of rows and columns had no exponents, it has one that changes nothing.

    Raises:
        BlobError: the blob is damaged; the message has the offset.
    """
    data = to_bytes(blob)
    fields = call_core("read blob", lambda: core().analog_parse(data))
    for name in ("row_exponents", "column_exponents"):
        if fields[name] is not None:
            exponents, inner = fields[name]
            fields[name] = Lines(np.frombuffer(exponents, np.uint8), inner)
    fields["symbols"] = tuple(Symbol(*symbol) for symbol in fields["symbols"])
    scales = np.frombuffer(fields["channel_scales"], np.float16)
    fields["channel_scales"] = scales if scales.size else None
    labels = np.frombuffer(fields["labels"], np.uint8)
    fields["labels"] = labels if labels.size else None
    width = np.uint8 if fields["write_bits"] <= 8 else np.dtype("<u2")
    fields["levels"] = np.frombuffer(fields["levels"], width).astype(np.uint16)
    return CellTensor(**fields)


def inspect(blob: Blob) -> CellInfo:
    """What a blob holds, after a check of everything in it.

    Raises:
        BlobError: the blob is damaged; the message has the offset.
    """
    data = to_bytes(blob)
    fields = call_core("read blob", lambda: core().analog_describe(data))
    fields["symbol_counts"] = tuple(fields["symbol_counts"])
    return CellInfo(size_bytes=data.size, **fields)


def decode(blob: Blob, *, threads: int = 1) -> npt.NDArray[np.float32]:
    """The weights as they were meant: the targets of the cells, without any noise.

    Args:
        blob: bytes that `encode` gave.
        threads: threads that decode; 0 means one for each core.

    Returns:
        float32 [num_weights]

    Raises:
        BlobError: the blob is damaged.
    """
    out = np.empty(inspect(blob).num_weights, np.float32)
    decode_into(blob, out, onnx_type=1, threads=threads)
    return out


def decode_into(blob: Blob, out: npt.NDArray[Any], *, onnx_type: int, threads: int = 1) -> None:
    """Decodes a blob's targets into an array of any element type that a weight may have.

    Args:
        blob: bytes that `encode` gave.
        out: C-contiguous and writable, num_weights elements of the type, any shape.
        onnx_type: 1 float32, 10 float16, 11 float64, 16 bfloat16 (TensorProto.DataType).
            Weights are rounded to nearest, ties to even.
        threads: threads that decode; 0 means one for each core.

    Raises:
        BlobError: the blob is damaged.
        InputError: `out` or `onnx_type` does not fit.
    """
    flat = to_output(out)
    call_core(
        "decode blob",
        lambda: core().analog_decode(to_bytes(blob), onnx_type, resolve_threads(threads), flat),
    )


def read(
    blob: Blob,
    *,
    write_seed: int | None = None,
    read_seed: int | None = None,
    time_s: float | None = None,
    threads: int = 0,
) -> npt.NDArray[np.float32]:
    """One noisy read, bit for bit what the operator gives.

    Args:
        blob: bytes that `encode` gave.
        write_seed: fixes programming and drift, 0 to 2**64 - 1; None: the blob's.
        read_seed: fixes the read noise, 0 to 2**63 - 1; None: other noise at each call.
        time_s: time since programming, 0 to 1e12 s; None: the blob's.
        threads: threads that read; 0 means one for each core. The weights do not depend on it.

    Returns:
        float32 [num_weights]

    Raises:
        BlobError: the blob is damaged.
        InputError: a seed or the time is out of its range.
    """
    info = inspect(blob)
    for name, value, limit in (
        ("write_seed", write_seed, 2**64 - 1),
        ("read_seed", read_seed, 2**63 - 1),
        ("time_s", time_s, MAX_TIME_S),
    ):
        if value is not None and not 0 <= value <= limit:
            raise InputError(f"cannot read cells: {name} must be from 0 to {limit}, got {value}")
    out = np.empty(info.num_weights, np.float32)
    call_core(
        "read cells",
        lambda: core().analog_read(
            to_bytes(blob),
            info.write_seed if write_seed is None else write_seed,
            -1 if read_seed is None else read_seed,
            info.time_s if time_s is None else time_s,
            1,
            resolve_threads(threads),
            to_output(out),
        ),
    )
    return out


def _pack_channels(tensor: CellTensor) -> bytes:
    if tensor.channel_scales is None:
        return struct.pack("<II", 0, 0)
    scales = np.asarray(tensor.channel_scales, "<f2")
    return struct.pack("<II", scales.size, tensor.channel_inner) + scales.tobytes()


def _pack_symbol(symbol: Symbol) -> bytes:
    # A sum with 0 makes +0 of -0: what is meant to be zero is +0.
    return struct.pack("<eeeB", symbol.low + 0.0, symbol.high + 0.0, symbol.curve, symbol.cells)


def _pack_exponents(tensor: CellTensor) -> bytes:
    if tensor.row_exponents is None and tensor.column_exponents is None:
        return b"\0"
    packed = [b"\1"]
    for lines in (tensor.row_exponents, tensor.column_exponents):
        known = lines or Lines(np.array([_NEUTRAL_EXPONENT], np.uint8), 1)
        exponents = np.asarray(known.exponents, np.uint8)
        nibbles = np.append(exponents, np.zeros(exponents.size % 2, np.uint8))
        packed.append(struct.pack("<II", exponents.size, known.inner))
        packed.append((nibbles[0::2] | nibbles[1::2] << 4).tobytes())
    return b"".join(packed)
