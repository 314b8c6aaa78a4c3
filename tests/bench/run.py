"""Measures everything, prints one table a part and writes all of it as JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import analog_run
import code_lengths
import codec_choice
import compensation_speed
import compression_speed
import construction_speed
import decode_speed
import filter_size
import noise_speed
import portable_folding
import portable_latency
import sessions
import zoo_conversion
from figures import Figure, as_json, print_figures
from machine import describe_machine
from rich.console import Console

_PARTS = {
    "filter_size": filter_size.measure,
    "code_lengths": code_lengths.measure,
    "codec_choice": codec_choice.measure,
    "decode_speed": decode_speed.measure,
    "construction_speed": construction_speed.measure,
    "compression_speed": compression_speed.measure,
    "compensation_speed": compensation_speed.measure,
    "noise_speed": noise_speed.measure,
    "analog_run": analog_run.measure,
    "sessions": sessions.measure,
    "portable_folding": portable_folding.measure,
    "portable_latency": portable_latency.measure,
    "zoo_conversion": zoo_conversion.measure,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer repetitions")
    parser.add_argument("--only", action="append", choices=_PARTS, help="this part; repeatable")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), metavar="FILE")
    options = parser.parse_args()

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    machine = describe_machine()
    console.print(json.dumps(machine, indent=2), highlight=False)
    if options.quick:
        console.print("quick: smaller than what the targets are for")
    console.print(
        "Figures are ratios of medians of interleaved repetitions, best of: of the fastest."
    )
    parts: dict[str, list[Figure]] = {}
    for name in options.only or _PARTS:
        parts[name] = _PARTS[name](options.quick)
        print_figures(name.replace("_", " "), parts[name], console)
    verdicts = [figure.met for figures in parts.values() for figure in figures]
    aimed = [met for met in verdicts if met is not None]
    console.print(f"{sum(aimed)} of {len(aimed)} targets met")

    report = {
        "machine": machine,
        "quick": options.quick,
        "parts": {name: as_json(figures) for name, figures in parts.items()},
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    console.print(f"written to {options.json}")


if __name__ == "__main__":
    main()
