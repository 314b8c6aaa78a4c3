"""Models whose weights are stored in analog cells, straight from the codec."""

from __future__ import annotations

import numpy as np
import onnx

from wl_onnx.analog import find_device
from wl_onnx.codecs import cells
from wl_onnx.codecs.cell_tensor import CellTensor, Symbol
from wl_onnx.graph import (
    AnalogDefaults,
    Replacement,
    find_weights,
    load_model,
    replace_weights,
    to_proto,
)


def store_in_pairs(
    model: onnx.ModelProto, *, num_cells: int = 1, device: str = "pcm-nandakumar2019"
) -> onnx.ModelProto:
    """A model with every weight in pairs of averaged cells, scaled by tensor, drift compensated."""
    loaded = load_model(model)
    replacements = {}
    for number, site in enumerate(find_weights(loaded)):
        if site.skip_reason is not None:
            continue
        weights = site.numpy().astype(np.float32).ravel()
        scale = float(np.abs(weights).max())
        shares = np.concatenate([np.clip(weights, 0, None), np.clip(-weights, 0, None)]) / scale
        blob = cells.encode(
            CellTensor(
                num_weights=weights.size,
                symbols=(Symbol(0.0, 1.0, 0.0, num_cells),),
                labels=None,
                levels=np.rint(255 * shares).astype(np.uint16),
                device_record=find_device(device).record(),
                is_pair=True,
                compensates_drift=True,
                tensor=number,
                scale=scale,
            )
        )
        replacements[site.key] = Replacement(blob, "pairs", codec="analog")
    replace_weights(loaded, replacements, analog=AnalogDefaults())
    return to_proto(loaded)
