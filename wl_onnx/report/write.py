"""Making a report: numbers, then the page, then the file, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wl_onnx.errors import InputError
from wl_onnx.files import check_side_file, temporary_beside
from wl_onnx.report.collect import Progress, collect_report
from wl_onnx.report.page import load_template, render_page

if TYPE_CHECKING:
    from wl_onnx.report.facts import Report

__all__ = ["write_report"]


def write_report(
    original: str | os.PathLike[str],
    compressed: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    data: Any = None,
    sweep: str | os.PathLike[str] | None = None,
    seed: int = 0,
    threads: int = 0,
    force: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Writes one self-contained HTML page on a compressed model beside its original.

    Everything is in the page: it loads nothing and runs no script. The same models, data and
    seeds give the same bytes, but for times and memory, which are measured.

    Args:
        original: the model's file before it was compressed.
        compressed: the file after, of `compress`, `store` or `finetune`; a copy of the original
            will do.
        output: the HTML file.
        data: see `wl_onnx.evaluation.load_feeds`; None draws standard-normal inputs.
        sweep: a folder that `wl-onnx sweep` wrote, of the compressed model.
        seed: of drawn inputs, and of the one read of analog cells, 0 to 2**63 - 1.
        threads: of onnxruntime; 0 leaves its default.
        force: whether an existing output is replaced.
        progress: called with (what is being done, steps done, steps in all).

    Returns:
        The numbers of the page.

    Raises:
        InputError: the two models do not belong together, the data or the sweep do not fit, or
            the output cannot be written.
        ModelError: a model is damaged, or onnxruntime does not load it.
        BlobError: a blob is damaged.
        LibraryError: jinja2 is not installed.
    """
    before, after, target = Path(original), Path(compressed), Path(output)
    check_side_file(target, (before, after), "report", force=force)
    if not 0 <= seed < 2**63:
        raise InputError(f"cannot report: the seed must be in 0..2**63 - 1, got {seed}")
    template = load_template()
    report = collect_report(
        before,
        after,
        data,
        None if sweep is None else Path(sweep),
        seed=seed,
        threads=threads,
        progress=progress or (lambda _what, _done, _total: None),
    )
    _replace(target, render_page(template, report))
    return report


def _replace(target: Path, page: str) -> None:
    try:
        with temporary_beside(target) as temporary:
            temporary.write_text(page, encoding="utf-8", newline="\n")
            temporary.replace(target)
    except OSError as error:
        raise InputError(
            f"cannot write {target}: its folder must be writable and have space, "
            f"got {error.strerror or error}"
        ) from error
