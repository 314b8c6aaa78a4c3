"""A model in its forms, and what a runtime has to give for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

# Of an output's largest value. Other versions and CPUs sum in another order.
TOLERANCE = 1e-4
# Within one runtime. A portable file is folded into the dense model's graph; of operators the
# weights are no constants, so that fusions which change the order of sums are left out.
TOLERANCES = {"portable": 0, "operators": 1e-5}

# Gives of each model all outputs, one behind the other, float32.
Run = Callable[[Sequence[Path]], list[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Forms:
    """Files with the same weights, and all outputs that the dense one has here, float32 [n]."""

    dense: Path
    operators: Path
    portable: Path
    expected: np.ndarray


@dataclasses.dataclass(frozen=True)
class Case:
    """One model by several recipes, and an input for it."""

    by_recipe: dict[str, Forms]
    source: Path  # float32 values of the input
    dims: tuple[int, ...]
    ir_version: int

    def check(self, run: Run, *, form: Literal["portable", "operators"] = "portable") -> None:
        """Fails unless `run` gives for a form what it gives for the dense model, and rightly."""
        forms = list(self.by_recipe.values())
        outputs = run([getattr(each, name) for each in forms for name in ("dense", form)])
        assert len(outputs) == 2 * len(forms) > 0
        for each, dense, other in zip(forms, outputs[::2], outputs[1::2], strict=True):
            scale = np.abs(each.expected).max()
            np.testing.assert_allclose(dense, each.expected, rtol=0, atol=TOLERANCE * scale)
            np.testing.assert_allclose(other, dense, rtol=0, atol=TOLERANCES[form] * scale)
