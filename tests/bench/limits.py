"""What calibrated compression reaches on a model: its size, its loss on other data, and its guess.

    python tests/bench/limits.py MODEL --data CALIBRATE.npz --validation-data VALIDATE.npz \
        --test TEST.npz --max-drop 0.5

Further limits are those of `wl-onnx compress`. The test data is looked at once, at the end. With
`--rank` single layers are coded more and more coarsely, and the loss that is predicted of each is
ranked against the loss that is measured.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

import wl_onnx
from wl_onnx.evaluation import Limits, Validator, compare, load_feeds
from wl_onnx.graph import find_layers, load_model
from wl_onnx.planning.assembly import assemble
from wl_onnx.planning.calibration import CalibrationSettings, calibrate
from wl_onnx.planning.layer_problem import LayerSettings
from wl_onnx.planning.sequence import code_layers
from wl_onnx.runtime.opening import open_model

_LAMBDAS = 1e-9 * 4.0 ** np.arange(6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--validation-data", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    for limit in ("--max-drop", "--max-kl", "--min-snr"):
        parser.add_argument(limit, type=float)
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--rank", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/limits.onnx"))
    options = parser.parse_args()
    console = Console()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figures = _compress(options)
    if options.rank:
        figures["rank correlation"] = _rank(options, console)
    console.print_json(json.dumps(figures))


def _compress(options: argparse.Namespace) -> dict[str, Any]:
    with Progress(transient=True) as progress:
        task = progress.add_task("", total=None)

        def report(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total)

        start = time.perf_counter()
        result = wl_onnx.compress(
            options.model,
            options.output,
            data=options.data,
            validation_data=options.validation_data,
            max_drop=options.max_drop,
            max_kl=options.max_kl,
            min_snr=options.min_snr,
            max_trials=options.trials,
            progress=report,
            force=True,
        )
        seconds = time.perf_counter() - start
    compared = compare(options.model, options.output, options.test)
    top1 = compared.get("top1")
    return {
        "ratio": result.report["weights"]["ratio"],
        "weights": result.report["weights"],
        "file": result.report["file"],
        "validation": result.report["search"],
        "test drop": None if top1 is None else 100 * (top1["original"] - top1["compressed"]),
        "test SNR": {one["name"]: one["snr_db"] for one in compared["outputs"]},
        "seconds": seconds,
    }


def _rank(options: argparse.Namespace, console: Console) -> float:
    """Spearman's correlation of predicted and measured losses of layers that are coded alone."""
    model = load_model(options.model)
    inputs = open_model(model).get_inputs()
    limits = Limits(options.max_drop, options.max_kl, options.min_snr)
    validator = Validator(model, load_feeds(options.validation_data, inputs), limits)
    layers = [layer for layer in find_layers(model) if layer.view is not None]
    calibration = calibrate(
        model,
        load_feeds(options.data, inputs),
        layers,
        temperature=validator.temperature,
        settings=CalibrationSettings(),
    )
    predicted, measured = [], []
    for layer in layers:
        for lam in _LAMBDAS * validator.loss_scale:
            settings = {one.site.key: LayerSettings(codec="none", lam=lam) for one in layers}
            settings[layer.site.key] = LayerSettings(codec="palette", lam=lam)
            coded = code_layers(calibration, settings, wl_onnx.Recipe())
            changed = load_model(options.model)
            assemble(model, coded, wl_onnx.Recipe(), {}).apply(changed)
            predicted.append(coded.damage)
            measured.append(validator.measure(changed).divergence)
        console.print(
            f"{layer.site.key}: {predicted[-1]:.3g} predicted, {measured[-1]:.3g} measured"
        )
    ranks = [np.argsort(np.argsort(values)) for values in (predicted, measured)]
    return float(np.corrcoef(*ranks)[0, 1])


if __name__ == "__main__":
    main()
