"""How many cells a model takes: all that stands for its initializers, analog and digital."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wl_onnx.analog.ledger import Ledger
from wl_onnx.analog.storage import DIGITAL_BITS_PER_CELL
from wl_onnx.codecs import cells
from wl_onnx.graph import (
    ANALOG_INPUTS,
    find_stored,
    find_weights,
    measure_tensors,
    read_metadata,
)
from wl_onnx.graph.tensors import inline_bytes

if TYPE_CHECKING:
    from wl_onnx.graph import CompressibleModel

__all__ = ["cells_per_weight", "count_cells", "count_weights"]


def count_weights(model: CompressibleModel) -> int:
    """The weights of a model that is not compressed: biases and the like are none."""
    return sum(site.num_weights for site in find_weights(model))


def count_cells(
    model: CompressibleModel, *, num_weights: int, digital_bits_per_cell: float
) -> Ledger:
    """The ledger of a model.

    All initializers count, those that are no weights too, and blobs with their headers. Of a blob
    of analog cells what a memory would hold counts: its cells, and of its digital part scales,
    symbols, lines and labels; levels, seeds and the device are the simulation's.

    Args:
        model: the model; compressed, or as it was.
        num_weights: that it has, or had.
        digital_bits_per_cell: what digital bits cost.
    """
    analog = {id(one.node): one for one in find_stored(model) if one.codec == "analog"}
    blobs = [one.blob for one in analog.values()]
    infos = [cells.inspect(blob) for blob in blobs]
    digital_bytes = measure_tensors(model) - sum(map(len, blobs))
    if blobs:
        controls = [one for one in model.proto.graph.initializer if one.name in ANALOG_INPUTS]
        digital_bytes -= sum(map(inline_bytes, controls))
    return Ledger(
        sum(info.num_cells for info in infos),
        8 * digital_bytes + sum(info.digital_bits for info in infos),
        num_weights,
        digital_bits_per_cell,
    )


def cells_per_weight(stored: CompressibleModel) -> float | None:
    """Cells a weight of a stored model: as its metadata say, else by the ledger.

    In the latter case of the weights in blobs, which may be less than the model had, and at the
    default cost of digital bits.

    Args:
        stored: the model; left as it is.

    Returns:
        None where nothing is stored in analog cells.

    Raises:
        ModelError: a node is malformed.
        BlobError: a blob is damaged.
    """
    decoders = find_stored(stored)
    if not any(one.codec == "analog" for one in decoders):
        return None
    try:
        return float(read_metadata(stored)["cells_per_weight"])
    except (KeyError, ValueError):
        num_weights = sum(one.num_weights for one in decoders)
    ledger = count_cells(
        stored, num_weights=num_weights, digital_bits_per_cell=DIGITAL_BITS_PER_CELL
    )
    return ledger.per_weight
