"""Pictures: one style for all, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wl_onnx.durations import format_duration, parse_duration
from wl_onnx.errors import InputError, LibraryError
from wl_onnx.files import temporary_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLORS", "PICTURE_SUFFIXES", "check_picture", "new_figure", "save_figure", "time_axis"]

PICTURE_SUFFIXES = (".png", ".svg")
COLORS = ("#1f5fbf", "#e07b00", "#2a8a4a", "#b0303a", "#7050a8", "#5b6675")
"""Distinct on white, in print and to the colour-blind when lines differ in brightness."""

_STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e7ec",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.facecolor": "white",
    "figure.facecolor": "white",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.hashsalt": "wl_onnx",
}
_TICKS = ("1s", "20s", "10m", "1h", "1d", "30d", "1y", "10y", "100y")
_DOTS_PER_INCH = 160


def check_picture(path: Path) -> None:
    """Checks that a picture can be drawn, before the work that it shows.

    Raises:
        InputError: the name does not end in .png or .svg.
        LibraryError: matplotlib is not installed.
    """
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise InputError(
            f"cannot draw {path}: the name must end in {' or '.join(PICTURE_SUFFIXES)}, got "
            f"{path.suffix or 'no ending'}"
        )
    try:
        import matplotlib as mpl  # noqa: F401  only whether it is there
    except ImportError as error:
        raise LibraryError(
            "cannot draw a picture: matplotlib must be installed, got none; "
            'pip install "wl-onnx[plot]"'
        ) from error


@contextlib.contextmanager
def new_figure(
    rows: int, columns: int, *, width: float, height: float
) -> Iterator[tuple[Figure, Any]]:
    """A figure in the project's style and its axes, [rows][columns], for as long as it is drawn.

    Args:
        rows: of panels.
        columns: of panels.
        width: of the figure, in inches.
        height: of the figure, in inches.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        # Not pyplot's: that would keep it, and ask for a display.
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(rows, columns, squeeze=False)


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG or SVG, by the name's ending; the same figure gives the same bytes.

    Raises:
        InputError: the file cannot be written.
    """
    kind = path.suffix.lower()[1:]
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    try:
        with temporary_beside(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=_DOTS_PER_INCH, metadata=metadata)
            temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: its folder must be writable, got {error.strerror or error}"
        ) from error


def time_axis(axes: Axes, low_s: float, high_s: float) -> None:
    """Makes the x axis a logarithmic time, with ticks at round times.

    Args:
        axes: whose x axis it is, in seconds.
        low_s: its left end, positive.
        high_s: its right end.
    """
    axes.set_xscale("log")
    axes.set_xlim(low_s, high_s)
    ticks = [seconds for seconds in map(parse_duration, _TICKS) if low_s <= seconds <= high_s]
    axes.set_xticks(ticks, [format_duration(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("time since programming")
