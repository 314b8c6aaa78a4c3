"""What may be done to a parameter while it trains: freeze, mask, cluster."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from wl_onnx.errors import InputError
from wl_onnx.recipe import MAX_CLUSTERS

__all__ = ["Cluster", "Freeze", "Mask", "Treatment", "order_treatments"]

# eq=False: two arrays are not simply equal or unequal.


@dataclasses.dataclass(frozen=True, eq=False)
class Freeze:
    """The parameter keeps its values, bit for bit.

    Attributes:
        values: floats in the parameter's shape that it takes and keeps; None: those it has.

    Raises:
        InputError: the values are not finite numbers.
    """

    values: npt.ArrayLike | None = None

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.values is not None:
            _set(self, "values", _to_finite(self.values, "values of Freeze"))


@dataclasses.dataclass(frozen=True, eq=False)
class Mask:
    """Some weights of the parameter are 0, exactly.

    Without an argument those are masked that are 0 already.

    With `regrow` the mask follows the training, as in dynamic network surgery (Guo, Yao and Chen,
    NeurIPS 2016, equation 3): a weight whose magnitude falls below 0.9 of the first threshold is
    masked, one that rises above 1.1 of it comes back, and between the two it stays what it is. The
    share of zeros follows too, and may drift from `sparsity`. To hold the mask, `detach` and
    attach `Mask()`.

    Attributes:
        sparsity: share of zeros in [0, 1); the smallest magnitudes become 0, those that are 0
            already first.
        mask: booleans in the parameter's shape; False is masked.
        gradient: of masked weights, "zero", or "straight-through": behind the mask they go on
            learning as if they were used. None: "straight-through" with `regrow`, else "zero".
        regrow: whether the mask is found anew at each call in training mode; needs `sparsity`.

    Raises:
        InputError: a value is out of its range, or two do not go together.
    """

    sparsity: float | None = None
    mask: npt.ArrayLike | None = None
    gradient: Literal["zero", "straight-through"] | None = None
    regrow: bool = False

    def __post_init__(self) -> None:
        """Checks every field."""
        if self.sparsity is not None:
            _require(
                _is_number(self.sparsity) and 0 <= self.sparsity < 1,
                "sparsity of Mask", "in [0, 1)", self.sparsity,
            )  # fmt: skip
        if self.mask is not None:
            mask = np.asarray(self.mask)
            is_boolean = mask.dtype == bool or bool(np.isin(mask, (0, 1)).all())
            _require(is_boolean, "mask of Mask", "booleans", _describe(mask))
            _set(self, "mask", mask.astype(bool))
            _require(
                self.sparsity is None, "sparsity of Mask", "absent beside a mask", self.sparsity
            )
        known = (None, "zero", "straight-through")
        _require(
            self.gradient in known, "gradient of Mask", "zero or straight-through", self.gradient
        )
        _require(isinstance(self.regrow, bool), "regrow of Mask", "True or False", self.regrow)
        if self.regrow:
            _require(
                self.sparsity is not None, "regrow of Mask", "beside a sparsity", "no sparsity"
            )
            _require(
                self.gradient != "zero", "gradient of Mask", "straight-through with regrow", "zero"
            )

    @property
    def passes_gradient(self) -> bool:
        """Whether masked weights learn behind the mask."""
        return self.regrow or self.gradient == "straight-through"


@dataclasses.dataclass(frozen=True, eq=False)
class Cluster:
    """The weights of the parameter share a few values, which are trained in their place.

    Which weight has which centroid is fixed; the gradient of a centroid is the sum of the
    gradients of its weights (Han, Mao and Dally, "Deep compression", ICLR 2016, section 3).
    Without an argument, the centroids are the distinct values that are there, at most 4,096.

    Attributes:
        clusters: number of centroids, 1 to 4096, sought by k-means; 0 is not counted where it is
            kept. There may be fewer, where there are fewer distinct values.
        codes: integers in the parameter's shape, the centroid of each weight, with `codebook`.
        codebook: floats [number of centroids], at most 4,096.
        keep_zero: whether weights that are 0 stay 0, exactly; those of a `Mask` do anyway.

    Raises:
        InputError: a value is out of its range, or two do not go together.
    """

    clusters: int | None = None
    codes: npt.ArrayLike | None = None
    codebook: npt.ArrayLike | None = None
    keep_zero: bool = True

    def __post_init__(self) -> None:
        """Checks every field."""
        if self.clusters is not None:
            is_int = isinstance(self.clusters, int) and not isinstance(self.clusters, bool)
            _require(
                is_int and 1 <= self.clusters <= MAX_CLUSTERS,
                "clusters of Cluster", f"a whole number from 1 to {MAX_CLUSTERS}", self.clusters,
            )  # fmt: skip
        _require(
            isinstance(self.keep_zero, bool),
            "keep_zero of Cluster",
            "True or False",
            self.keep_zero,
        )
        if self.codes is None and self.codebook is None:
            return
        _require(self.clusters is None, "clusters of Cluster", "absent beside codes", self.clusters)
        _require(
            self.codes is not None and self.codebook is not None,
            "codes and codebook of Cluster", "given together", "one of them",
        )  # fmt: skip
        codebook = _to_finite(self.codebook, "codebook of Cluster")
        _require(
            codebook.ndim == 1 and 1 <= codebook.size <= MAX_CLUSTERS,
            "codebook of Cluster", f"a list of 1 to {MAX_CLUSTERS} numbers", _describe(codebook),
        )  # fmt: skip
        codes = np.asarray(self.codes)
        _require(codes.dtype.kind in "iu", "codes of Cluster", "integers", _describe(codes))
        if codes.size:
            least, most = int(codes.min()), int(codes.max())
            _require(
                least >= 0 and most < codebook.size,
                "codes of Cluster", f"in 0..{codebook.size - 1}", least if least < 0 else most,
            )  # fmt: skip
        _set(self, "codes", codes)
        _set(self, "codebook", codebook)


Treatment: TypeAlias = Freeze | Mask | Cluster


def order_treatments(name: str, given: Any) -> tuple[Treatment, ...]:
    """The treatments of one parameter, in the order in which they act.

    Args:
        name: the parameter's, for messages.
        given: a treatment, several of them, or None for none.

    Raises:
        InputError: something else is given, or treatments that do not go together.
    """
    if given is None:
        return ()
    several = given if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    treatments: dict[type, Treatment] = {}
    for one in several:
        if not isinstance(one, Treatment):
            raise InputError(
                f"cannot attach to {name}: a treatment must be Freeze, Mask or Cluster, got "
                f"{one!r:.60}"
            )
        if type(one) in treatments:
            raise InputError(
                f"cannot attach to {name}: it must have one treatment of a kind, got "
                f"{type(one).__name__} twice"
            )
        treatments[type(one)] = one
    if Freeze in treatments and len(treatments) > 1:
        others = ", ".join(kind.__name__ for kind in treatments if kind is not Freeze)
        raise InputError(f"cannot attach to {name}: Freeze must stand alone, got it with {others}")
    mask = treatments.get(Mask)
    if isinstance(mask, Mask) and mask.passes_gradient and Cluster in treatments:
        raise InputError(
            f"cannot attach to {name}: beside Cluster the gradient of Mask must be zero, got "
            f"{'regrow' if mask.regrow else 'straight-through'}; detach and attach Mask() first"
        )
    return tuple(treatments[kind] for kind in (Freeze, Mask, Cluster) if kind in treatments)


def _to_finite(values: Any, what: str) -> npt.NDArray[Any]:
    array = np.asarray(values)
    try:
        is_finite = bool(np.isfinite(array.astype(np.float64)).all())
    except (TypeError, ValueError):
        is_finite = False
    _require(is_finite, what, "finite numbers", _describe(array))
    return array


def _describe(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _set(treatment: Any, field: str, value: Any) -> None:
    object.__setattr__(treatment, field, value)


def _require(condition: bool, what: str, rule: str, got: object) -> None:
    if not condition:
        raise InputError(f"cannot treat a parameter: {what} must be {rule}, got {got}")
