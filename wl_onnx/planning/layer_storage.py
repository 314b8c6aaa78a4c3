"""One layer's weight, analog or digital: whichever costs less."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from wl_onnx.graph import why_not_analog
from wl_onnx.planning.layer_cells import code_cells
from wl_onnx.planning.layer_coding import code_quantized, quantize_problem

if TYPE_CHECKING:
    from wl_onnx.planning.cell_writer import CellWriter
    from wl_onnx.planning.layer_problem import CodedLayer, LayerProblem, LayerSettings
    from wl_onnx.recipe import Recipe

__all__ = ["StorageCoder"]


@dataclasses.dataclass(frozen=True)
class StorageCoder:
    """Codes layers for cells, in which digital bits have their price too; see `LayerCoder`.

    Attributes:
        writer: has the device, and what a digital bit takes of a cell.
        numbers: by weight key, the number of the tensor in its model.
        analog_only: whether every weight that can be analog is.
    """

    writer: CellWriter
    numbers: Mapping[str, int]
    analog_only: bool = False

    def __call__(
        self, problem: LayerProblem, settings: LayerSettings, recipe: Recipe, *, threads: int
    ) -> CodedLayer:
        """The coding of least damage plus lambda times its cells, counted as bits."""
        site = problem.layer.site
        quantized = quantize_problem(problem, settings, threads=threads)
        coded = {}
        if why_not_analog(site) is None:
            coded["analog"] = code_cells(
                problem, settings, quantized, self.writer, number=self.numbers[site.key]
            )
        if not (self.analog_only and coded):
            digital = code_quantized(problem, quantized, settings, recipe, threads=threads)
            coded[digital.family] = digital
        best = min(coded.values(), key=lambda one: one.cost(settings.lam))
        tried = {name: (one.size_bits, one.damage) for name, one in coded.items()}
        return dataclasses.replace(best, tried=tried)
