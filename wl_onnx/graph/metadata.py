"""What a compressed model says about itself: operator domain and metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from wl_onnx.files import hash_file
from wl_onnx.graph.failures import model_error
from wl_onnx.graph.scopes import find_bodies

if TYPE_CHECKING:
    from onnx import ModelProto

    from wl_onnx.graph.model import CompressibleModel

__all__ = [
    "DOMAIN",
    "OPSET_VERSION",
    "PORTABLE_RECORD",
    "hash_source",
    "is_compressed",
    "is_portable",
    "read_metadata",
    "remove_metadata",
    "require_uncompressed",
    "write_metadata",
]

DOMAIN = "com.wl_onnx"
"""Domain of the operators, and prefix of the metadata."""

OPSET_VERSION = 1
"""Version of the operator set that this package writes and reads."""

PORTABLE_RECORD = "portable"
"""Name, without the domain, of the metadata that a portable file has."""


def is_compressed(model: CompressibleModel) -> bool:
    """Whether any node of the model, wherever it lies, is one of ours."""
    bodies = find_bodies(model.proto)
    return any(node.domain == DOMAIN for body in bodies for node in body.graph.node)


def is_portable(model: CompressibleModel) -> bool:
    """Whether standard operators decode weights of the model."""
    return PORTABLE_RECORD in read_metadata(model)


def require_uncompressed(model: CompressibleModel) -> None:
    """Checks that the model is not compressed already.

    Raises:
        ModelError: it is.
    """
    if is_compressed(model):
        raise model_error(
            f"cannot compress {model.name}: the model must not be compressed yet, got nodes of "
            f"{DOMAIN}; decompress it first"
        )
    if is_portable(model):
        raise model_error(
            f"cannot compress {model.name}: the model must not be compressed yet, got a portable "
            "file; decompress it first"
        )


def hash_source(model: CompressibleModel) -> str:
    """SHA-256 of the file that the model was read from, in hex; of its protobuf without one.

    External data is not covered: reading it all would double the time of a large compression.
    """
    if model.path is None:
        return hashlib.sha256(model.proto.SerializeToString(deterministic=True)).hexdigest()
    return hash_file(model.path)


def read_metadata(model: CompressibleModel) -> dict[str, str]:
    """Our metadata, by names without the domain: `version`, `recipe`, ..."""
    prefix = f"{DOMAIN}."
    return {
        entry.key[len(prefix) :]: entry.value
        for entry in model.proto.metadata_props
        if entry.key.startswith(prefix)
    }


def write_metadata(model: CompressibleModel, values: Mapping[str, str]) -> None:
    """Writes our metadata in place of any that was there; other pairs stay as they are.

    Args:
        model: the model, changed in place.
        values: texts by names without the domain: `version`, `recipe`, ...
    """
    remove_metadata(model.proto)
    for name, value in values.items():
        model.proto.metadata_props.add(key=f"{DOMAIN}.{name}", value=value)


def remove_metadata(proto: ModelProto) -> None:
    """Removes our metadata."""
    for index in reversed(range(len(proto.metadata_props))):
        if proto.metadata_props[index].key.startswith(f"{DOMAIN}."):
            del proto.metadata_props[index]
