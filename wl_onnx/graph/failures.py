"""Errors about models, whose names may hold any character."""

from __future__ import annotations

from wl_onnx.errors import ModelError

__all__ = ["model_error"]


def model_error(message: str) -> ModelError:
    r"""A ModelError whose message is one line: what cannot be printed is escaped.

    Example:
        >>> str(model_error("cannot read tensor a\nb: ..."))
        'cannot read tensor a\\nb: ...'
    """
    return ModelError("".join(c if c.isprintable() else ascii(c)[1:-1] for c in message))
