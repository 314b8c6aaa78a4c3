"""Random sparse tensors, and whether a blob gives them back."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from figures import require

from wl_onnx.codecs import bloomier

__all__ = ["BITS", "CLUSTERS", "DENSITY", "LAYOUTS", "SparseTensor", "draw_tensor"]

DENSITY = 0.05
BITS = 9
CLUSTERS = 16
LAYOUTS = ("ribbon", "xor")


@dataclasses.dataclass(frozen=True)
class SparseTensor:
    """Keys uint32 [n] ascending, their centroids uint16 [n], and the codebook float32 [c]."""

    num_weights: int
    indices: npt.NDArray[np.uint32]
    values: npt.NDArray[np.uint16]
    codebook: npt.NDArray[np.float32]

    @property
    def num_keys(self) -> int:
        return self.indices.size

    def encode(self, layout: str, hash_: str = "tabulation", threads: int = 1) -> bytes:
        return bloomier.encode(
            self.indices,
            self.values,
            num_weights=self.num_weights,
            codebook=self.codebook,
            bits=BITS,
            layout=layout,
            hash=hash_,
            threads=threads,
        )

    def check(self, weights: npt.NDArray[np.float32], what: str) -> None:
        """Raises unless every stored key has its value and the others a plausible share of 0."""
        wrong = int((weights[self.indices] != self.codebook[self.values]).sum())
        require(wrong == 0, f"{what}: every stored key decodes to its value", f"{wrong} wrong")
        others = self.num_weights - self.num_keys
        share = (int(np.count_nonzero(weights)) - self.num_keys) / others
        expected = CLUSTERS / 2**BITS
        slack = 6 * (expected * (1 - expected) / others) ** 0.5
        near = abs(share - expected) <= slack
        require(near, f"{what}: false positives near {expected:.4f}", f"{share:.5f}")


def draw_tensor(num_weights: int, num_keys: int | None = None, seed: int = 0) -> SparseTensor:
    """Keys drawn without replacement, 5 % of the weights unless a number is given."""
    rng = np.random.default_rng(seed)
    count = round(num_weights * DENSITY) if num_keys is None else num_keys
    indices = rng.choice(num_weights, count, replace=False, shuffle=False)
    indices.sort()
    values = rng.integers(0, CLUSTERS, count)
    # No centroid is 0, so that a stored key and a zero weight can be told apart.
    codebook = np.linspace(-1.5, 1.5, CLUSTERS).astype(np.float32)
    stored = codebook.astype(np.float16).astype(np.float32)
    return SparseTensor(num_weights, indices.astype(np.uint32), values.astype(np.uint16), stored)
