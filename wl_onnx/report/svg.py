"""SVG as text: elements, axes and ticks.

Places along x are shares of the width, so that a chart fits any screen while its text keeps its
size; places along y are pixels. Colours come from the page's style, by class.
"""

from __future__ import annotations

import html
import math

__all__ = ["chart", "element", "percent", "round_ticks", "text", "titled"]


def element(name: str, *children: str, **attributes: float | str | None) -> str:
    """An element; what stands in attributes is escaped, children are SVG already.

    Args:
        name: of the element.
        *children: SVG.
        **attributes: an underscore behind a name is left out, others become hyphens; None leaves
            the attribute out.

    Example:
        >>> element("rect", class_="bar", x="0%", width="50%", height=8)
        '<rect class="bar" x="0%" width="50%" height="8"/>'
    """
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(children)
    return f"<{name}{shown}>{inner}</{name}>" if inner else f"<{name}{shown}/>"


def text(content: str, **attributes: float | str | None) -> str:
    """A text, escaped."""
    return element("text", html.escape(content), **attributes)


def titled(title: str, *children: str, **attributes: float | str | None) -> str:
    """A group that says what it is when it is pointed at.

    Args:
        title: what it says.
        *children: SVG.
        **attributes: of the group.
    """
    return element("g", element("title", html.escape(title)), *children, **attributes)


def chart(label: str, height: float, *children: str, class_: str = "chart") -> str:
    """A whole picture, as wide as there is room.

    Args:
        label: what it shows, for those who do not see it.
        height: in pixels.
        *children: SVG.
        class_: for the style.
    """
    return element(
        "svg", *children, class_=class_, role="img", aria_label=label, width="100%", height=height
    )


def percent(share: float) -> str:
    """A share of the width, to a thousandth of a percent.

    Example:
        >>> percent(0.123456)
        '12.3456%'
    """
    return f"{100 * share:.4f}".rstrip("0").rstrip(".") + "%"


def round_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from low to high, about so many of them.

    Args:
        low: the least.
        high: the largest, above low.
        count: how many there should be at most.

    Example:
        >>> round_ticks(-0.3, 1.2, 4)
        [0.0, 0.5, 1.0]
    """
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) + 0.0 for index in range(first, last + 1)]


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{round(value, 3):g}"
