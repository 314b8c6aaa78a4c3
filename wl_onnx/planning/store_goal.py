"""What storing a model is to reach, and which wishes do not go together."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from wl_onnx.analog.storage import Storage
from wl_onnx.errors import InputError

if TYPE_CHECKING:
    from wl_onnx.evaluation import Limits

__all__ = ["StorageGoal"]

_LEFT_TO_THE_SEARCH = ("cells", "sparsity", "mapping", "scale", "ranges")


@dataclasses.dataclass(frozen=True)
class StorageGoal:
    """Limits or a budget, and how they are measured; see `wl_onnx.store`.

    Attributes:
        limits: what may be lost on average.
        data: to calibrate on; None: nothing is measured.
        validation_data: to validate on; None: half of the data.
        cell_budget: most cells a weight, in place of limits; or None.
        analog_only: whether every weight that can be analog is.
        max_trials: most trials of the whole model.
        reads: writes and reads that a model is measured with.
    """

    limits: Limits
    data: Any = None
    validation_data: Any = None
    cell_budget: float | None = None
    analog_only: bool = False
    max_trials: int = 24
    reads: int = 20

    @property
    def is_searched(self) -> bool:
        """Whether there is something to search for."""
        return self.cell_budget is not None or self._has_limits

    @property
    def _has_limits(self) -> bool:
        limits = self.limits
        return any(one is not None for one in (limits.max_drop, limits.max_kl, limits.min_snr))

    def check(self, storage: Storage) -> None:
        """Refuses what is out of range or does not go together.

        Args:
            storage: the flags.

        Raises:
            InputError: something is, or does not.
        """
        budget = self.cell_budget
        if budget is not None and not (0 < budget < math.inf):
            raise InputError(f"cannot store weights: the cell budget must be above 0, got {budget}")
        for name, value in (("max_trials", self.max_trials), ("reads", self.reads)):
            if value < 1:
                raise InputError(
                    f"cannot store weights: {name} must be a whole number of at least 1, got "
                    f"{value}"
                )
        if self.is_searched:
            self._check_search(storage)
        elif self.analog_only:
            raise InputError(
                "cannot leave digital storage out: there must be a limit or a cell budget with "
                "analog_only, got neither; without them all weights are analog"
            )
        if self.data is not None:
            return
        if self.validation_data is not None:
            raise InputError(
                "cannot use validation_data: it must come with data to calibrate on, got none"
            )
        if self.is_searched:
            raise InputError(
                "cannot store weights within limits or a budget: there must be data to measure "
                "the loss on, got none"
            )
        if "sensitivity" in storage.protect:
            raise InputError(
                "cannot protect by sensitivity: there must be data to measure it on, got none"
            )

    def _check_search(self, storage: Storage) -> None:
        """Refuses flags that a search would not obey."""
        if self.cell_budget is not None and self._has_limits:
            raise InputError(
                "cannot store weights: there must be a cell budget or limits on the loss, got both"
            )
        default = Storage(storage.device)
        for name in _LEFT_TO_THE_SEARCH:
            value = getattr(storage, name)
            if value != getattr(default, name):
                raise InputError(
                    f"cannot store weights: {name} must be left to the search where there is a "
                    f"limit or a budget, got {value}"
                )
        left_out = sorted(default.protect - storage.protect)
        if left_out:
            raise InputError(
                "cannot store weights: protect must be left to the search where there is a limit "
                f"or a budget, got one without {', '.join(left_out)}"
            )
