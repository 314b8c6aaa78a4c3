"""What storage takes: analog cells, and digital bits as cells."""

from __future__ import annotations

import dataclasses
from typing import Any

__all__ = ["Ledger"]


@dataclasses.dataclass(frozen=True)
class Ledger:
    """All cells of a model or tensor.

    Attributes:
        analog_cells: cells that hold an analog value.
        digital_bits: everything else: signs, masks, ranges, scales, and tensors stored digitally.
        num_weights: weights that they stand for.
        bits_per_cell: digital bits that a cell holds.
    """

    analog_cells: int
    digital_bits: int
    num_weights: int
    bits_per_cell: float

    @property
    def digital_cells(self) -> float:
        """The digital bits as cells."""
        return self.digital_bits / self.bits_per_cell

    @property
    def total(self) -> float:
        """All cells."""
        return self.analog_cells + self.digital_cells

    @property
    def per_weight(self) -> float:
        """Cells a weight."""
        return self.total / max(1, self.num_weights)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "analog": self.analog_cells,
            "digital": self.digital_cells,
            "total": self.total,
            "per_weight": self.per_weight,
        }
