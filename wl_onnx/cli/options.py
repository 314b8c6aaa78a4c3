"""The options that several commands share, and the recipe that they make."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from wl_onnx.errors import InputError
from wl_onnx.recipe import Recipe, load_recipe

__all__ = [
    "Force",
    "Json",
    "ModelPath",
    "OutputPath",
    "Quiet",
    "SampleData",
    "take_flags",
    "takes_recipe",
]

ModelPath = Annotated[Path, typer.Argument(help="An ONNX file.", show_default=False)]
OutputPath = Annotated[Path, typer.Option("-o", "--output", help="The file to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

SampleData = Annotated[
    Path | None,
    typer.Option(
        metavar="D.npz",
        help="Samples along axis 0, named after the inputs; top-1 with `labels` beside them. "
        "Standard-normal inputs where none are given.",
    ),
]

Codec = Annotated[
    str | None,
    typer.Option(
        metavar="bloomier|palette|auto",
        help="A filter, entropy-coded centroids, or the smaller. "
        "Default: bloomier; with --data auto.",
    ),
]
Sparsity = Annotated[
    str | None,
    typer.Option(metavar="auto|S", help="Share of weights to prune, in [0, 1). Default: auto."),
]
Clusters = Annotated[
    int | None, typer.Option(metavar="C", help="Centroids, 1 to 4096. Default: 16.")
]
Bits = Annotated[
    str | None,
    typer.Option(metavar="auto|T", help="Bits of a filter cell, 1 to 16. Default: auto."),
]
ErrorShare = Annotated[
    float | None,
    typer.Option(
        metavar="E", help="Error energy that auto may add, of each weight's. Default: 0.02."
    ),
]
Layout = Annotated[
    str | None,
    typer.Option(
        metavar="ribbon|xor|prefix",
        help="Smaller, faster, or smallest: codes of different length. "
        "Default: ribbon; with --portable xor.",
    ),
]
Hash = Annotated[
    str | None,
    typer.Option(
        "--hash",
        metavar="tabulation|murmur3",
        help="Hash of the filter. Default: tabulation, murmur3 where it fails.",
    ),
]
PruneScope = Annotated[
    str | None,
    typer.Option(
        metavar="tensor|global",
        help="Prune the share in each tensor, or by one threshold. Default: tensor.",
    ),
]
MinElements = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Leave tensors with fewer elements. Default: 1024; with --data none."
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB", help="Only initializers of these names; repeats."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(metavar="GLOB", help="Not initializers of these names; repeats."),
]
RecipeName = Annotated[
    str | None,
    typer.Option("--recipe", metavar="FILE|NAME", help="Options from TOML; others win over it."),
]
Blobs = Annotated[
    str | None,
    typer.Option(
        metavar="attribute|initializer", help="Where blobs are stored. Default: attribute."
    ),
]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Seed of the hashes. Default: 0.")]
Threads = Annotated[
    int | None, typer.Option(metavar="N", help="Threads; 0 is one a core. Default: 0.")
]
AllowGrowth = Annotated[
    bool, typer.Option("--allow-growth", help="Store tensors even where they grow.")
]


def takes_recipe(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the flags of a recipe, and calls it with the recipe that they make.

    Args:
        command: takes a keyword argument `recipe`, and parameters of its own.
    """
    return take_flags(command, "recipe", _recipe_flags, lambda **given: _make_recipe(**given))


def take_flags(
    command: Callable[..., None],
    name: str,
    declaration: Callable[..., None],
    make: Callable[..., Any],
) -> Callable[..., None]:
    """Gives a command flags, and calls it with one value that is made of them.

    Args:
        command: takes a keyword argument of that name, and parameters of its own.
        name: of the argument.
        declaration: its parameters are the flags.
        make: makes the value from the flags.
    """
    flags = inspect.signature(declaration, eval_str=True).parameters
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.name != name]

    @functools.wraps(command)
    def run(**arguments: Any) -> None:
        given = {flag: arguments.pop(flag) for flag in flags}
        command(**{name: make(**given)}, **arguments)

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *flags.values())]
    # typer reads both, and must not look behind them.
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    del run.__wrapped__
    return run


def _recipe_flags(
    codec: Codec = None,
    sparsity: Sparsity = None,
    clusters: Clusters = None,
    bits: Bits = None,
    error_share: ErrorShare = None,
    layout: Layout = None,
    hash_: Hash = None,
    prune_scope: PruneScope = None,
    min_elements: MinElements = None,
    include: Include = None,
    exclude: Exclude = None,
    recipe_name: RecipeName = None,
    blobs: Blobs = None,
    seed: Seed = None,
    threads: Threads = None,
    allow_growth: AllowGrowth = False,
) -> None:
    """Only its signature is used."""


def _make_recipe(*, recipe_name: str | None, hash_: str | None, **flags: Any) -> Recipe:
    flags["hash"] = hash_
    # By identity: 0 is a value that was given.
    given = {name: v for name, v in flags.items() if v is not None and v is not False and v != []}
    for name, kind in (("sparsity", float), ("bits", int)):
        if name in given:
            given[name] = _number(given[name], name, kind)
    for name in ("include", "exclude"):
        if name in given:
            given[name] = tuple(given[name])
    return Recipe(**given) if recipe_name is None else load_recipe(recipe_name, **given)


def _number(text: str, name: str, kind: Callable[[str], Any]) -> Any:
    if text == "auto":
        return text
    try:
        return kind(text)
    except ValueError:
        raise InputError(
            f"cannot use recipe: {name} must be auto or a number, got {text!r}"
        ) from None
