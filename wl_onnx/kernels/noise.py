"""Noisy memory cells by the compiled core: programming, drift and reads, drawn by counter.

A draw depends on its seed, stream, tensor and cell alone, never on how cells are divided into calls
or threads. `wl_onnx.kernels.reference_noise` says the same in NumPy, codecs/FORMAT.md in words.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import BlobError, InputError
from wl_onnx.kernels.native import core, resolve_threads

__all__ = [
    "DRIFT_STREAM",
    "PROGRAMMING_STREAM",
    "READ_STREAM",
    "REFERENCE_START_STREAM",
    "REFERENCE_STREAM",
    "draw_normals",
    "mean_response",
    "philox_words",
    "program_cells",
    "read_cells",
]

# Streams of a seed; the read seed for READ_STREAM, the write seed for the others.
PROGRAMMING_STREAM = 0
DRIFT_STREAM = 1
READ_STREAM = 2
REFERENCE_STREAM = 3  # reference read at the time asked for
REFERENCE_START_STREAM = 4  # reference read at time 0

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


def philox_words(
    seed: int, stream: int, tensor: int, first: int, count: int
) -> npt.NDArray[np.uint32]:
    """The words of Philox4x32-10 that draws are made of.

    Args:
        seed: 0 to 2**64 - 1.
        stream: 0 to 2**32 - 1.
        tensor: likewise.
        first: number of the first block, 0 to 2**64 - 1.
        count: number of blocks; they follow modulo 2**64.

    Returns:
        uint32 `[count, 4]`.

    Example:
        >>> [hex(word) for word in philox_words(0, 0, 0, 0, 1)[0]]
        ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    words = np.empty((count, 4), np.uint32)
    core().philox_words(seed, stream, tensor, first, words)
    return words


def draw_normals(
    seed: int,
    stream: int,
    tensor: int,
    first: int,
    count: int,
    *,
    threads: int = 1,
    out: Float32 | None = None,
) -> Float32:
    """The standard normals of some cells.

    Args:
        seed: 0 to 2**64 - 1.
        stream: 0 to 2**32 - 1.
        tensor: likewise.
        first: number of the first cell; the last one must be below 2**64 - 64.
        count: number of cells.
        threads: threads to use; 0 means one for each core.
        out: where to write, float32 `[count]`, C-contiguous; None: a new array.

    Returns:
        float32 `[count]`, the same bits on every CPU, within 4 ulp of the exact function of the
        words.

    Raises:
        InputError: there is no such cell.
    """
    normals = np.empty(count, np.float32) if out is None else out
    try:
        core().draw_normals(seed, stream, tensor, first, resolve_threads(threads), normals)
    except ValueError as error:
        raise InputError(f"cannot draw normals: {error}") from error
    return normals


def program_cells(
    record: bytes,
    write_bits: int,
    levels: npt.NDArray[np.uint16],
    *,
    write_seed: int,
    tensor: int = 0,
    time_s: float = 0.0,
    first: int = 0,
    threads: int = 1,
    out: tuple[Float32, Float32] | None = None,
) -> tuple[Float32, Float32]:
    """Cells some time after they were programmed.

    Args:
        record: the device, as stored in a blob.
        write_bits: 1 to 16; levels are 0 to 2**write_bits - 1.
        levels: uint16 `[n]`, C-contiguous, the target of each cell.
        write_seed: fixes programming and drift, 0 to 2**64 - 1.
        tensor: number of the tensor, 0 to 2**32 - 1.
        time_s: seconds since programming, 0 to 1e12.
        first: number of the first cell.
        threads: threads to use; 0 means one for each core.
        out: two arrays to write to, float32 `[n]`, C-contiguous; None: new ones.

    Returns:
        float32 `[n]` each: conductances and standard deviations of a read of them, in microsiemens.
        The same bits on every CPU and for any number of threads.

    Raises:
        BlobError: the record is damaged.
        InputError: a level, the time or the write bits are out of range.
    """
    if out is None:
        out = np.empty(levels.size, np.float32), np.empty(levels.size, np.float32)
    try:
        core().program_cells(
            record, write_bits, write_seed, tensor, time_s, levels, first,
            resolve_threads(threads), *out
        )  # fmt: skip
    except ValueError as error:
        raise _translate("program cells", error) from error
    return out


def read_cells(
    conductances: Float32,
    deviations: Float32,
    *,
    read_seed: int,
    stream: int = READ_STREAM,
    tensor: int = 0,
    first: int = 0,
    threads: int = 1,
    out: Float32 | None = None,
) -> Float32:
    """One read of programmed cells: conductance plus noise, at least 0.

    Args:
        conductances: float32 `[n]`, C-contiguous, uS, of `program_cells`.
        deviations: likewise.
        read_seed: 0 to 2**64 - 1.
        stream: 0 to 2**32 - 1.
        tensor: number of the tensor, 0 to 2**32 - 1.
        first: number of the first cell.
        threads: threads to use; 0 means one for each core.
        out: where to write, float32 `[n]`, C-contiguous; may be one of the inputs. None: a new
            array.

    Returns:
        float32 `[n]`, uS; the same bits on every CPU and for any number of threads.

    Raises:
        InputError: sizes differ, or there is no such cell.
    """
    reads = np.empty(conductances.size, np.float32) if out is None else out
    try:
        core().read_cells(
            read_seed, stream, tensor, conductances, deviations, first,
            resolve_threads(threads), reads
        )  # fmt: skip
    except ValueError as error:
        raise InputError(f"cannot read cells: {error}") from error
    return reads


def mean_response(record: bytes, targets: npt.ArrayLike, *, time_s: float = 0.0) -> Float64:
    """The expected conductance of cells, with programming noise and drift, before the read.

    Args:
        record: the device, as stored in a blob.
        targets: levels as shares of the largest one, 0 to 1, any shape.
        time_s: seconds since programming, 0 to 1e12.

    Returns:
        float64 of the same shape, uS, in closed form.

    Raises:
        BlobError: the record is damaged.
        InputError: a target or the time is out of range.
    """
    flat = np.ascontiguousarray(targets, np.float64)
    means = np.empty(flat.size)
    try:
        core().mean_response(record, time_s, flat.reshape(-1), means)
    except ValueError as error:
        raise _translate("tell a device's response", error) from error
    return means.reshape(np.shape(targets))


def _translate(action: str, error: ValueError) -> BlobError | InputError:
    kind = BlobError if isinstance(error, core().DamagedError) else InputError
    return kind(f"cannot {action}: {error}")
