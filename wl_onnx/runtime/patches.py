"""What a layer's weight matrix is multiplied with, cut out of an activation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    from wl_onnx.graph import LayerInput, Window

__all__ = ["cut_rows", "fits_input", "fits_output"]

Activation = npt.NDArray[Any]
Array = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
Shape = tuple[int, ...]

_CHUNK_BYTES = 1 << 26


def cut_rows(
    inputs: Sequence[Activation],
    layer_input: LayerInput,
    *,
    outputs: Sequence[Activation] = (),
    max_places: int | None = None,
    rng: np.random.Generator | None = None,
) -> Iterator[list[Array]]:
    """What a layer's matrix is multiplied with, and what it adds to, in pieces of about 64 MB.

    Args:
        inputs: activations that the layer reads, of kind "rows" or "patches", all of one shape.
        layer_input: what the layer does with them.
        outputs: arrays of the shape of its output, see `fits_output`.
        max_places: of a convolution with more places than this, so many are drawn for each
            sample, without repetition, the same in all arrays.
        rng: draws the places; needed with `max_places`.

    Yields:
        For each input float32 `[num_groups, num_samples, num_columns]`, for each output
        `[num_groups, num_samples, num_rows]`.
    """
    if layer_input.kind == "rows":
        yield from _cut_vectors(inputs, layer_input, outputs)
        return
    if layer_input.window is None:
        raise ValueError(f"an input of kind {layer_input.kind} needs a window")
    yield from _cut_patches(inputs, layer_input.window, outputs, max_places, rng)


def fits_input(shape: Shape, layer_input: LayerInput, matrix_shape: tuple[int, int, int]) -> bool:
    """Whether a layer can read an array.

    Args:
        shape: the array's, of kind "rows" or "patches".
        layer_input: what the layer does with it.
        matrix_shape: groups, rows and columns of its matrices.
    """
    num_groups, _, num_columns = matrix_shape
    window = layer_input.window
    if window is None:
        axis = layer_input.axis if len(shape) > 1 else -1
        return len(shape) > 0 and shape[axis] == num_columns
    if len(shape) != 2 + len(window.kernel):
        return False
    is_wide = shape[1] * math.prod(window.kernel) == num_groups * num_columns
    return is_wide and min(_count_places(shape[2:], window)) > 0


def fits_output(
    shape: Shape, layer_input: LayerInput, matrix_shape: tuple[int, int, int], output: Shape
) -> bool:
    """Whether an array has the shape of a layer's output.

    Args:
        shape: of the layer's input, of kind "rows" or "patches".
        layer_input: what the layer does with it.
        matrix_shape: groups, rows and columns of its matrices.
        output: the array's shape.
    """
    num_rows = matrix_shape[0] * matrix_shape[1]
    if layer_input.window is not None:
        return output == (shape[0], num_rows, *_count_places(shape[2:], layer_input.window))
    if len(shape) < 2:
        return output == (num_rows,)
    others = _without(shape, layer_input.axis)
    return len(output) == len(shape) and (
        _without(output, layer_input.output_axis) == others
        and output[layer_input.output_axis] == num_rows
    )


def _without(shape: Shape, axis: int) -> Shape:
    return tuple(size for i, size in enumerate(shape) if i != axis % len(shape))


def _cut_vectors(
    inputs: Sequence[Activation], layer_input: LayerInput, outputs: Sequence[Activation]
) -> Iterator[list[Array]]:
    rows = [_as_vectors(array, layer_input.axis) for array in inputs]
    others = [_as_vectors(array, layer_input.output_axis) for array in outputs]
    scale = np.float32(layer_input.scale)
    step = max(1, _CHUNK_BYTES // max(1, 4 * rows[0].shape[-1]))
    for start in range(0, len(rows[0]), step):
        cut = slice(start, start + step)
        scaled = [one[cut].astype(np.float32, copy=False) for one in rows]
        if scale != 1:
            scaled = [one * scale for one in scaled]
        added = [one[cut].astype(np.float32, copy=False) for one in others]
        yield [one[None] for one in (*scaled, *added)]


def _as_vectors(array: Activation, axis: int) -> Activation:
    """All vectors along an axis, one a row; a view where it can be."""
    if array.ndim > 1 and axis == -2:
        array = array.swapaxes(-1, -2)
    return array.reshape(-1, array.shape[-1])


def _cut_patches(
    inputs: Sequence[Activation],
    window: Window,
    outputs: Sequence[Activation],
    max_places: int | None,
    rng: np.random.Generator | None,
) -> Iterator[list[Array]]:
    shape = inputs[0].shape
    places = _count_places(shape[2:], window)
    num_places = math.prod(places)
    kept = num_places if max_places is None else min(max_places, num_places)
    step = max(1, _CHUNK_BYTES // max(1, 4 * kept * shape[1] * math.prod(window.kernel)))
    for start in range(0, shape[0], step):
        read = [array[start : start + step] for array in inputs]
        added = [np.moveaxis(array[start : start + step], 1, -1) for array in outputs]
        if kept == num_places:
            rows = [_slide(array, window) for array in read]
        else:
            where = _draw_places(len(read[0]), places, kept, rng)
            rows = [_take_patches(array, window, where) for array in read]
            added = [array[where] for array in added]
        num_rows = len(read[0]) * kept
        yield [
            np.ascontiguousarray(
                array.reshape(num_rows, window.num_groups, -1).swapaxes(0, 1), np.float32
            )
            for array in (*rows, *added)
        ]


def _draw_places(
    num_samples: int, places: Shape, kept: int, rng: np.random.Generator | None
) -> tuple[Indices, ...]:
    """Sample and coordinates of drawn places."""
    if rng is None:
        raise ValueError("places are drawn with a generator")
    order = np.tile(np.arange(math.prod(places)), (num_samples, 1))
    drawn = rng.permuted(order, axis=1)[:, :kept].reshape(-1)
    return np.repeat(np.arange(num_samples), kept), *np.unravel_index(drawn, places)


def _take_patches(array: Activation, window: Window, where: Sequence[Indices]) -> Activation:
    """Patches at some places: `[num_patches, num_channels, kernel size]`."""
    # Channels last, so that each element of the kernel is one run of memory.
    padded = np.ascontiguousarray(np.moveaxis(_pad(array, window), 1, -1))
    sizes = padded.shape[:-1]
    begins = [index * step for index, step in zip(where[1:], window.strides, strict=True)]
    reached = np.indices(window.kernel).reshape(len(window.kernel), -1)
    reached *= np.array(window.dilations)[:, None]
    offsets = np.asarray(np.ravel_multi_index(tuple(reached), sizes[1:]))
    if window.is_transposed:
        offsets = np.flip(offsets)
    first = np.ravel_multi_index((where[0], *begins), sizes)
    taken = padded.reshape(-1, padded.shape[-1]).take(first[:, None] + offsets, axis=0)
    patches: Activation = taken.swapaxes(1, 2)
    return patches


def _count_places(sizes: Shape, window: Window) -> Shape:
    """Extent of a convolution's output."""
    if window.spread:
        sizes = tuple((n - 1) * s + 1 for n, s in zip(sizes, window.spread, strict=True))
    pads = window.pads or _same_pads(sizes, _find_reach(window), window)
    padded = [n + b + e for n, b, e in zip(sizes, pads, pads[len(sizes) :], strict=False)]
    return tuple(
        (size - extent) // stride + 1
        for size, extent, stride in zip(padded, _find_reach(window), window.strides, strict=True)
    )


def _find_reach(window: Window) -> list[int]:
    """Extent of the kernel with its dilations."""
    return [d * (k - 1) + 1 for d, k in zip(window.dilations, window.kernel, strict=True)]


def _slide(array: Activation, window: Window) -> Activation:
    """A view of all patches: `[num_samples, *places, num_channels, *kernel]`."""
    num_dims = len(window.kernel)
    windows = sliding_window_view(
        _pad(array, window), _find_reach(window), tuple(range(2, 2 + num_dims))
    )
    strides = tuple(slice(None, None, s) for s in window.strides)
    kernel = tuple(slice(None, None, d) for d in window.dilations)
    windows = windows[(slice(None), slice(None), *strides, *kernel)]
    if window.is_transposed:
        windows = np.flip(windows, tuple(range(-num_dims, 0)))
    return np.moveaxis(windows, 1, 1 + num_dims)


def _pad(array: Activation, window: Window) -> Activation:
    """A batch as the kernel slides over it: spread, padded, and cut where padding is negative."""
    num_dims = len(window.kernel)
    if window.spread:
        sizes = [(n - 1) * s + 1 for n, s in zip(array.shape[2:], window.spread, strict=True)]
        spread = np.zeros((*array.shape[:2], *sizes), array.dtype)
        spread[(slice(None), slice(None), *(slice(None, None, s) for s in window.spread))] = array
        array = spread
    pads = window.pads or _same_pads(array.shape[2:], _find_reach(window), window)
    begins, ends = pads[:num_dims], pads[num_dims:]
    padding = [(max(b, 0), max(e, 0)) for b, e in zip(begins, ends, strict=True)]
    array = np.pad(array, [(0, 0), (0, 0), *padding])
    cut = tuple(
        slice(max(-b, 0), size - max(-e, 0))
        for b, e, size in zip(begins, ends, array.shape[2:], strict=True)
    )
    return array[(slice(None), slice(None), *cut)]


def _same_pads(shape: tuple[int, ...], reach: list[int], window: Window) -> tuple[int, ...]:
    totals = [
        max(0, (-(-size // stride) - 1) * stride + extent - size)
        for size, stride, extent in zip(shape, window.strides, reach, strict=True)
    ]
    small = [total // 2 for total in totals]
    large = [total - half for total, half in zip(totals, small, strict=True)]
    return (*small, *large) if window.auto_pad == "SAME_UPPER" else (*large, *small)
