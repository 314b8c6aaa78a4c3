"""Trained centroids into the blob that a compressed model has of a weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wl_onnx.codecs import bloomier, palette
from wl_onnx.errors import InputError

if TYPE_CHECKING:
    from wl_onnx.graph import Decoder

__all__ = ["recode_weight"]


def recode_weight(decoder: Decoder, values: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """The blob of a weight with the centroids that new values have.

    Codes stay, so that the blob stays of about the same size; centroids are rounded to the blob's
    own type, float16 for most.

    Args:
        decoder: the weight in a compressed model.
        values: floats in its shape; equal where the blob has one code.

    Returns:
        uint8 [size].

    Raises:
        InputError: the weight has no codebook, or weights of one code differ.
        BlobError: the blob is damaged.
    """
    blob = decoder.blob
    flat = values.reshape(-1)
    if decoder.codec == "palette":
        codes, codebook = palette.decode_codes(blob), palette.inspect(blob).codebook.copy()
        _assign(decoder.key, codes, flat, codebook)
        return np.frombuffer(palette.with_codebook(blob, codebook), np.uint8)
    if decoder.codec == "bloomier":
        codes = bloomier.decode_codes(blob)
        table = np.concatenate(([np.float32(0)], bloomier.inspect(blob).codebook))
        _assign(decoder.key, codes, flat, table)
        if table[0] != 0:
            raise InputError(
                f"cannot put back {decoder.key}: weights that its filter leaves out must be 0, got "
                f"{table[0]:g}; put them into the original model"
            )
        return np.frombuffer(bloomier.with_codebook(blob, table[1:]), np.uint8)
    raise InputError(
        f"cannot put back {decoder.key}: it must keep its values in this compressed model, which "
        f"has it in a blob without centroids ({decoder.codec}), got others; put them into the "
        "original model"
    )


def _assign(
    key: str,
    codes: npt.NDArray[np.uint16],
    values: npt.NDArray[np.floating],
    codebook: npt.NDArray[np.float32],
) -> None:
    """Gives each code in use its weights' value."""
    used, firsts, back = np.unique(codes, return_index=True, return_inverse=True)
    centroids = values[firsts]
    differs = np.flatnonzero(values != centroids[back.reshape(-1)])
    if differs.size:
        at = differs[0]
        raise InputError(
            f"cannot put back {key}: weights of one centroid must be equal, got "
            f"{centroids[back.reshape(-1)[at]]:g} and {values[at]:g}; put them into the original "
            "model"
        )
    codebook[used] = centroids
