"""One layer's weight in analog cells, for least loss plus price of its cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wl_onnx.analog.allocation import MAX_CELLS, allocate_lines
from wl_onnx.analog.choice import choose_priced
from wl_onnx.analog.profile import make_profile
from wl_onnx.planning.cell_writer import Tensor
from wl_onnx.planning.layer_problem import CodedLayer
from wl_onnx.simplify.compensate import damp
from wl_onnx.simplify.surgeon import fit_kept

if TYPE_CHECKING:
    from wl_onnx.planning.cell_writer import CellWriter, StoredTensor
    from wl_onnx.planning.layer_coding import Quantized
    from wl_onnx.planning.layer_problem import LayerProblem, LayerSettings

__all__ = ["code_cells"]

Float64 = npt.NDArray[np.float64]

# Kept weights are fitted where that takes at most about so many multiplications, some seconds.
_MAX_FIT = 1e11


def code_cells(
    problem: LayerProblem,
    settings: LayerSettings,
    quantized: Quantized,
    writer: CellWriter,
    *,
    number: int,
) -> CodedLayer:
    """Stores a layer's weight in cells.

    Which weights are stored is what quantising at the same price leaves; those are fitted to the
    target, so that they make up for the others, and laid on as many ranges as pay for their digital
    bits. A digital bit costs settings.lam, a cell as much as the digital bits that it would hold.

    Args:
        problem: what the weight is to come close to.
        settings: the price and the damping.
        quantized: the weight as it is quantised at that price.
        writer: has the device, and what a digital bit takes of a cell.
        number: of the tensor in its model.
    """
    view = problem.view
    values = quantized.codebook[quantized.codes]
    kept = values != 0
    fitted = _fit(problem, kept, values, settings.damping)
    costs = problem.row_weights[:, :, None] * problem.energies[:, None, :]
    tensor = Tensor(
        np.ascontiguousarray(view.from_matrices(fitted)),
        np.ascontiguousarray(view.from_matrices(kept)),
        number,
        np.ascontiguousarray(view.from_matrices(costs)),
    )
    profile = make_profile(tensor.weights, tensor.kept, tensor.costs)
    choice = choose_priced(profile, "magnitude", writer.find_error, price_of_bit=settings.lam)
    stored = writer.store_mapped(tensor, choice.mapping)
    best = _finish(problem, tensor, stored)
    price = settings.lam * writer.storage.digital_bits_per_cell
    budget = _find_budget(tensor, stored, price)
    if budget > tensor.kept.sum():
        loss = tensor.weigh(stored.noise).reshape(tensor.lines)
        lines = allocate_lines(loss, tensor.kept.reshape(tensor.lines), budget)
        averaged = writer.store_mapped(tensor, choice.mapping, lines=lines)
        more = _finish(problem, tensor, averaged)
        if more.cost(settings.lam) < best.cost(settings.lam):
            return more
    return best


def _fit(
    problem: LayerProblem, kept: npt.NDArray[np.bool_], quantized: Float64, damping: float
) -> Float64:
    """The kept weights as they come nearest to the target; as quantised where that takes long."""
    counts = kept.sum(axis=2, dtype=np.float64)
    sizes = np.minimum(counts, kept.shape[2] - counts)  # of the systems that are solved
    if float((sizes**3).sum()) > _MAX_FIT:
        return quantized
    return fit_kept(problem.target, damp(problem.covariance, damping), kept)


def _find_budget(tensor: Tensor, stored: StoredTensor, price: float) -> float:
    """Cells at which one more for any weight saves as much loss as it costs."""
    losses = tensor.weigh(stored.noise)[tensor.kept]
    cells = np.rint(np.sqrt(losses / max(price, 1e-300)))
    return float(np.clip(cells, 1, MAX_CELLS).sum())


def _finish(problem: LayerProblem, tensor: Tensor, stored: StoredTensor) -> CodedLayer:
    values = np.asarray(problem.view.to_matrices(stored.values), np.float64)
    noise = float(tensor.weigh(stored.noise).sum())
    return CodedLayer(
        codec="analog",
        blob=stored.blob,
        tensor=None,
        size_bits=round(stored.ledger.total * stored.ledger.bits_per_cell),
        values=values,
        damage=problem.measure(values) + noise,
        fields=stored.describe(np.asarray(problem.layer.site.numpy(), np.float64)),
    )
