"""Whether a module is in training mode, as a value that its graph can pass on."""

from __future__ import annotations

from torch import nn

__all__ = ["TrainingFlag"]


class TrainingFlag(nn.Module):  # type: ignore[misc, unused-ignore]  Any where torch is absent
    """Gives whether the module that it is part of was last told `train()` or `eval()`."""

    def forward(self) -> bool:
        """The flag."""
        return bool(self.training)
