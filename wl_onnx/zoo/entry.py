"""One model of a manifest: where it is, what its bytes must be, and how it is compressed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from wl_onnx.errors import InputError
from wl_onnx.recipe import BUILTIN_RECIPES, Recipe, load_recipe

__all__ = ["OWN_FIELD", "Entry", "check_model_path", "is_url", "parse_entry"]

OWN_FIELD = "wl_onnx"
"""The field of an entry's metadata that is ours."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class Entry:
    """A model of a zoo.

    Attributes:
        model: its name, which several versions may share.
        model_path: its file, relative to the source, with `/` between folders.
        source: the folder or the address that `model_path` is relative to.
        url: the file's own address, in place of one below the source.
        sha256: of the file, in hex; None of a local file that no manifest speaks of.
        size_bytes: of the file; None as `sha256`.
        onnx_version: release of ONNX that the model was made for; None where nobody says.
        opset_version: version of the default operator set; None where nobody says.
        tags: what it is for.
        io_ports: names, shapes and types of inputs and outputs, as the manifest has them.
        recipe: how it is compressed; None for the default.
    """

    model: str
    model_path: str
    source: str
    url: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    onnx_version: str | None = None
    opset_version: int | None = None
    tags: tuple[str, ...] = ()
    io_ports: Mapping[str, Any] | None = None
    recipe: Recipe | None = None

    @property
    def stem(self) -> str:
        """The file's name without its suffix, by which a model may be asked for too."""
        name = PurePosixPath(self.model_path).name
        return name.removesuffix(".onnx")

    @property
    def address(self) -> str | None:
        """Where the file is to be had from the network; None of a local one."""
        if self.url is not None:
            return self.url
        if not is_url(self.source):
            return None
        return f"{self.source.rstrip('/')}/{self.model_path}"

    @property
    def local_path(self) -> Path:
        """Where the file lies, of a local source."""
        return Path(self.source, *PurePosixPath(self.model_path).parts)


def is_url(text: str) -> bool:
    """Whether a text is an address that this package loads from."""
    return text.startswith(("http://", "https://"))


def check_model_path(model_path: str, where: str) -> None:
    """Refuses a path that does not stay below its folder, on any system.

    Args:
        model_path: as a manifest has it.
        where: what speaks of it, for the message.

    Raises:
        InputError: it is absolute, goes up, or has characters that paths should not have.
    """
    parts = model_path.split("/")
    is_plain = all(part not in ("", ".", "..") for part in parts)
    has_odd = any(char in '\\:*?"<>|' for char in model_path)
    if not is_plain or has_odd:
        raise InputError(
            f"cannot use {where}: model_path must stay within its folder, got {model_path!r}"
        )


def parse_entry(value: Any, source: str, where: str) -> Entry:
    """An entry of a manifest.

    Args:
        value: as JSON gives it.
        source: the folder or the address that its path is relative to.
        where: which entry of which manifest it is, for messages.

    Raises:
        InputError: a field is missing or is not what it must be.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"cannot use {where}: it must be an object, got {value!r:.60}")
    if _is_printable(value.get("model")):
        where = f"{where} ({value['model']})"
    model = _take(value, "model", str, where)
    model_path = _take(value, "model_path", str, where)
    check_model_path(model_path, where)
    metadata = _take(value, "metadata", Mapping, where)
    sha256 = _take(metadata, "model_sha", str, where, "metadata.").lower()
    if not _SHA256.fullmatch(sha256):
        raise InputError(
            f"cannot use {where}: metadata.model_sha must be 64 hexadecimal digits, got {sha256!r}"
        )
    size_bytes = _take(metadata, "model_bytes", int, where, "metadata.")
    if size_bytes < 1:
        raise InputError(
            f"cannot use {where}: metadata.model_bytes must be at least 1, got {size_bytes}"
        )
    if size_bytes >= 1 << 63:
        raise InputError(f"cannot use {where}: metadata.model_bytes must be below 2**63, got more")
    tags = metadata.get("tags", [])
    if not isinstance(tags, list) or not all(_is_printable(tag) for tag in tags):
        raise InputError(f"cannot use {where}: metadata.tags must be texts, got {tags!r:.60}")
    io_ports = metadata.get("io_ports")
    if io_ports is not None and not isinstance(io_ports, Mapping):
        raise InputError(
            f"cannot use {where}: metadata.io_ports must be an object, got {io_ports!r:.60}"
        )
    own = metadata.get(OWN_FIELD, {})
    if not isinstance(own, Mapping):
        raise InputError(f"cannot use {where}: metadata.{OWN_FIELD} must be an object, got {own!r}")
    url = own.get("url")
    if url is not None and not (isinstance(url, str) and is_url(url)):
        raise InputError(
            f"cannot use {where}: metadata.{OWN_FIELD}.url must begin with https://, got {url!r}"
        )
    return Entry(
        model=model,
        model_path=model_path,
        source=source,
        url=url,
        sha256=sha256,
        size_bytes=size_bytes,
        onnx_version=_take(value, "onnx_version", str, where),
        opset_version=_take(value, "opset_version", int, where),
        tags=tuple(tags),
        io_ports=io_ports,
        recipe=_parse_recipe(own.get("recipe"), where),
    )


def _take(fields: Mapping[str, Any], name: str, kind: type, where: str, prefix: str = "") -> Any:
    if name not in fields:
        raise InputError(f"cannot use {where}: it must have the field {prefix}{name}, got none")
    value = fields[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        kinds = {str: "a text", int: "a whole number", Mapping: "an object"}
        raise InputError(
            f"cannot use {where}: {prefix}{name} must be {kinds[kind]}, got {value!r:.60}"
        )
    if kind is str and not _is_printable(value):
        raise InputError(f"cannot use {where}: {prefix}{name} must be printable, got {value!r:.60}")
    return value


def _is_printable(value: Any) -> bool:
    """Whether a value is a text that a terminal can show, without control characters."""
    return isinstance(value, str) and value.isprintable()


def _parse_recipe(value: Any, where: str) -> Recipe | None:
    """A recipe by the name of a built-in one, or its fields.

    A path is not taken: a manifest from elsewhere must not have local files read.
    """
    if value is None:
        return None
    known = sorted(path.stem for path in BUILTIN_RECIPES.glob("*.toml"))
    if isinstance(value, Mapping) or value in known:
        try:
            return load_recipe(BUILTIN_RECIPES / f"{value}.toml" if value in known else value)
        except InputError as error:
            raise InputError(f"cannot use {where}: {error}") from error
    raise InputError(
        f"cannot use {where}: metadata.{OWN_FIELD}.recipe must be fields of a recipe or one of "
        f"{', '.join(known)}, got {value!r:.60}"
    )
