"""Functions of a caller's own that say how good a model is."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wl_onnx.errors import InputError
from wl_onnx.runtime.session import InferenceSession

__all__ = ["ValidationFn", "call_validation_fn", "describe_validation_fn", "load_validation_fn"]

ValidationFn = Callable[[InferenceSession], float]
"""Gives the quality of a model, the higher the better, from an open session."""


def load_validation_fn(text: str) -> ValidationFn:
    """The function that `module:function` names.

    The working folder is searched first, as with `python -m`; it stays on the path, for what the
    function itself imports later.

    Args:
        text: dotted name of a module, a colon, and the name of a function in it, or a dotted one.

    Raises:
        InputError: no such module or name, the module fails, or it is no function.
    """
    module_name, _, name = text.partition(":")
    problem = f"cannot load validation function {text}"
    if not module_name or not name:
        raise InputError(f"{problem}: it must be given as module:function, got {text!r}")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(
                f"{problem}: the module must be importable from the working folder or be "
                f"installed, got none named {error.name}"
            ) from error
        raise InputError(
            f"{problem}: what {module_name} imports must be installed, got no module {error.name}"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{problem}: {module_name} must be importable, got {type(error).__name__}: {reason}"
        ) from error
    try:
        function: Any = functools.reduce(getattr, name.split("."), module)
    except AttributeError as error:
        raise InputError(
            f"{problem}: {module_name} must have the function, got none named {name}"
        ) from error
    if not callable(function):
        raise InputError(f"{problem}: it must be a function, got {type(function).__name__}")
    loaded: ValidationFn = function
    return loaded


def call_validation_fn(function: ValidationFn, session: InferenceSession, name: str) -> float:
    """The value that a function gives a model; it may be NaN or infinite.

    Args:
        function: what is called.
        session: an open session of the model.
        name: what an error calls the model.

    Raises:
        InputError: the function raises, or gives no number.
    """
    problem = f"cannot validate {name}: {describe_validation_fn(function)} must give a number"
    try:
        value: Any = function(session)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{problem}, got {type(error).__name__}{': ' if reason else ''}{reason}"
        ) from error
    try:
        # NumPy's and torch's scalars, and arrays of one element, have it.
        number = value.item() if hasattr(value, "item") else value
        if isinstance(number, (str, bytes, bool)):
            raise TypeError
        return float(number)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{problem}, got {type(value).__name__}") from error


def describe_validation_fn(function: ValidationFn) -> str:
    """How messages call a function."""
    return f"the validation function {getattr(function, '__qualname__', repr(function))}"
