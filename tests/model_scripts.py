"""The scripts of models/, which are run by their path and import one another from their folder."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

MODELS = Path(__file__).parents[1] / "models"


def load_script(name: str) -> ModuleType:
    """A script as a module.

    Args:
        name: of the file, without its suffix.
    """
    sys.path.insert(0, str(MODELS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(MODELS))
