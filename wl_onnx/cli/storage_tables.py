"""Tables of a storage: each tensor, and the ledger beside what else there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from wl_onnx.cli.console import OUTPUT, format_bytes

if TYPE_CHECKING:
    from wl_onnx.analog.storage import Storage

__all__ = ["print_storage"]

_COLUMNS = ("zeros", "cells", "digital", "cells/weight", "error", "noise")
_BASELINES = {
    "float32": "float32, digital",
    "int8": "int8, digital",
    "palette": "palette of the same loss, digital",
}


def print_storage(report: dict[str, Any], storage: Storage, *, title: str) -> None:
    """Prints the tensors of a report of `wl_onnx.store`, and its ledger."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 0))
    table.add_column("weight", min_width=10, overflow="fold")
    table.add_column("shape", min_width=9, overflow="fold")
    table.add_column("storage", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    stored = [tensor for tensor in report["tensors"] if tensor["codec"] != "none"]
    for tensor in stored:
        table.add_row(*_row(tensor, storage.digital_bits_per_cell))
    OUTPUT.print(table)
    for tensor in report["tensors"]:
        if tensor["codec"] == "none" and tensor["reason"]:
            OUTPUT.print(f"left as it is: {tensor['name']} ({tensor['reason']})")
    if "search" in report:
        _print_loss(report["search"])
    _print_ledger(report, storage)


def _row(tensor: dict[str, Any], bits_per_cell: float) -> tuple[str, ...]:
    is_analog = tensor["codec"] == "analog"
    analog_cells = tensor["cells"] if is_analog else 0
    digital_bits = tensor["digital_bits"] if is_analog else tensor["size_bits"]
    per_weight = (analog_cells + digital_bits / bits_per_cell) / tensor["num_weights"]
    error, noise = tensor["error_share"], tensor["noise_share"]
    return (
        tensor["name"],
        "x".join(map(str, tensor["shape"])),
        tensor["codec"],
        f"{tensor['sparsity']:.1%}",
        f"{analog_cells:,}" if is_analog else "-",
        format_bytes(digital_bits / 8),
        f"{per_weight:.3f}",
        "-" if error is None else f"{error:.2g}",
        "-" if noise is None else f"{noise:.2g}",
    )


def _print_loss(search: dict[str, Any]) -> None:
    """Prints what the stored model loses on the validation data."""
    parts = []
    if search["drop"] is not None:
        before = search["baseline"]
        parts.append(f"{before:.4g} -> {before - search['drop']:.4g} (drop {search['drop']:.3g})")
    if search["kl"] is not None:
        parts.append(f"KL {search['kl']:.3g} nats")
    if search["snr_db"] is not None:
        parts.append(f"SNR {search['snr_db']:.1f} dB")
    spread = f" +- {search['spread']:.2g} between writes" if search.get("spread") else ""
    OUTPUT.print(f"validation, mean of {search['reads']} writes: {', '.join(parts)}{spread}")


def _print_ledger(report: dict[str, Any], storage: Storage) -> None:
    cells = report["cells"]
    num_weights = cells["total"] / cells["per_weight"]
    table = Table(box=SIMPLE_HEAD)
    for column in ("", "cells", "cells/weight", "of these"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row(
        "analog cells", f"{cells['analog']:,}", f"{cells['analog'] / num_weights:.3f}", ""
    )
    table.add_row(
        f"digital bits, {storage.digital_bits_per_cell:g} a cell",
        f"{cells['digital']:,.0f}",
        f"{cells['digital'] / num_weights:.3f}",
        "",
    )
    table.add_row("all", f"{cells['total']:,.0f}", f"{cells['per_weight']:.3f}", "1.00x")
    for key, name in _BASELINES.items():
        count = report["baselines"][key]
        if count is not None:
            share = f"{count / cells['total']:.2f}x"
            table.add_row(name, f"{count:,.0f}", f"{count / num_weights:.3f}", share)
    OUTPUT.print(table)
    name, time_s = storage.device.name, storage.time_s
    OUTPUT.print(f"error and noise as shares of the energy; {name} after {time_s:g} s")
