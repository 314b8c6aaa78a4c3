"""Whether a module is in training mode, as a value that its graph can pass on."""

from __future__ import annotations

from torch import nn

__all__ = ["TrainingFlag"]


# nn.Module is of no known type where torch is not installed.
class TrainingFlag(nn.Module):  # type: ignore[misc, unused-ignore]
    """Gives whether the module that it is part of was last told `train()` or `eval()`."""

    def forward(self) -> bool:
        """The flag."""
        return bool(self.training)
