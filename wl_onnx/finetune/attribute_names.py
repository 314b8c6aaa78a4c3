"""Names of initializers as attributes of a torch module, and back."""

from __future__ import annotations

import keyword
import re

from torch import fx, nn

from wl_onnx.errors import InputError

__all__ = ["AttributeNames", "name_parameters", "read_names", "write_names"]

_KEY = "initializer_names"


class AttributeNames:
    """Gives every value an attribute name that no other value and nothing of torch has."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def claim(self, name: str) -> str:
        """An identifier for a name: `conv1.weight` gives `conv1_weight`, `0.bias` gives `t_0_bias`.

        Each call gives a new one, with a number behind it where it is taken.
        """
        safe = re.sub(r"[^0-9A-Za-z_]", "_", name)
        if not re.match(r"[A-Za-z]", safe) or keyword.iskeyword(safe) or _is_taken(safe):
            safe = f"t_{safe.lstrip('_')}"
        wanted, number = safe, 1
        while safe in self._used:
            number += 1
            safe = f"{wanted}_{number}"
        self._used.add(safe)
        return safe


def write_names(module: fx.GraphModule, names: dict[str, str]) -> None:
    """Notes in a module which attribute is which initializer; deep copies keep it."""
    module.meta[_KEY] = dict(names)


def read_names(module: nn.Module) -> dict[str, str]:
    """The attributes of a module that are initializers, with their names in the graph.

    Raises:
        InputError: the module is not from `to_torch`.
    """
    names = getattr(module, "meta", {}).get(_KEY)
    if not isinstance(names, dict):
        raise InputError(
            "cannot tell initializers of a module: it must come from to_torch, got "
            f"{type(module).__name__}"
        )
    return dict(names)


def name_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """What trains, by name in the graph: behind its parametrisation where it has one.

    Raises:
        InputError: the module is not from `to_torch`.
    """
    names = read_names(module)
    found = {}
    for path, parameter in module.named_parameters():
        attribute = path.removeprefix("parametrizations.").removesuffix(".original")
        found[names.get(attribute, attribute)] = parameter
    return found


def _is_taken(name: str) -> bool:
    return hasattr(fx.GraphModule, name) or name in ("training", "meta", "graph", "self")
