"""The record of a portable file: what its nodes decode, as a line of JSON in the metadata.

A portable file is a graph of standard operators, from which nobody could tell a filter. The record
says of each weight how it was encoded, which tensors hold it, and what it decodes to.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import mmh3
import numpy as np

from wl_onnx.graph import read_metadata
from wl_onnx.graph.failures import model_error
from wl_onnx.graph.metadata import PORTABLE_RECORD
from wl_onnx.graph.scopes import form_key
from wl_onnx.graph.tensors import FLOAT_TYPES, count_bytes
from wl_onnx.portable.budget import FOLDED_VALUE_BYTES

if TYPE_CHECKING:
    import numpy.typing as npt

    from wl_onnx.graph import CompressibleModel

__all__ = ["WeightRecord", "digest_weight", "format_record", "read_record"]

_FORMAT = 1
_DIGEST_DIGITS = 32
_MAX_RANK = 32  # what arrays of every NumPy may have


@dataclasses.dataclass(frozen=True)
class WeightRecord:
    """One weight of a portable file.

    Attributes:
        name: the weight's name, which the last of its nodes gives.
        scope: of the graph or function that it lies in, see `Body`.
        codec: "bloomier" or "palette".
        shape: dimensions of the weight.
        data_type: ONNX element type of the weight: 1, 10, 11 or 16.
        tensors: by role, names of the initializers or Constant nodes that hold it.
        fields: all else that its form needs.
        digest: of the decoded weight, see `digest_weight`.
    """

    name: str
    scope: str
    codec: str
    shape: tuple[int, ...]
    data_type: int
    tensors: Mapping[str, str]
    fields: Mapping[str, Any]
    digest: str

    @property
    def key(self) -> str:
        """The weight's name, after the scope outside the main graph."""
        return form_key(self.scope, self.name)


def digest_weight(array: npt.NDArray[Any]) -> str:
    """Murmur3 (x64, 128 bits) of a weight's bytes, little-endian and row-major, in hex.

    It tells damage and slips, not forgery.
    """
    flat = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
    return mmh3.mmh3_x64_128_digest(flat.view(np.uint8).data).hex()


def format_record(weights: Iterable[WeightRecord]) -> str:
    """The record as it stands in the metadata."""
    entries = []
    for weight in weights:
        entry = dataclasses.asdict(weight)
        if not weight.scope:
            del entry["scope"]
        entries.append(entry)
    return json.dumps({"format": _FORMAT, "weights": entries}, separators=(",", ":"))


def read_record(model: CompressibleModel) -> list[WeightRecord]:
    """The weights that a portable file says it has; none where it is no portable file.

    Raises:
        ModelError: the record is damaged, or of a format not known here.
    """
    text = read_metadata(model).get(PORTABLE_RECORD)
    if text is None:
        return []
    require = _Requirement(model.name)
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise model_error(
            f"cannot read the portable record of {model.name}: it must be JSON, got {error}; "
            "the file is damaged"
        ) from error
    require(isinstance(record, dict), "it must be an object", record)
    require(
        type(record.get("format")) is int and record["format"] == _FORMAT,
        f"its format must be {_FORMAT}",
        record.get("format"),
    )
    require(isinstance(record.get("weights"), list), "it must list weights", record.get("weights"))
    weights = [_parse(entry, require) for entry in record["weights"]]
    known: set[tuple[str, str]] = set()
    for weight in weights:
        name = (weight.scope, weight.name)
        require(name not in known, "it must have each weight once", weight.key)
        known.add(name)
    return weights


class _Requirement:
    """Refuses a record that is not as it must be."""

    def __init__(self, model: str) -> None:
        self._model = model

    def __call__(self, holds: bool, what: str, got: object) -> None:
        if not holds:
            raise model_error(
                f"cannot read the portable record of {self._model}: {what}, got {got!r:.60}; "
                "the file is damaged"
            )


def _parse(entry: Any, require: Callable[[bool, str, object], None]) -> WeightRecord:
    require(isinstance(entry, dict), "its weights must be objects", entry)
    name, scope = entry.get("name"), entry.get("scope", "")
    require(isinstance(name, str) and bool(name), "a weight must have a name", name)
    require(isinstance(scope, str), f"{name} must have a text as its scope", scope)
    shape = entry.get("shape")
    are_sizes = isinstance(shape, list) and all(type(dim) is int and dim > 0 for dim in shape)
    require(are_sizes, f"{name} must have a shape", shape)
    require(len(shape) <= _MAX_RANK, f"{name} must have at most {_MAX_RANK} dimensions", shape)
    data_type = entry.get("data_type")
    require(
        type(data_type) is int and data_type in FLOAT_TYPES,
        f"{name} must have a data_type of 1, 10, 11 or 16",
        data_type,
    )
    # A filter decodes to any number of weights without a byte for each.
    size_bytes = count_bytes(data_type, shape) or 0
    require(
        size_bytes <= FOLDED_VALUE_BYTES,
        f"{name} must take at most {FOLDED_VALUE_BYTES} bytes decoded",
        shape,
    )
    require(isinstance(entry.get("codec"), str), f"{name} must have a codec", entry.get("codec"))
    tensors = entry.get("tensors")
    are_names = isinstance(tensors, dict) and all(isinstance(v, str) for v in tensors.values())
    require(are_names and bool(tensors), f"{name} must name its tensors", tensors)
    require(isinstance(entry.get("fields"), dict), f"{name} must have fields", entry.get("fields"))
    digest = entry.get("digest")
    is_digest = isinstance(digest, str) and len(digest) == _DIGEST_DIGITS
    require(is_digest, f"{name} must have a digest", digest)
    return WeightRecord(
        name=name,
        scope=scope,
        codec=entry["codec"],
        shape=tuple(shape),
        data_type=data_type,
        tensors=tensors,
        fields=entry["fields"],
        digest=digest,
    )
