"""How many cells a stored model takes for each of its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wl_onnx.codecs import cells
from wl_onnx.graph import find_stored, read_metadata

if TYPE_CHECKING:
    from wl_onnx.graph import CompressibleModel

__all__ = ["DIGITAL_BITS_PER_CELL", "cells_per_weight"]

DIGITAL_BITS_PER_CELL = 1.8
"""Two bits a cell, less a tenth for the code that corrects its errors."""

_METADATA_KEY = "cells_per_weight"


def cells_per_weight(model: CompressibleModel) -> float | None:
    """Cells a weight of a stored model, digital bits counted as cells.

    As its metadata say, where they do; else of the weights in blobs alone: analog cells, and 1.8
    digital bits a cell.

    Args:
        model: the model; left as it is.

    Returns:
        None where nothing is stored.

    Raises:
        ModelError: a node is malformed.
        BlobError: a blob is damaged.
    """
    try:
        return float(read_metadata(model)[_METADATA_KEY])
    except (KeyError, ValueError):
        pass
    analog, digital_bits, num_weights = 0, 0, 0
    bundles = set()
    for decoder in find_stored(model):
        num_weights += decoder.num_weights
        if decoder.codec == "analog":
            info = cells.inspect(decoder.blob)
            analog += info.num_cells
            digital_bits += info.digital_bits
        elif decoder.node.name not in bundles:
            digital_bits += 8 * decoder.blob_bytes
        if decoder.codec == "bundle":
            bundles.add(decoder.node.name)
    if not num_weights:
        return None
    return (analog + digital_bits / DIGITAL_BITS_PER_CELL) / num_weights
