"""The options of a compression, as one frozen value: from keywords, flags or a TOML file."""

from __future__ import annotations

import dataclasses
import fnmatch
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from wl_onnx.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "BUILTIN_RECIPES",
    "MAX_BITS",
    "MAX_CLUSTERS",
    "Recipe",
    "Rule",
    "is_number",
    "is_whole",
    "load_recipe",
    "parse_globs",
    "read_table",
    "require_field",
]

MAX_BITS = 16
MAX_CLUSTERS = 4096

BUILTIN_RECIPES = Path(__file__).parent / "recipes"

_CHOICES: dict[str, tuple[str, ...]] = {
    "layout": ("ribbon", "xor", "prefix"),
    "hash": ("auto", "tabulation", "murmur3"),
    "codebook": ("float16", "float32"),
    "prune_scope": ("tensor", "global"),
    "blobs": ("attribute", "initializer"),
    "codec": ("bloomier", "palette", "auto"),
}
_PER_TENSOR = (
    "codec",
    "sparsity",
    "clusters",
    "bits",
    "error_share",
    "layout",
    "hash",
    "codebook",
    "skip",
)


@dataclasses.dataclass(frozen=True)
class Rule:
    """What differs from the recipe for the weights whose name matches a glob.

    Attributes:
        match: glob over initializer names, case-sensitive, as in `fnmatch`.
        values: fields of `Recipe` that apply to a single tensor, or `skip` (bool).
    """

    match: str
    values: tuple[tuple[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model is compressed. The fields are the command line's flags.

    Attributes:
        codec: "bloomier", the filter; "palette", entropy-coded centroids without false positives;
            or "auto", whichever is smaller for a tensor. None: with calibration data "auto",
            else "bloomier".
        sparsity: share of a tensor's weights that are pruned, in [0, 1), or "auto".
        clusters: number of centroids, 1 to 4096; a palette with a sparsity of "auto" takes as many
            as its step needs.
        bits: bits of a filter cell, 1 to 16 and 2**bits >= clusters, or "auto". The layout "prefix"
            has codes of different length, with the error energy of codes of so many bits.
        error_share: error energy over weight energy that "auto" may add to a tensor, in (0, 1).
        layout: table layout of the filter, "ribbon" (smaller), "xor" (faster), or "prefix" (a
            ribbon with codes of different length, the smallest). None: "ribbon", and "xor" in a
            portable file.
        hash: "tabulation", "murmur3", or "auto": tabulation, and murmur3 for a tensor whose keys
            defeat tabulation.
        codebook: how centroids are stored.
        prune_scope: "tensor" prunes the share in each tensor, "global" by one threshold over all
            selected tensors; only with a given sparsity.
        min_elements: tensors with fewer elements are left as they are. None: with calibration data
            none is, else those with fewer than 1,024.
        include: globs over initializer names; empty means all.
        exclude: globs over initializer names that are left as they are.
        blobs: where blobs are stored: as node attributes or as uint8 initializers.
        seed: seed of every hash, 0 to 2**32 - 1.
        threads: threads that encode; 0 means one for each core.
        allow_growth: store tensors even where the blob is larger than what it replaces.
        rules: exceptions by glob; of several that match, the last wins, field by field.

    Raises:
        InputError: a value is out of its range; the message names the field.

    Example:
        >>> Recipe(sparsity=0.9, clusters=16, bits=9).bits
        9
    """

    codec: Literal["bloomier", "palette", "auto"] | None = None
    sparsity: float | Literal["auto"] = "auto"
    clusters: int = 16
    bits: int | Literal["auto"] = "auto"
    error_share: float = 0.02
    layout: str | None = None
    hash: str = "auto"
    codebook: str = "float16"
    prune_scope: str = "tensor"
    min_elements: int | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    blobs: Literal["attribute", "initializer"] = "attribute"
    seed: int = 0
    threads: int = 0
    allow_growth: bool = False
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        """Checks every field."""
        _check(self)

    @property
    def table_layout(self) -> str:
        """The layout of filters, "ribbon" where the recipe names none."""
        return self.layout or "ribbon"

    def for_tensor(self, name: str) -> Recipe | None:
        """The recipe that applies to one tensor, or None where a rule says skip."""
        changes: dict[str, Any] = {}
        for rule in self.rules:
            if fnmatch.fnmatchcase(name, rule.match):
                changes.update(rule.values)
        if changes.pop("skip", False):
            return None
        return dataclasses.replace(self, rules=(), **changes) if changes else self

    @property
    def globs(self) -> tuple[str, ...]:
        """All globs over names: of `include`, of `exclude` and of the rules."""
        return (*self.include, *self.exclude, *(rule.match for rule in self.rules))

    def selects(self, name: str) -> bool:
        """Whether `include` and `exclude` leave the tensor of this name in."""
        included = not self.include or any(fnmatch.fnmatchcase(name, g) for g in self.include)
        return included and not any(fnmatch.fnmatchcase(name, g) for g in self.exclude)


def load_recipe(source: str | Path | Mapping[str, Any], **overrides: Any) -> Recipe:
    """A recipe from a TOML file, the name of a built-in one or fields, with overrides on top.

    Args:
        source: path of a TOML file, a built-in recipe's name, or the fields as TOML gives them.
        **overrides: fields of `Recipe` that win over the source.

    Raises:
        InputError: no such recipe, not TOML, an unknown field, or a value out of range.
    """
    if isinstance(source, Mapping):
        return _from_table({**source, **overrides}, "from fields")
    return _from_table({**read_table(source, BUILTIN_RECIPES), **overrides}, str(source))


def read_table(source: str | Path, builtin: Path) -> dict[str, Any]:
    """The fields that a recipe's file sets.

    Args:
        source: path of a TOML file, or a built-in recipe's name.
        builtin: folder of the built-in recipes.

    Raises:
        InputError: no such recipe, or not TOML.
    """
    path = Path(source)
    if not path.suffix and not path.exists():
        path = builtin / f"{source}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in builtin.glob("*.toml")))
        raise InputError(
            f"cannot load recipe {source}: it must be a TOML file or one of {known}, "
            "got no such file"
        )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"cannot load recipe {source}: it must be TOML, got {error}") from error


def _from_table(table: Mapping[str, Any], source: str) -> Recipe:
    fields = {field.name for field in dataclasses.fields(Recipe)}
    values = dict(table)
    for name in values:
        if name not in fields:
            raise InputError(
                f"cannot load recipe {source}: fields must be among {', '.join(sorted(fields))}, "
                f"got {name}"
            )
    for name in ("include", "exclude"):
        if name in values:
            values[name] = parse_globs(values[name], name)
    rules = values.get("rules", ())
    if not isinstance(rules, (list, tuple)):
        raise InputError(f"cannot load recipe {source}: rules must be tables, got {rules!r}")
    values["rules"] = tuple(_rule(entry, source) for entry in rules)
    return Recipe(**values)


def _rule(entry: Any, source: str) -> Rule:
    if isinstance(entry, Rule):
        return entry
    if not isinstance(entry, Mapping) or not isinstance(entry.get("match"), str):
        raise InputError(
            f"cannot load recipe {source}: each rule must have a text `match`, got {entry!r}"
        )
    values = {name: value for name, value in entry.items() if name != "match"}
    for name in values:
        if name not in _PER_TENSOR:
            raise InputError(
                f"cannot load recipe {source}: the rule for {entry['match']} may set "
                f"{', '.join(_PER_TENSOR)}, got {name}"
            )
    return Rule(entry["match"], tuple(values.items()))


def parse_globs(value: Any, name: str) -> tuple[str, ...]:
    """The globs of a field, of which a file may have one as a text alone.

    Args:
        value: what the field holds.
        name: of the field.

    Raises:
        InputError: it holds something else.
    """
    globs = (value,) if isinstance(value, str) else value
    require_field(_are_texts(globs), name, "texts", value)
    return tuple(globs)


def _are_texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(text, str) for text in value)


def require_field(holds: bool, field: str, rule: str, value: Any) -> None:
    """Refuses a field's value.

    Args:
        holds: whether the value may stay.
        field: name of the field.
        rule: what the value must be.
        value: the value.

    Raises:
        InputError: it may not.
    """
    if not holds:
        raise InputError(f"cannot use recipe: {field} must be {rule}, got {value!r}")


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a number; NaN and infinity are."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check(recipe: Recipe) -> None:
    sparsity, bits, clusters = recipe.sparsity, recipe.bits, recipe.clusters
    require_field(
        sparsity == "auto" or (is_number(sparsity) and 0 <= float(sparsity) < 1),
        "sparsity",
        "auto or in [0, 1)",
        sparsity,
    )
    require_field(
        is_whole(clusters) and 1 <= clusters <= MAX_CLUSTERS,
        "clusters",
        f"a whole number from 1 to {MAX_CLUSTERS}",
        clusters,
    )
    require_field(
        bits == "auto" or (is_whole(bits) and 1 <= bits <= MAX_BITS),
        "bits",
        f"auto or a whole number from 1 to {MAX_BITS}",
        bits,
    )
    require_field(
        bits == "auto" or 2**bits >= clusters,
        "bits",
        f"at least log2 of clusters ({clusters})",
        bits,
    )
    require_field(
        is_number(recipe.error_share) and 0 < recipe.error_share < 1,
        "error_share",
        "in (0, 1)",
        recipe.error_share,
    )
    for field, choices in _CHOICES.items():
        value = getattr(recipe, field)
        is_left_open = value is None and field in ("codec", "layout")
        require_field(value in choices or is_left_open, field, " or ".join(choices), value)
    require_field(
        recipe.prune_scope == "tensor" or sparsity != "auto",
        "sparsity",
        "a number where prune_scope is global",
        sparsity,
    )
    require_field(
        recipe.min_elements is None or (is_whole(recipe.min_elements) and recipe.min_elements >= 1),
        "min_elements",
        "a whole number of at least 1",
        recipe.min_elements,
    )
    require_field(
        is_whole(recipe.seed) and 0 <= recipe.seed < 2**32,
        "seed",
        "a whole number from 0 to 2**32 - 1",
        recipe.seed,
    )
    require_field(
        is_whole(recipe.threads) and 0 <= recipe.threads <= 1024,
        "threads",
        "a whole number from 0 (one for each core) to 1024",
        recipe.threads,
    )
    for field in ("include", "exclude"):
        value = getattr(recipe, field)
        require_field(
            isinstance(value, tuple) and _are_texts(value), field, "a tuple of texts", value
        )
    require_field(
        isinstance(recipe.allow_growth, bool), "allow_growth", "true or false", recipe.allow_growth
    )
    for rule in recipe.rules:
        values = dict(rule.values)
        skip = values.pop("skip", False)
        require_field(isinstance(skip, bool), "skip of a rule", "true or false", skip)
        require_field(
            recipe.prune_scope == "tensor" or "sparsity" not in values,
            "sparsity of a rule",
            "absent where prune_scope is global",
            values.get("sparsity"),
        )
        dataclasses.replace(recipe, rules=(), **values)
