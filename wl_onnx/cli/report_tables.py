"""Tables of a report: each tensor with its choice and bounds, and the whole."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from wl_onnx.cli.console import OUTPUT, format_bytes

__all__ = ["print_report"]

_COLUMNS = ("zeros", "bits", "size", "ratio", "filter >=", "lossless >=", "epsilon", "error")
_SEARCHED = ("loss", "other codec")
_ANALOG = ("cells", "digital")

_FILE_PARTS = {
    "blobs": "blob_bytes",
    "initializers left": "initializer_bytes",
    "graph": "graph_bytes",
}


def print_report(report: dict[str, Any], *, title: str) -> None:
    """Prints the tensors of a report, and sizes before and after."""
    encoded = [tensor for tensor in report["tensors"] if tensor["codec"] != "none"]
    left = [tensor for tensor in report["tensors"] if tensor["codec"] == "none"]
    if encoded:
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 0))
        table.add_column("weight", min_width=10, overflow="fold")
        table.add_column("shape", min_width=9, overflow="fold")
        table.add_column("codec", no_wrap=True)
        for column in _COLUMNS:
            table.add_column(column, justify="right", no_wrap=True)
        is_searched = any(tensor.get("tried") for tensor in encoded)
        for column in _SEARCHED if is_searched else ():
            table.add_column(column, justify="right", no_wrap=True)
        is_analog = any(tensor["codec"] == "analog" for tensor in encoded)
        for column in _ANALOG if is_analog else ():
            table.add_column(column, justify="right", no_wrap=True)
        for tensor in encoded:
            table.add_row(
                *_row(tensor),
                *(_describe_search(tensor) if is_searched else ()),
                *(_describe_cells(tensor) if is_analog else ()),
            )
        OUTPUT.print(table)
    for reason in dict.fromkeys(tensor["reason"] for tensor in left):
        names = [tensor["name"] for tensor in left if tensor["reason"] == reason]
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        OUTPUT.print(f"left as it is: {shown}" + (f" ({reason})" if reason else ""))
    if "search" in report:
        _print_search(report["search"])
    _print_totals(report)


def _describe_search(tensor: dict[str, Any]) -> tuple[str, str]:
    """The predicted loss, and the size of the other codec over that of the chosen one."""
    damage = tensor.get("predicted_damage")
    chosen = "bloomier" if tensor["codec"] == "bloomier" else "palette"
    others = {name: one for name, one in (tensor.get("tried") or {}).items() if name != chosen}
    sizes = (
        f"{name} {one['size_bits'] / tensor['size_bits']:.2f}x" for name, one in others.items()
    )
    return "" if damage is None else f"{damage:.2g}", ", ".join(sizes)


def _describe_cells(tensor: dict[str, Any]) -> tuple[str, str]:
    """The cells of a tensor, and the size of what lies beside them."""
    if tensor["cells"] is None:
        return "-", "-"
    return f"{tensor['cells']:,}", format_bytes(tensor["digital_bits"] / 8)


def _print_search(search: dict[str, Any]) -> None:
    """Prints what the smaller model loses on the validation data."""
    parts = []
    if search["drop"] is not None:
        before = search["baseline"]
        after = before - search["drop"]
        parts.append(f"{before:.4g} -> {after:.4g} (drop {search['drop']:.3g})")
    if search["kl"] is not None:
        parts.append(f"KL {search['kl']:.3g} nats")
    if search["snr_db"] is not None:
        parts.append(f"SNR {search['snr_db']:.1f} dB")
    ended = ", interrupted" if search["interrupted"] else ""
    OUTPUT.print(f"validation: {', '.join(parts)}; {search['trials']} trials{ended}")


def _row(tensor: dict[str, Any]) -> tuple[str, ...]:
    flag = "" if tensor["meets_share"] is not False else " !"
    epsilon, error = tensor["epsilon"], tensor["error_share"]
    lossless = tensor["lossless_bound_bits"]
    return (
        tensor["name"],
        "x".join(map(str, tensor["shape"])),
        tensor["codec"],
        f"{tensor['sparsity']:.1%}",
        "-" if tensor["bits"] is None else str(tensor["bits"]),
        format_bytes(tensor["size_bits"] / 8),
        f"{tensor['original_bits'] / tensor['size_bits']:.1f}x",
        "-" if tensor["bits"] is None else format_bytes(tensor["information_bound_bits"] / 8),
        "-" if lossless is None else format_bytes(lossless / 8),
        "-" if epsilon is None else f"{epsilon:.4f}",
        "-" if error is None else f"{error:.4f}{flag}",
    )


def _print_totals(report: dict[str, Any]) -> None:
    table = Table(box=SIMPLE_HEAD)
    for column in ("", "before", "after", "ratio"):
        table.add_column(column, justify="left" if not column else "right")
    for name, key in (("all initializers", "weights"), ("file", "file")):
        before, after = report[key]["original_bytes"], report[key]["compressed_bytes"]
        ratio = "-" if before is None else f"{before / max(1, after):.2f}x"
        table.add_row(name, format_bytes(before), format_bytes(after), ratio)
    for name, key in _FILE_PARTS.items():
        table.add_row(f"  {name}", "", format_bytes(report["file"][key]), "")
    OUTPUT.print(table)
