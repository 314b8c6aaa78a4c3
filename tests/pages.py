"""What the tests of reports share: a page as a tree, and comparisons that measure nothing."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "input", "img", "br", "rect", "circle", "line", "path"}


@dataclasses.dataclass
class Node:
    """An element: its tag, attributes and contents."""

    tag: str
    attributes: dict[str, str]
    children: list[Node | str] = dataclasses.field(default_factory=list)

    def all(self, tag: str, class_: str = "") -> list[Node]:
        """The elements below of a tag, and of a class where one is given."""
        found = []
        for child in self.children:
            if isinstance(child, Node):
                if child.tag == tag and (not class_ or class_ in child.classes):
                    found.append(child)
                found += child.all(tag, class_)
        return found

    def by_id(self, name: str) -> Node:
        """The element that contains, as a direct child, the one with an id."""
        for node in [self, *self.all("section")]:
            if any(isinstance(c, Node) and c.attributes.get("id") == name for c in node.children):
                return node
        raise AssertionError(f"no section has a heading {name}")

    @property
    def classes(self) -> list[str]:
        return self.attributes.get("class", "").split()

    @property
    def text(self) -> str:
        """The text of it, white space as one blank."""
        parts = (child if isinstance(child, str) else child.text for child in self.children)
        return " ".join(" ".join(parts).split())

    def rows(self) -> list[list[str]]:
        """The rows of the body of a table, as texts."""
        body = self.all("tbody")[0]
        return [[cell.text for cell in row.all("td")] for row in body.all("tr")]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("", {})
        self.stack = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"an attribute stands twice in {tag}: {names}"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.stack[-1].children.append(node)
        if tag not in VOID:
            self.stack.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.stack[-1].tag == tag, f"{tag} closes {self.stack[-1].tag}"
            self.stack.pop()

    def handle_data(self, data: str) -> None:
        self.stack[-1].children.append(data)


def read_page(text: str) -> Node:
    """The tree of a page in which every element is closed where it should be."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.stack == [reader.root], f"left open: {reader.stack[-1].tag}"
    return reader.root


def width_of(bar: Node) -> float:
    """The width of a rectangle as a share of the chart."""
    text = bar.attributes["width"]
    assert text.endswith("%")
    return float(text[:-1]) / 100


def fixed_comparison(*_models: Any, **_options: Any) -> dict[str, Any]:
    """What `compare` would give, in no time and always the same."""
    costs = {"create_s": 0.002, "latency_s": 0.0001, "peak_bytes": 5_000_000}
    modes = ("original", "materialize", "cached", "streaming")
    return {
        "outputs": [{"name": "y", "cosine": 0.999, "relative_l2": 0.05, "snr_db": 26.02}],
        "num_samples": 8,
        "file_bytes": {"original": 1, "compressed": 1},
        "modes": {mode: dict(costs) for mode in modes},
    }
