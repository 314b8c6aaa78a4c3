"""The tensors of a graph that fine-tuning rewrites, as parameters of its torch module."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from wl_onnx.finetune.attribute_names import read_names
from wl_onnx.finetune.levels import Levels
from wl_onnx.graph import find_parameters, find_weights

if TYPE_CHECKING:
    from wl_onnx.graph import CompressibleModel
    from wl_onnx.recipe import Recipe

__all__ = ["TrainedTensor", "find_tensors"]


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedTensor:
    """A float32 initializer of the main graph that is a weight or a bias.

    Attributes:
        key: its name in the graph.
        attribute: its name in the module.
        module: the module.
        shape: dimensions.
        is_weight: whether some operator multiplies with it; else it is added.
    """

    key: str
    attribute: str
    module: nn.Module
    shape: tuple[int, ...]
    is_weight: bool

    @property
    def num_weights(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def row_length(self) -> int:
        """Length of the rows in the tensor's own order; a bias is one row."""
        return max(1, math.prod(self.shape[1:])) if self.is_weight else self.num_weights

    @property
    def original(self) -> Tensor:
        """The parameter that trains, whatever the module makes of it."""
        chain = self._chain
        parameter: Tensor = (
            getattr(self.module, self.attribute) if chain is None else chain.original
        )
        return parameter

    @property
    def treatment(self) -> nn.Module | None:
        """What stands between the parameter and the module, such as `Levels`; None: nothing."""
        chain = self._chain
        return None if chain is None else chain[-1]

    @property
    def _chain(self) -> Any:
        """The parametrisations of the parameter, or None."""
        if not parametrize.is_parametrized(self.module, self.attribute):
            return None
        chains: Any = self.module.parametrizations
        return chains[self.attribute]

    def treat(self, treatment: nn.Module) -> None:
        """Puts something between the parameter and the module, in place of what is there."""
        if self._chain is not None:
            parametrize.remove_parametrizations(self.module, self.attribute)
        parametrize.register_parametrization(self.module, self.attribute, treatment)

    def read_levels(self) -> npt.NDArray[np.int64]:
        """Of a tensor that is used as levels, these, in its shape."""
        treatment = self.treatment
        assert isinstance(treatment, Levels)  # noqa: S101  the caller's own error
        return treatment.read_levels(self.original)

    def read_values(self) -> npt.NDArray[np.float32]:
        """The tensor as the module uses it."""
        used: Tensor = getattr(self.module, self.attribute)
        return np.asarray(used.detach().cpu().numpy(), np.float32)


def find_tensors(
    module: nn.Module, model: CompressibleModel, recipe: Recipe
) -> list[TrainedTensor]:
    """The weights and biases that are trained and stored in another form, in file order.

    Parameters of normalisations, slopes, and what is no float32 parameter of the module train as
    they are.

    Args:
        module: what `to_torch` gave for the model.
        model: the model.
        recipe: which of them are selected.
    """
    attributes = {name: attribute for attribute, name in read_names(module).items()}
    trained = {name for name, p in module.named_parameters() if p.dtype == torch.float32}
    found = [
        (site.key, site.shape, True)
        for site in find_weights(model)
        if site.skip_reason is None and not site.scope
    ]
    found += [
        (parameter.key, parameter.shape, False)
        for parameter in find_parameters(model)
        if parameter.kind == "bias"
    ]
    return [
        TrainedTensor(key, attributes[key], module, shape, is_weight)
        for key, shape, is_weight in found
        if attributes.get(key) in trained
        and recipe.selects(key)
        and recipe.for_tensor(key) is not None
    ]
