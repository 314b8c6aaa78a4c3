"""A graph and its torch module, as they change from stage to stage of a compression."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import onnx
import torch
from torch import nn

from wl_onnx.finetune.attribute_names import name_parameters
from wl_onnx.finetune.bridge import to_onnx, to_torch
from wl_onnx.finetune.filter_coding import FilteredWeight, encode_levels, measure_filter
from wl_onnx.finetune.levels import Levels, choose_level_step
from wl_onnx.finetune.packing import measure_levels, pack
from wl_onnx.finetune.parametrizations import Clustered
from wl_onnx.finetune.trained_tensors import TrainedTensor, find_tensors
from wl_onnx.graph import load_model, remove_dead_units

if TYPE_CHECKING:
    from wl_onnx.planning.assembly import Assembly
    from wl_onnx.recipe import Recipe

__all__ = ["Network"]

_Coded = TypeVar("_Coded")


class Network:
    """A graph and the module that trains in its place.

    A tensor is first trained as it is, then as levels, then, where it is put into a filter, as
    what the filter decodes to.

    Args:
        proto: the graph; not changed.
        recipe: which weights are selected, and how they are coded.
        module: what `to_torch` made of it, to be trained; None: it is made here.
        update_statistics: see `to_torch`; of every module that is made here.

    Attributes:
        proto: the graph as it is now, with the values of its last rebuilding.
        module: the module that trains.
        tensors: what is rewritten.
        filters: by weight key, those that are in a filter.
        lossless_bits: by weight key, what those took without loss.
    """

    def __init__(
        self,
        proto: onnx.ModelProto,
        recipe: Recipe,
        *,
        module: nn.Module | None = None,
        update_statistics: bool = False,
    ) -> None:
        self._recipe = recipe
        self._update_statistics = update_statistics
        self.filters: dict[str, FilteredWeight] = {}
        self.lossless_bits: dict[str, int] = {}
        self._build(proto, module)

    def _build(self, proto: onnx.ModelProto, module: nn.Module | None = None) -> None:
        self.proto = proto
        self.module: nn.Module = (
            to_torch(proto, update_statistics=self._update_statistics) if module is None else module
        )
        self.tensors = find_tensors(self.module, load_model(proto), self._recipe)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What trains, centroids of filters among it, by name; all that is not excluded.

        The order in which tensors were treated is none that an optimiser's state could be kept by.
        """
        return [
            parameter
            for name, parameter in sorted(name_parameters(self.module).items())
            if not any(fnmatch.fnmatchcase(name, glob) for glob in self._recipe.exclude)
        ]

    @property
    def is_quantized(self) -> bool:
        """Whether tensors are used as levels."""
        return any(isinstance(one.treatment, Levels) for one in self.tensors) or bool(self.filters)

    def zero_small(self, limits: Mapping[str, float]) -> None:
        """Makes values 0 whose magnitude is below their tensor's limit.

        Args:
            limits: by key.
        """
        with torch.no_grad():
            for one in self.tensors:
                if one.key in limits:
                    values = one.original
                    values.masked_fill_(values.abs() < limits[one.key], 0.0)

    def remove_dead_units(self) -> int:
        """Takes hidden units that make no difference out of the graph; how many weights went.

        Only before tensors are used as levels.
        """
        model = load_model(to_onnx(self.module, self.proto))
        before = sum(one.num_weights for one in self.tensors)
        remove_dead_units(model)
        self._build(model.proto)
        return before - sum(one.num_weights for one in self.tensors)

    def quantize(self, *, ratio: float, dead_zone: float, limits: Mapping[str, float]) -> None:
        """From now on tensors are used as levels.

        Args:
            ratio: of a step to the mean magnitude of what is not near 0.
            dead_zone: of weights, see `Levels`; biases have none.
            limits: by key, the magnitude below which a value is near 0.
        """
        for one in self.tensors:
            step = choose_level_step(one.original, ratio, limits.get(one.key, 0.0))
            one.treat(Levels(step, dead_zone if one.is_weight else 0.0))

    def put_into_filter(self, one: TrainedTensor, *, share: float) -> FilteredWeight:
        """From now on a weight is used as its filter decodes it; its centroids train on.

        Args:
            one: used as levels, not all of them 0.
            share: see `encode_levels`.
        """
        filtered = self._code(one, share, encode_levels)
        self.lossless_bits[one.key] = self.measure_bits()[one.key]
        self._use_filter(one, filtered)
        return filtered

    def _code(self, one: TrainedTensor, share: float, code: Callable[..., _Coded]) -> _Coded:
        """What a function of `filter_coding` gives for a tensor."""
        treatment = one.treatment
        assert isinstance(treatment, Levels)  # noqa: S101  the caller's own error
        own = self._recipe.for_tensor(one.key) or self._recipe
        return code(one.key, one.read_levels(), treatment.step, share=share, recipe=own)

    def _use_filter(self, one: TrainedTensor, filtered: FilteredWeight) -> None:
        self.filters[one.key] = filtered
        codes = torch.from_numpy(filtered.codes)
        one.treat(Clustered(codes, len(filtered.codebook)))
        with torch.no_grad():
            one.original.copy_(torch.from_numpy(filtered.codebook))

    def round_centroids(self) -> None:
        """Gives filters the centroids that were trained, the module these as they are stored."""
        for one in self.tensors:
            if one.key in self.filters:
                filtered = self.filters[one.key].with_codebook(one.original.detach().cpu().numpy())
                self.filters[one.key] = filtered
                with torch.no_grad():
                    one.original.copy_(torch.from_numpy(filtered.codebook))

    def measure_bits(self) -> dict[str, int]:
        """Bits of each tensor: those in a filter as there, the others coded together."""
        plain = [one for one in self.tensors if one.key not in self.filters]
        bits = measure_levels(plain, threads=self._recipe.threads)
        return bits | {key: 8 * len(one.blob) for key, one in self.filters.items()}

    def measure_bytes(self) -> int:
        """Bytes of all tensors."""
        return -(-sum(self.measure_bits().values()) // 8)

    def predict_bytes(self, min_elements: int, *, share: float) -> int:
        """Bytes of all tensors, once those that can be are in filters, as they are now.

        Args:
            min_elements: see `find_filterable`.
            share: see `encode_levels`.
        """
        bits = self.measure_bits()
        for one in self.find_filterable(min_elements):
            bits[one.key] = self._code(one, share, measure_filter)
        return -(-sum(bits.values()) // 8)

    def find_filterable(self, min_elements: int) -> list[TrainedTensor]:
        """Weights that can be put into a filter and are in none, the largest first.

        Args:
            min_elements: of smaller ones none is.
        """
        found = [
            one
            for one in self.tensors
            if one.is_weight
            and one.key not in self.filters
            and one.num_weights >= min_elements
            and one.read_levels().any()
        ]
        return sorted(found, key=lambda one: -one.num_weights)

    def to_model(self) -> onnx.ModelProto:
        """The graph with the values that the module uses."""
        return to_onnx(self.module, self.proto)

    def pack(self) -> tuple[onnx.ModelProto, Assembly]:
        """The graph with the values that the module uses, and what is to take their place."""
        self.round_centroids()
        proto = self.to_model()
        assembly = pack(
            load_model(proto), self.tensors, self.filters, self.lossless_bits, self._recipe
        )
        return proto, assembly

    def get_state(self) -> dict[str, Any]:
        """All that `from_state` needs, as plain values."""
        steps = {
            one.key: (one.treatment.step, one.treatment.dead_zone)
            for one in self.tensors
            if isinstance(one.treatment, Levels)
        }
        return {
            "proto": self.proto.SerializeToString(deterministic=True),
            "levels": steps,
            "filters": {
                key: (one.blob, one.stored_counts.tolist()) for key, one in self.filters.items()
            },
            "lossless_bits": dict(self.lossless_bits),
            "tensors": {name: t.detach().clone() for name, t in self.module.state_dict().items()},
        }

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], recipe: Recipe, *, update_statistics: bool = False
    ) -> Network:
        """The network that a state is of; see the class."""
        proto = onnx.ModelProto.FromString(state["proto"])
        network = cls(proto, recipe, update_statistics=update_statistics)
        network.lossless_bits = dict(state["lossless_bits"])
        for one in network.tensors:
            if one.key in state["filters"]:
                blob, counts = state["filters"][one.key]
                network._use_filter(one, FilteredWeight.of_blob(blob, counts, one.shape))
            elif one.key in state["levels"]:
                one.treat(Levels(*state["levels"][one.key]))
        network.module.load_state_dict(state["tensors"])
        return network
