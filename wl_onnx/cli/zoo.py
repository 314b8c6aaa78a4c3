"""`wl-onnx zoo`: many models at once, from a manifest, from files or from folders."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Annotated

import typer

from wl_onnx import zoo as models
from wl_onnx.cli.console import print_json, set_up_logging
from wl_onnx.cli.options import Json, Quiet
from wl_onnx.cli.zoo_tables import (
    describe_entry,
    print_entries,
    print_failures,
    print_results,
    zoo_progress,
)
from wl_onnx.errors import InputError
from wl_onnx.recipe import load_recipe

__all__ = ["convert", "list_models", "zoo"]

_FAILED = 1

zoo = typer.Typer(name="zoo", help="List the models of a zoo, and compress many.")

Manifest = Annotated[
    str | None,
    typer.Option(
        metavar="M.json|URL",
        help="In the form of ONNX_HUB_MANIFEST.json; its models lie beside it. Default: built in.",
    ),
]


@zoo.command("list")
def list_models(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Names or globs. Default: all.")
    ] = None,
    manifest: Manifest = None,
    json: Json = False,
) -> None:
    """List the models of a manifest: names, sizes, opsets, and which recipe goes with each."""
    set_up_logging(quiet=False)
    entries = models.load_manifest(manifest)
    if names:
        entries = models.find_entries(names, entries)
    if json:
        print_json([describe_entry(entry) for entry in entries])
    else:
        print_entries(entries)


@zoo.command("convert")
def convert(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME|PATH...",
            help="Models of the manifest (globs too), ONNX files, or folders of them.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of the results.")
    ] = Path("compressed"),
    recipe: Annotated[
        str | None,
        typer.Option(metavar="FILE|NAME", help="For all models. Default: each one's own."),
    ] = None,
    jobs: Annotated[
        int, typer.Option("-j", "--jobs", metavar="N", min=1, help="Processes, a thread each.")
    ] = 1,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="On a Dask cluster that sees the same files, as tcp://host:8786.",
        ),
    ] = None,
    manifest: Manifest = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the downloads.")
    ] = None,
    portable: Annotated[
        bool, typer.Option("--portable", help="Files for any onnxruntime, without our operators.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Make results anew, and replace other files.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compress many models into a folder, with a manifest of the results.

    A model that fails does not stop the rest; the exit status is then 1. What was converted before
    from the same file with the same recipe is left as it is.
    """
    set_up_logging(quiet=quiet)
    if dask is not None and jobs != 1:
        raise InputError(
            f"cannot convert on a cluster: --jobs must not be given with --dask, got {jobs}"
        )
    chosen = None if recipe is None else load_recipe(recipe)
    entries = models.find_entries(names, models.load_manifest(manifest), leave_out=out)
    workers = min(jobs, len(entries))
    with zoo_progress(len(entries), quiet=quiet) as bars, _open_executor(workers, dask) as executor:
        results = models.convert(
            entries,
            out,
            recipe=chosen,
            executor=executor,
            cache=cache,
            force=force,
            portable=portable,
            progress=bars.report_result,
            download_progress=bars.report_download,
        )
    if json:
        print_json([dict(result.record) for result in results])
    elif not quiet:
        print_results(results, os.fspath(out))
    print_failures(results)
    if any(result.state == "failed" for result in results):
        raise typer.Exit(_FAILED)


@contextlib.contextmanager
def _open_executor(jobs: int, dask: str | None) -> Iterator[Executor | None]:
    if dask is not None:
        with models.open_cluster(dask) as executor:
            yield executor
    elif jobs > 1:
        with models.open_processes(jobs) as executor:
            yield executor
    else:
        yield None
