"""Many models, each compressed by itself, in parallel; one that fails does not stop the rest."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from wl_onnx.errors import InputError
from wl_onnx.files import hash_file
from wl_onnx.recipe import Recipe
from wl_onnx.zoo.batch import Batch, ResultFn
from wl_onnx.zoo.executors import InlineExecutor
from wl_onnx.zoo.job import Job
from wl_onnx.zoo.manifest import load_manifest
from wl_onnx.zoo.obtain import default_cache, obtain
from wl_onnx.zoo.results import MANIFEST_NAME

if TYPE_CHECKING:
    from wl_onnx.zoo.download import DownloadProgress
    from wl_onnx.zoo.entry import Entry
    from wl_onnx.zoo.results import ZooResult

__all__ = ["convert"]


def convert(
    entries: Iterable[Entry],
    out: str | os.PathLike[str],
    *,
    recipe: Recipe | None = None,
    executor: Executor | None = None,
    cache: str | os.PathLike[str] | None = None,
    force: bool = False,
    portable: bool = False,
    progress: ResultFn | None = None,
    download_progress: DownloadProgress | None = None,
) -> list[ZooResult]:
    """Compresses models into a folder, with a manifest of the results in the zoo's form.

    Files are looked for or downloaded here, one after another, while others are compressed. A
    result of the same source, recipe, form and version is left as it is. On Ctrl-C what runs is
    given up; what was done stays, with its manifest.

    Args:
        entries: the models, as `find_entries` or `load_manifest` gives them.
        out: folder of the results, made where it is absent; each file lies there as `model_path`
            says.
        recipe: how all are compressed; by default each as its entry says, or as the built-in
            manifest says of a file with the same checksum, or with the default recipe.
        executor: runs the models, one thread each unless the recipe says how many; its workers
            must see the same files. None: one model after another in this process.
        cache: folder of downloads; by default one of this system's.
        force: whether results are made anew, and other files in their place replaced.
        portable: whether standard operators decode the weights, as `compress` has it.
        progress: called with each model that is done.
        download_progress: called while a download goes on.

    Returns:
        One result a model, in the order given.

    Raises:
        InputError: two models have one output, an output would leave the folder, or the folder
            cannot be written or holds another zoo's manifest.
    """
    models = list(entries)
    folder = Path(out).absolute()
    cached = Path(cache) if cache is not None else default_cache()
    # Local files first: they are compressed while others are on their way.
    order = sorted(range(len(models)), key=lambda index: models[index].address is not None)
    try:
        outputs = _place_outputs(models, folder)
        folder.mkdir(parents=True, exist_ok=True)
        with _staging(folder) as staged:
            batch = Batch(models, outputs, folder, executor or InlineExecutor(), progress)

            def make_job(index: int) -> Job:
                entry = models[index]
                path = obtain(entry, cached, download_progress).absolute()
                chosen = recipe or entry.recipe or _find_builtin_recipe(entry, path) or Recipe()
                if executor is not None:
                    chosen = dataclasses.replace(chosen, threads=chosen.threads or 1)
                return Job(
                    source=path,
                    staged=staged / str(index) / outputs[index].name,
                    output=outputs[index],
                    recipe=chosen,
                    previous=batch.records.get(entry.model_path, {}).get("metadata"),
                    force=force,
                    portable=portable,
                )

            batch.run(order, make_job)
    except OSError as error:
        raise InputError(
            f"cannot write results to {folder}: it must be a folder that is writable and has "
            f"space, got {error.strerror or error}"
        ) from error
    return [batch.results[index] for index in range(len(models))]


def _place_outputs(models: Sequence[Entry], folder: Path) -> list[Path]:
    outputs: dict[Path, Entry] = {}
    root = folder.resolve()
    for entry in models:
        output = folder.joinpath(*PurePosixPath(entry.model_path).parts)
        if not output.resolve().is_relative_to(root) or output.resolve() == root:
            raise InputError(
                f"cannot convert {entry.model}: its output must stay within {folder}, got {output}"
            )
        if output == folder / MANIFEST_NAME:
            raise InputError(
                f"cannot convert {entry.model}: its output must not be the manifest of the "
                f"results, got {output}"
            )
        if output in outputs:
            other = outputs[output]
            raise InputError(
                f"cannot convert {entry.model}: each output must be that of one model, got "
                f"{entry.model_path} from {entry.address or entry.source} and "
                f"{other.address or other.source}"
            )
        outputs[output] = entry
    return list(outputs)


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A folder for what is being written, gone afterwards, also with workers that still write."""
    path = Path(tempfile.mkdtemp(prefix=".wl_onnx-", dir=folder))
    try:
        yield path
    finally:
        gone = path.with_name(f"{path.name}.gone")
        with contextlib.suppress(OSError):
            path.rename(gone)
        shutil.rmtree(gone if gone.exists() else path, ignore_errors=True)


def _find_builtin_recipe(entry: Entry, path: Path) -> Recipe | None:
    """What the built-in manifest says of a file with the same checksum."""
    size_bytes = path.stat().st_size
    for known in load_manifest():
        if known.size_bytes == size_bytes and known.sha256 == (entry.sha256 or hash_file(path)):
            return known.recipe
    return None
