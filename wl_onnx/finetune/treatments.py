"""What may be done to a parameter while it trains: freeze, mask, cluster, read with noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from wl_onnx.analog import Device, Storage, find_device
from wl_onnx.errors import InputError
from wl_onnx.recipe import MAX_CLUSTERS

__all__ = ["Cluster", "Freeze", "Mask", "Noise", "Treatment", "order_treatments"]

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


@dataclasses.dataclass(frozen=True, eq=False)
class Noise:
    """The parameter is read from analog cells, anew at each use in training mode.

    In evaluation mode, and for `export_state`, it has no noise: these are the weights to give to
    `wl_onnx.store` with the same storage. See `device_noise.NoisyRead`.

    Attributes:
        device: a device of `wl_onnx.analog` or its name, as `--device` takes it; or a `Storage`,
            which says all that `store` may be told.
        cells: for each weight; None: 1.
        time_s: time since programming; None: a day.
        strength: factor of the errors, 1 being the device's.
        gradient: "straight-through": the read's is the weight's own; "exact": errors are
            differentiated as well, and draw weights to where they are read best.
        channel_axis: whose lines have scales of their own where the storage asks for them.
        seed: of the draws, 0 to 2**63 - 1; each parameter has its own draws.
        storage: how the weights lie in cells, from the fields above.

    Raises:
        InputError: a value is out of its range, or no device has the name.
    """

    device: str | Device | Storage = "pcm-nandakumar2019"
    cells: float | None = None
    time_s: float | None = None
    strength: float = 1.0
    gradient: Literal["straight-through", "exact"] = "straight-through"
    channel_axis: int = 0
    seed: int = 0
    storage: Storage = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Checks every field."""
        for name, value in (("cells", self.cells), ("time_s", self.time_s)):
            is_storage = isinstance(self.device, Storage)
            rule = "absent beside a Storage" if is_storage else "a number"
            is_good = value is None or (_is_number(value) and not is_storage)
            _require(is_good, f"{name} of Noise", rule, value)
        if isinstance(self.device, Storage):
            storage = self.device
        else:
            device = find_device(self.device) if isinstance(self.device, str) else self.device
            _require(isinstance(device, Device), "device of Noise", "a device or its name", device)
            base = Storage(device)
            storage = dataclasses.replace(
                base,
                cells=base.cells if self.cells is None else self.cells,
                time_s=base.time_s if self.time_s is None else self.time_s,
            )
        _set(self, "storage", storage)
        _require(
            _is_number(self.strength) and 0 <= self.strength < float("inf"),
            "strength of Noise", "finite and not negative", self.strength,
        )  # fmt: skip
        _require(
            self.gradient in ("straight-through", "exact"),
            "gradient of Noise", "straight-through or exact", self.gradient,
        )  # fmt: skip
        for name, value, most in (
            ("channel_axis", self.channel_axis, 1 << 8), ("seed", self.seed, 1 << 63),
        ):  # fmt: skip
            is_good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < most
            _require(is_good, f"{name} of Noise", f"a whole number below {most}", value)


Treatment: TypeAlias = Freeze | Mask | Cluster | Noise


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
                f"cannot attach to {name}: a treatment must be Freeze, Mask, Cluster or Noise, got "
                f"{one!r:.60}"
            )
        if type(one) in treatments:
            raise InputError(
                f"cannot attach to {name}: it must have one treatment of a kind, got "
                f"{type(one).__name__} twice"
            )
        treatments[type(one)] = one
    others = ", ".join(kind.__name__ for kind in treatments if kind not in (Freeze, Noise))
    if Freeze in treatments and others:
        raise InputError(
            f"cannot attach to {name}: Freeze must stand alone or with Noise, got it with {others}"
        )
    mask = treatments.get(Mask)
    if isinstance(mask, Mask) and mask.passes_gradient and Cluster in treatments:
        raise InputError(
            f"cannot attach to {name}: beside Cluster the gradient of Mask must be zero, got "
            f"{'regrow' if mask.regrow else 'straight-through'}; detach and attach Mask() first"
        )
    return tuple(treatments[kind] for kind in (Freeze, Mask, Cluster, Noise) if kind in treatments)


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
