"""Files of measured devices: CSV, or JSON with the same columns."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wl_onnx.analog.table_device import MAX_LEVELS, TableDevice
from wl_onnx.errors import InputError

__all__ = ["load_table"]

_UNITS = {"S": 1e6, "mS": 1e3, "uS": 1.0, "µS": 1.0, "μS": 1.0, "nS": 1e-3}
_REQUIRED = ("level", "mean", "deviation")
_OPTIONAL = ("read_deviation",)
_HEADER = re.compile(r"\s*(\w+)\s*(?:[\[(]\s*(\w+)\s*[\])])?\s*")
_EXAMPLE = "level,mean [uS],deviation [uS],read_deviation [uS]"
_MAX_BYTES = 64 << 20


def load_table(path: str | os.PathLike[str]) -> TableDevice:
    """The device that a file describes.

    A CSV has a header like `level,mean [uS],deviation [uS],read_deviation [uS]` and one level a
    row, separated by commas, semicolons or tabs; lines that begin with # are skipped. A JSON file
    is an object with the same names, each with a list of numbers. Levels are shares of the range
    that rise from 0 to 1. The unit of the others must be given: S, mS, uS or nS. `read_deviation`
    may be left out, for reads that add nothing.

    Args:
        path: of the file; `.json` is read as JSON, any other as CSV.

    Raises:
        InputError: the file cannot be read, a column or a unit is missing or unknown, or values
            are missing, no numbers, negative or unordered; the error names file and row.
    """
    path = Path(path)
    text = _read_text(path)
    if path.suffix.lower() == ".json":
        columns, lines = _parse_json(text, path)
    else:
        columns, lines = _parse_csv(text, path)
    scaled = _scale(columns, path)
    _check_numbers(scaled, lines, path)
    levels = scaled["level"]
    read_deviation = scaled.get("read_deviation") or [0.0] * len(levels)
    try:
        return TableDevice(
            path.name,
            np.asarray(levels),
            np.asarray(scaled["mean"]),
            np.asarray(scaled["deviation"]),
            np.asarray(read_deviation),
            source=str(path),
        )
    except InputError as error:
        raise InputError(_with_line(str(error), path, lines)) from error


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise _error(path, f"the file must be at most {_MAX_BYTES >> 20} MiB", "more")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise _error(path, "the file must be readable", error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise _error(path, "the file must be text", f"byte {error.start} that is not") from error


def _parse_csv(text: str, path: Path) -> tuple[dict[str, list[Any]], list[str]]:
    """Columns by their header, and how an error calls each row."""
    numbered = [
        (number, line)
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not numbered:
        raise _error(path, f"there must be a header, such as {_EXAMPLE}", "an empty file")
    header_line = numbered[0][1]
    delimiter = next((mark for mark in ";\t" if mark in header_line), ",")
    try:
        rows = [
            (number, row)
            for (number, _), row in zip(
                numbered,
                csv.reader((line for _, line in numbered), delimiter=delimiter, strict=True),
                strict=True,
            )
        ]
    except (csv.Error, ValueError) as error:
        raise _error(
            path, "rows must be separated values without line breaks", str(error)
        ) from None
    names = rows[0][1]
    if len(set(names)) < len(names):
        raise _error(path, "columns must have different names", ", ".join(names))
    for number, row in rows[1:]:
        if len(row) != len(names):
            raise _error(path, f"line {number} must have {len(names)} values", str(len(row)))
    columns = {name: [row[index] for _, row in rows[1:]] for index, name in enumerate(names)}
    return columns, [f"line {number}" for number, _ in rows[1:]]


def _parse_json(text: str, path: Path) -> tuple[dict[str, list[Any]], list[str]]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _error(path, "the file must be JSON", " ".join(str(error).split())) from None
    if not isinstance(content, dict) or not all(isinstance(v, list) for v in content.values()):
        raise _error(path, "the file must be an object of lists", type(content).__name__)
    lengths = {len(column) for column in content.values()}
    if len(lengths) != 1:
        got = ", ".join(f"{name} {len(column)}" for name, column in content.items()) or "none"
        raise _error(path, "lists must have the same length", got)
    return content, [f"entry {index}" for index in range(1, lengths.pop() + 1)]


def _scale(columns: Mapping[str, Sequence[Any]], path: Path) -> dict[str, list[Any]]:
    """Columns by their plain names, numbers in uS where they can be read."""
    scaled: dict[str, list[Any]] = {}
    for header, values in columns.items():
        match = _HEADER.fullmatch(header)
        name, unit = match.groups() if match else (header, None)
        if name not in _REQUIRED + _OPTIONAL:
            raise _error(path, f"columns must be {', '.join(_REQUIRED + _OPTIONAL)}", repr(header))
        if name in scaled:
            raise _error(path, f"there must be one column {name}", "two")
        if name == "level":
            if unit is not None:
                raise _error(path, "levels must be shares of the range, without a unit", unit)
            scaled[name] = [_number(value) for value in values]
            continue
        if unit not in _UNITS:
            must = f"the unit of {name} must be S, mS, uS or nS, as in {name} [uS]"
            raise _error(path, must, unit or "none")
        scaled[name] = [_number(value, _UNITS[unit]) for value in values]
    missing = [name for name in _REQUIRED if name not in scaled]
    if missing:
        raise _error(
            path, f"there must be a column {missing[0]}, as in {_EXAMPLE}", ", ".join(columns)
        )
    return scaled


def _number(value: Any, factor: float = 1.0) -> Any:
    """A number in the unit wanted, or the value itself where it is none."""
    if isinstance(value, bool) or value is None:
        return value
    try:
        return float(value) * factor
    except (TypeError, ValueError):
        return value


def _check_numbers(columns: Mapping[str, Sequence[Any]], lines: Sequence[str], path: Path) -> None:
    if not 2 <= len(lines) <= MAX_LEVELS:
        raise _error(path, f"there must be 2 to {MAX_LEVELS} levels", str(len(lines)))
    for name, values in columns.items():
        for line, value in zip(lines, values, strict=True):
            if not isinstance(value, float) or not math.isfinite(value):
                is_gap = value is None or not str(value).strip()
                got = "a gap" if is_gap else str(value)
                raise _error(path, f"each {name} must be a finite number", f"{got} in {line}")


def _with_line(message: str, path: Path, lines: Sequence[str]) -> str:
    """An error of the device, with the file's own lines for its rows."""
    _, _, reason = message.partition(": ")
    text, found, row = reason.rpartition(" in row ")
    return f"cannot use table {path}: " + (f"{text} in {lines[int(row) - 1]}" if found else reason)


def _error(path: Path, must: str, got: str) -> InputError:
    return InputError(f"cannot use table {path}: {must}, got {got}")
