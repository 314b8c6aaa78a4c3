"""The options that say how weights are stored in cells."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from wl_onnx.analog.presets import find_device
from wl_onnx.analog.storage import DIGITAL_BITS_PER_CELL, PROTECTIONS, Storage
from wl_onnx.analog.table_file import load_table
from wl_onnx.cli.options import take_flags
from wl_onnx.durations import parse_duration
from wl_onnx.errors import InputError

__all__ = ["takes_storage", "takes_storage_if_given"]

_DEFAULT_DEVICE = "pcm-nandakumar2019"
_DEFAULT_PROTECTIONS = "sign,adaptive,sparsity"

Device = Annotated[
    str | None,
    typer.Option(metavar="NAME", help=f"See `wl-onnx device`. Default: {_DEFAULT_DEVICE}."),
]
Table = Annotated[
    Path | None, typer.Option(metavar="F.csv", help="A measured device instead of a known one.")
]
Cells = Annotated[
    float, typer.Option(metavar="N", help="Analog cells a weight, whose reads are averaged.")
]
Protect = Annotated[
    str,
    typer.Option(metavar="P,...|none", help=f"Of {', '.join(PROTECTIONS)}; the last needs --data."),
]
Sparsity = Annotated[float, typer.Option(metavar="S", help="Share of weights to prune.")]
SignedMapping = Annotated[
    str,
    typer.Option(
        "--mapping", metavar="pair|offset", help="How signs are kept without sign protection."
    ),
]
Scale = Annotated[
    str, typer.Option(metavar="tensor|channel", help="One range for a tensor, or each channel.")
]
Ranges = Annotated[int, typer.Option(metavar="N", help="Ranges of adaptive mapping.")]
Time = Annotated[
    str, typer.Option(metavar="T", help="Time since programming: a number with s, m, h, d or y.")
]
WriteBits = Annotated[int, typer.Option(metavar="B", help="Bits of the levels of a cell.")]
Inverse = Annotated[
    bool, typer.Option(help="Read through the inverse of the device's mean response.")
]
Compensation = Annotated[
    bool, typer.Option(help="Undo the mean drift, known from a reference read.")
]
BitsPerCell = Annotated[
    float, typer.Option(metavar="B", help="What digital bits cost: so many a cell.")
]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of programming and drift.")]


def takes_storage(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the flags of a storage, and calls it with the storage that they make.

    Args:
        command: takes a keyword argument `storage`, and parameters of its own.
    """
    return take_flags(command, "storage", _storage_flags, lambda **given: _make_storage(**given))


def takes_storage_if_given(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the flags of a storage, all but its seed.

    Args:
        command: takes a keyword argument `storage`, which is None where no flag is given, and
            parameters of its own.
    """
    return take_flags(command, "storage", _OptionalFlags(), _make_storage_if_given)


class _OptionalFlags:
    """The declaration of the same flags, each None where it is not given."""

    @property
    def __signature__(self) -> inspect.Signature:
        flags = inspect.signature(_storage_flags, eval_str=True).parameters.values()
        return inspect.Signature([_make_optional(one) for one in flags if one.name != "seed"])

    def __call__(self) -> None:
        """Only its signature is used."""


def _make_optional(flag: inspect.Parameter) -> inspect.Parameter:
    kind, option = get_args(flag.annotation)
    option = copy.copy(option)
    option.rich_help_panel = "Cells, for the recipe noisy"
    if flag.default is not None:
        default = str(flag.default).lower() if kind is bool else flag.default
        option.help = f"{option.help} Default: {default}."
    # The type is known at run time alone.
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
    return flag.replace(default=None, annotation=annotation)


def _make_storage_if_given(**flags: Any) -> Storage | None:
    given = {name: value for name, value in flags.items() if value is not None}
    if not given:
        return None
    defaults = inspect.signature(_storage_flags).parameters
    return _make_storage(**{name: one.default for name, one in defaults.items()} | given)


def _storage_flags(
    device: Device = None,
    table: Table = None,
    cells: Cells = 1.0,
    protect: Protect = _DEFAULT_PROTECTIONS,
    sparsity: Sparsity = 0.0,
    mapping: SignedMapping = "pair",
    scale: Scale = "tensor",
    ranges: Ranges = 2,
    time: Time = "1d",
    write_bits: WriteBits = 8,
    inverse_response: Inverse = True,
    drift_compensation: Compensation = True,
    digital_bits_per_cell: BitsPerCell = DIGITAL_BITS_PER_CELL,
    seed: Seed = 0,
) -> None:
    """Only its signature is used."""


def _make_storage(
    *,
    device: str | None,
    table: Path | None,
    protect: str,
    time: str,
    inverse_response: bool,
    drift_compensation: bool,
    **others: Any,
) -> Storage:
    if device is not None and table is not None:
        raise InputError(
            f"cannot store weights: the device must be a known one or a table, got {device} and "
            f"{table}"
        )
    return Storage(
        device=find_device(device or _DEFAULT_DEVICE) if table is None else load_table(table),
        time_s=parse_duration(time),
        protect=frozenset() if protect == "none" else frozenset(protect.split(",")),
        inverts_response=inverse_response,
        compensates_drift=drift_compensation,
        **others,
    )
