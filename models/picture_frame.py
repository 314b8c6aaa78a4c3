"""The frame of every picture: its style, its title, its legend, and the files it goes to."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from script_command import ScriptError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE_COLOR = "#666666"
"""Of limits and of what is compared with."""

_PNG_DPI = 144
_TITLE_WIDTH = 66  # letters


def require_matplotlib() -> None:
    """Refuses before any work where pictures cannot be drawn.

    Raises:
        ScriptError: matplotlib is not installed.
    """
    try:
        import matplotlib as _  # noqa: F401
    except ImportError as error:
        raise ScriptError(
            'cannot draw: matplotlib is not installed; pip install "wl-onnx[models]"'
        ) from error


@contextlib.contextmanager
def picture(title: str, paths: Sequence[Path]) -> Iterator[Axes]:
    """Axes to draw on; the picture is written at the end.

    Args:
        title: above it.
        paths: files to write, `.svg` or `.png`; the same drawing gives the same bytes.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: Any = {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "wl_onnx",
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(7.4, 4.8), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.set_title(textwrap.fill(title, _TITLE_WIDTH), loc="left", weight="bold")
        axes.grid(visible=True, color="#e6e6e6", linewidth=0.7)
        axes.set_axisbelow(True)
        yield axes
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
        for path in paths:
            is_svg = path.suffix == ".svg"
            figure.savefig(
                path,
                dpi=_PNG_DPI,
                facecolor="white",
                metadata={"Date": None} if is_svg else {"Software": None},
            )
