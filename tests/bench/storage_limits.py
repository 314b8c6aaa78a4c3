"""What analog storage reaches on a model: cells within a limit, or what each strategy does alone.

    python tests/bench/storage_limits.py MODEL --data CALIBRATE.npz --validation-data VALIDATE.npz \
        --test TEST.npz --max-drop 0.5 [--analog-only]
    python tests/bench/storage_limits.py MODEL --data CALIBRATE.npz --test TEST.npz --strategies

The loss on the test data is the mean over 20 writes, each read once, with other seeds than those of
the search. With `--strategies` the protections are switched on one by one and together, at one
analog cell a weight.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import wl_onnx
from wl_onnx.analog import find_device
from wl_onnx.evaluation import Limits, MonteCarloValidator, load_feeds
from wl_onnx.graph import load_model
from wl_onnx.runtime.opening import open_model

_TEST_SEED = 1000
_BASE: dict[str, Any] = {"protect": frozenset()}
_STRATEGIES: dict[str, dict[str, Any]] = {
    "none: one cell with offset": {**_BASE, "mapping": "offset"},
    "none: differential pair (2 cells)": {**_BASE, "mapping": "pair"},
    "sign": {"protect": frozenset(("sign",))},
    "sign, response not inverted": {"protect": frozenset(("sign",)), "inverts_response": False},
    "sign, drift not compensated": {"protect": frozenset(("sign",)), "compensates_drift": False},
    "sign, scale by channel": {"protect": frozenset(("sign",)), "scale": "channel"},
    "sign + adaptive, 1 range": {"protect": frozenset(("sign", "adaptive")), "ranges": 1},
    "sign + adaptive, 2 ranges": {"protect": frozenset(("sign", "adaptive"))},
    "sign + sparsity 0.3": {"protect": frozenset(("sign", "sparsity")), "sparsity": 0.3},
    "sign, the same pruned, no mask": {"protect": frozenset(("sign",)), "sparsity": 0.3},
    "sign + sparsity 0.3 + sensitivity": {
        "protect": frozenset(("sign", "sparsity", "sensitivity")),
        "sparsity": 0.3,
    },
    "sign, 2 cells": {"protect": frozenset(("sign",)), "cells": 2},
    "sign + sensitivity, 2 cells": {"protect": frozenset(("sign", "sensitivity")), "cells": 2},
    "all: sparsity 0.1": {"protect": frozenset(wl_onnx.analog.PROTECTIONS), "sparsity": 0.1},
    "all: sparsity 0.2": {"protect": frozenset(wl_onnx.analog.PROTECTIONS), "sparsity": 0.2},
    "all: sparsity 0.3": {"protect": frozenset(wl_onnx.analog.PROTECTIONS), "sparsity": 0.3},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--validation-data", type=Path)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--max-drop", type=float)
    parser.add_argument("--cell-budget", type=float)
    parser.add_argument("--analog-only", action="store_true")
    parser.add_argument("--strategies", action="store_true")
    parser.add_argument("--device", default="pcm-nandakumar2019")
    parser.add_argument("--time", type=float, default=86400.0, help="seconds since programming")
    parser.add_argument("--reads", type=int, default=20)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("-o", "--output", type=Path, default=Path("build/storage_limits.onnx"))
    options = parser.parse_args()
    console = Console()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    validator = _make_validator(options)
    rows = _compare_strategies if options.strategies else _search
    for figures in rows(options, validator, console):
        console.print_json(json.dumps(figures))


def _make_validator(options: argparse.Namespace) -> MonteCarloValidator:
    model = load_model(options.model)
    feeds = load_feeds(options.test, open_model(model).get_inputs())
    return MonteCarloValidator(
        model, feeds, Limits(), time_s=options.time, reads=options.reads, seed=_TEST_SEED
    )


def _measure(result: wl_onnx.Result, validator: MonteCarloValidator) -> dict[str, float | None]:
    score = validator.measure(result.model)
    return {"drop": score.drop, "deviation": validator.spread, "kl": score.kl}


def _search(
    options: argparse.Namespace, validator: MonteCarloValidator, console: Console
) -> list[dict[str, Any]]:
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=None)

        def report(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total)

        start = time.perf_counter()
        result = wl_onnx.store(
            options.model,
            options.output,
            storage=wl_onnx.Storage(find_device(options.device), time_s=options.time),
            data=options.data,
            validation_data=options.validation_data,
            max_drop=options.max_drop,
            cell_budget=options.cell_budget,
            analog_only=options.analog_only,
            max_trials=options.trials,
            reads=options.reads,
            progress=report,
            force=True,
        )
        seconds = time.perf_counter() - start
    num_weights = result.report["cells"]["total"] / result.report["cells"]["per_weight"]
    codecs = [tensor["codec"] for tensor in result.report["tensors"]]
    return [
        {
            "cells": result.report["cells"],
            "cells a weight of others": {
                name: None if cells is None else cells / num_weights
                for name, cells in result.report["baselines"].items()
            },
            "tensors": {codec: codecs.count(codec) for codec in sorted(set(codecs))},
            "validation": result.report["search"],
            "test": _measure(result, validator),
            "seconds": seconds,
        }
    ]


def _compare_strategies(
    options: argparse.Namespace, validator: MonteCarloValidator, console: Console
) -> list[dict[str, Any]]:
    table = Table("strategy", "analog cells/weight", "all cells/weight", "drop", "deviation")
    figures = []
    for name, flags in _STRATEGIES.items():
        storage = wl_onnx.Storage(find_device(options.device), time_s=options.time, **flags)
        needs_data = storage.sparsity > 0 or "sensitivity" in storage.protect
        result = wl_onnx.store(
            options.model,
            storage=storage,
            data=options.data if needs_data or "adaptive" in storage.protect else None,
            reads=1,
        )
        cells, loss = result.report["cells"], _measure(result, validator)
        num_weights = cells["total"] / cells["per_weight"]
        figures.append({"strategy": name, "cells": cells, **loss})
        table.add_row(
            name,
            f"{cells['analog'] / num_weights:.2f}",
            f"{cells['per_weight']:.2f}",
            f"{loss['drop']:.2f}",
            f"{loss['deviation']:.2f}",
        )
    console.print(table)
    return figures


if __name__ == "__main__":
    main()
