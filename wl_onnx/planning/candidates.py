"""The codecs that a recipe allows for one tensor, and the smallest of what they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wl_onnx.planning.encoding import encode_weight
from wl_onnx.planning.palette import encode_palette

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

    Raises:
        EncodeError: no filter exists for the tensor's keys with the hash that the recipe names.
    """
    encoded = []
    codec = recipe.codec or "bloomier"
    if codec in ("bloomier", "auto"):
        encoded.append(encode_weight(name, values, recipe, threshold=threshold, threads=threads))
    if codec in ("palette", "auto"):
        encoded.append(encode_palette(values, shape, recipe, threshold=threshold, threads=threads))
    return min(encoded, key=lambda one: (one.fields["meets_share"] is False, len(one.blob)))
