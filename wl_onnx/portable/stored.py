"""What a portable file stores of a weight."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["PortableForm"]


@dataclasses.dataclass(frozen=True)
class PortableForm:
    """A compressed weight as tensors that standard operators can decode.

    Attributes:
        codec: "bloomier" or "palette".
        tensors: what the nodes read, by role: "cells", "codebook" and so on.
        fields: all else that the nodes and the way back need, as JSON takes it.
        folding_bytes: bytes of everything that the nodes give, the weight included; onnxruntime
            holds all of it at once while it creates a session.
        largest_bytes: bytes of the largest value among these.
    """

    codec: str
    tensors: dict[str, npt.NDArray[Any]]
    fields: dict[str, Any]
    folding_bytes: int = 0
    largest_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())
