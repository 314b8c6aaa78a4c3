"""The operators that the bridge knows: one function each, by domain, type and version.

A function takes the node's inputs by position (None for one that is left out) and its attributes
by keyword, under the specification's names. Where an attribute became an input in a later version,
one parameter of that name serves both. Defaults of keywords are the specification's.
"""

from __future__ import annotations

import bisect
import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

__all__ = [
    "NEWEST_OPSET",
    "OLDEST_OPSET",
    "Operator",
    "find_operator",
    "known_versions",
    "operator",
]

OLDEST_OPSET = 7
NEWEST_OPSET = 28

Function = TypeVar("Function", bound=Callable[..., Any])
Check = Callable[[Mapping[str, Any]], "str | None"]


@dataclasses.dataclass(frozen=True)
class Operator:
    """An operator in one version.

    Attributes:
        function: computes it on tensors.
        host: positions of inputs that are Python numbers or tuples where the graph has them as
            constants: shapes, axes, limits.
        fixed: positions of inputs that are never trained; those of `host` are among them.
        is_arithmetic: whether an input that is one number is a constant of the formula rather
            than a parameter.
        check: says why attributes cannot be treated, or None where they can.
    """

    function: Callable[..., Any]
    host: frozenset[int]
    fixed: frozenset[int]
    is_arithmetic: bool
    check: Check | None

    def takes(self, keyword: str) -> bool:
        """Whether the function has a parameter of that name."""
        return keyword in inspect.signature(self.function).parameters


_OPERATORS: dict[tuple[str, str], dict[int, Operator]] = {}


def operator(
    name: str,
    *,
    since: Iterable[int],
    domain: str = "",
    host: Iterable[int] = (),
    fixed: Iterable[int] = (),
    is_arithmetic: bool = False,
    check: Check | None = None,
) -> Callable[[Function], Function]:
    """Enters a function as what computes an operator.

    Args:
        name: the operator's type.
        since: all versions, by the opset that each came with, that the function is right for.
        domain: the operator's domain.
        host: see `Operator`.
        fixed: see `Operator`; those of `host` need not be repeated.
        is_arithmetic: see `Operator`.
        check: see `Operator`.
    """

    def enter(function: Function) -> Function:
        versions = _OPERATORS.setdefault((domain, name), {})
        entry = Operator(
            function, frozenset(host), frozenset((*host, *fixed)), is_arithmetic, check
        )
        for version in since:
            if version in versions:
                raise ValueError(f"{name} of opset {version} is entered twice")
            versions[version] = entry
        return function

    return enter


def find_operator(domain: str, name: str, opset: int) -> Operator | None:
    """The operator that a node means in a model of some opset, or None if it is not known.

    Args:
        domain: the operator's domain; empty for ONNX's own.
        name: the operator's type.
        opset: the version of the domain that the model imports.
    """
    versions = _OPERATORS.get((domain, name), {})
    known = sorted(versions)
    index = bisect.bisect_right(known, opset)
    return versions[known[index - 1]] if index else None


def known_versions() -> dict[tuple[str, str], tuple[int, ...]]:
    """The versions of every operator that is known, by (domain, type)."""
    return {key: tuple(sorted(versions)) for key, versions in sorted(_OPERATORS.items())}
