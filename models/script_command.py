"""The frame of a script's command line: what it raises, and how that ends."""

from __future__ import annotations

import sys
from collections.abc import Callable


class ScriptError(ValueError):
    """What the caller gave cannot be used; the message is one line."""


def run_script(action: Callable[[], None]) -> int:
    """Runs what a command line asks for; 0 on success, 1 after one line on stderr."""
    try:
        action()
    except ScriptError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
