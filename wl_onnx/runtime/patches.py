"""What a layer's weight matrix is multiplied with, cut out of an activation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    from wl_onnx.graph import LayerInput, Window

__all__ = ["cut_rows"]

Array = npt.NDArray[np.float32]

_CHUNK_BYTES = 1 << 26


def cut_rows(
    array: npt.NDArray[Any],
    layer_input: LayerInput,
    *,
    max_places: int | None = None,
    rng: np.random.Generator | None = None,
) -> Iterator[Array]:
    """The inputs of a layer's matrix, one a row, in pieces of about 64 MB.

    Args:
        array: the activation that the layer reads, of kind "rows" or "patches".
        layer_input: what the layer does with it.
        max_places: of a convolution with more places than this, so many are drawn for each
            sample, without repetition.
        rng: draws the places; needed with `max_places`.

    Yields:
        float32 `[num_groups, num_rows, num_columns]`.
    """
    if layer_input.kind == "rows":
        if array.ndim > 1 and layer_input.axis == -2:
            array = array.swapaxes(-1, -2)
        rows: npt.NDArray[Any] = array.reshape(1, -1, array.shape[-1])
        scale = np.float32(layer_input.scale)
        step = max(1, _CHUNK_BYTES // (4 * rows.shape[-1]))
        for start in range(0, rows.shape[1], step):
            yield rows[:, start : start + step].astype(np.float32) * scale
        return
    window = layer_input.window
    if window is None:
        raise ValueError(f"an input of kind {layer_input.kind} needs a window")
    windows = _slide(array, window)
    num_dims = len(window.kernel)
    places = windows.shape[2 : 2 + num_dims]
    num_places = int(np.prod(places))
    kept = num_places if max_places is None else min(max_places, num_places)
    num_columns = int(windows.shape[1] * np.prod(window.kernel))
    step = max(1, _CHUNK_BYTES // max(1, 4 * kept * num_columns))
    for start in range(0, len(windows), step):
        some = windows[start : start + step]
        some = some.transpose(0, *range(2, 2 + num_dims), 1, *range(2 + num_dims, some.ndim))
        if kept < num_places:
            if rng is None:
                raise ValueError("places are drawn with a generator")
            drawn = rng.permuted(np.tile(np.arange(num_places), (len(some), 1)), axis=1)[:, :kept]
            samples = np.repeat(np.arange(len(some)), kept)
            some = some[(samples, *np.unravel_index(drawn.reshape(-1), places))]
        rows = some.reshape(len(some) * (1 if kept < num_places else num_places), -1)
        grouped = rows.reshape(len(rows), window.num_groups, -1).swapaxes(0, 1)
        yield np.ascontiguousarray(grouped, np.float32)


def _slide(array: npt.NDArray[Any], window: Window) -> npt.NDArray[Any]:
    """A view of all patches: `[num_samples, num_channels, *places, *kernel]`."""
    num_dims = len(window.kernel)
    if window.spread:
        sizes = [(n - 1) * s + 1 for n, s in zip(array.shape[2:], window.spread, strict=True)]
        spread = np.zeros((*array.shape[:2], *sizes), array.dtype)
        spread[(slice(None), slice(None), *(slice(None, None, s) for s in window.spread))] = array
        array = spread
    reach = [d * (k - 1) + 1 for d, k in zip(window.dilations, window.kernel, strict=True)]
    pads = window.pads or _same_pads(array.shape[2:], reach, window)
    begins, ends = pads[:num_dims], pads[num_dims:]
    # Negative pads cut, as those of a transposed convolution may.
    padding = [(max(b, 0), max(e, 0)) for b, e in zip(begins, ends, strict=True)]
    array = np.pad(array, [(0, 0), (0, 0), *padding])
    cut = tuple(
        slice(max(-b, 0), size - max(-e, 0))
        for b, e, size in zip(begins, ends, array.shape[2:], strict=True)
    )
    array = array[(slice(None), slice(None), *cut)]
    windows = sliding_window_view(array, reach, tuple(range(2, 2 + num_dims)))
    strides = tuple(slice(None, None, s) for s in window.strides)
    kernel = tuple(slice(None, None, d) for d in window.dilations)
    windows = windows[(slice(None), slice(None), *strides, *kernel)]
    if window.is_transposed:
        windows = np.flip(windows, tuple(range(-num_dims, 0)))
    return windows


def _same_pads(shape: tuple[int, ...], reach: list[int], window: Window) -> tuple[int, ...]:
    totals = [
        max(0, (-(-size // stride) - 1) * stride + extent - size)
        for size, stride, extent in zip(shape, window.strides, reach, strict=True)
    ]
    small = [total // 2 for total in totals]
    large = [total - half for total, half in zip(totals, small, strict=True)]
    return (*small, *large) if window.auto_pad == "SAME_UPPER" else (*large, *small)
