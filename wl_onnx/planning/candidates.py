"""The codecs that a recipe allows for one tensor, and the smallest of what they make."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from wl_onnx.planning.encoding import encode_weight
from wl_onnx.planning.palette import encode_packed_palette, encode_palette
from wl_onnx.portable import measure_blob

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from wl_onnx.planning.encoding import EncodedWeight
    from wl_onnx.recipe import Recipe
    from wl_onnx.simplify import Threshold

__all__ = ["encode_smallest"]


def encode_smallest(
    name: str,
    values: npt.NDArray[np.float32],
    shape: Sequence[int],
    recipe: Recipe,
    *,
    threshold: Threshold | None = None,
    threads: int = 1,
    portable_type: int | None = None,
) -> EncodedWeight:
    """Encodes a tensor with the recipe's codec; for "auto", with that of fewer bytes.

    A codec that misses an automatic choice's `error_share` only wins over others that miss it too.

    Args:
        name: the weight's name, for messages.
        values: float32 [num_weights], finite.
        shape: the tensor's dimensions.
        recipe: how to encode.
        threshold: what to prune instead of the recipe's sparsity.
        threads: threads to use; 0 means one for each core. The result does not depend on it.
        portable_type: for a portable file, the ONNX element type of the tensor: sizes are those
            that it takes there, and palettes are made for whole bits a weight. None: for operators.

    Raises:
        InputError: the recipe's layout has no portable form.
        EncodeError: no filter exists for the tensor's keys with the hash that the recipe names.
    """
    encoded = []
    codec = recipe.codec or "bloomier"
    if codec in ("bloomier", "auto"):
        encoded.append(encode_weight(name, values, recipe, threshold=threshold, threads=threads))
    if codec in ("palette", "auto"):
        encode = encode_palette if portable_type is None else encode_packed_palette
        encoded.append(encode(values, shape, recipe, threshold=threshold, threads=threads))
    if portable_type is not None:
        encoded = [_measure(name, one, tuple(shape), portable_type) for one in encoded]
    return min(encoded, key=lambda one: (one.fields["meets_share"] is False, one.size_bytes))


def _measure(
    name: str, encoded: EncodedWeight, shape: tuple[int, ...], data_type: int
) -> EncodedWeight:
    """The weight with the sizes that it has in a portable file."""
    stored_bytes, portable_bytes = measure_blob(
        encoded.codec, encoded.blob, name=name, shape=shape, data_type=data_type
    )
    fields = {**encoded.fields, "size_bits": 8 * stored_bytes}
    return dataclasses.replace(encoded, fields=fields, portable_bytes=portable_bytes)
