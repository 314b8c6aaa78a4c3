"""Reproduces published figures: trains, makes small or hardens for cells, and tells all.

    python models/reproduce.py lenet300 --data mnist.npz --out results/
    python models/reproduce.py lenet5 --data mnist.npz --out results/
    python models/reproduce.py lenet5-layer --data mnist.npz --out results/
    python models/reproduce.py resnet20 --data cifar10.npz --model resnet20.onnx --out results/
    python models/reproduce.py resnet20-cells --data cifar10.npz --model resnet20.onnx

Needs `pip install ".[models]"`. For each seed a baseline is trained (ResNet-20 is given as
`models/resnet.py` writes it), then made small twice: without loss, and with filters. The last 4,000
training images validate; the test images are read once a result, when it is done. `resnet20-cells`
stores the model in analog cells, as it is and trained for their noise. A run that was interrupted
goes on where it was; what is finished is not made again. The constants are in `experiments.py` and
`cell_experiments.py`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cell_experiments import CELL_EXPERIMENTS, CellExperiment
from cell_reproduction import CellReproduction
from experiments import CODECS, EXPERIMENTS, HELD_OUT, QUICK_HELD_OUT, QUICK_SAMPLES
from image_data import read_images
from picture_frame import require_matplotlib
from reproduction import Reproduction
from rich.console import Console
from script_command import ScriptError
from training import set_threads

from wl_onnx import WlOnnxError


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Reproduces published figures of compression.")
    parser.add_argument("experiment", choices=[*EXPERIMENTS, *CELL_EXPERIMENTS])
    parser.add_argument("--data", type=Path, required=True, help=".npz or folder of the images")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder; default results")
    parser.add_argument("--model", type=Path, help="baseline as ONNX, for resnet20*")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default 0 1 2")
    parser.add_argument(
        "--codecs", choices=CODECS, nargs="+", help="default palette bloomier; none for cells"
    )
    parser.add_argument("--threads", type=int, default=0, help="default: torch's own choice")
    parser.add_argument(
        "--quick", action="store_true", help="few epochs of 1,000 images, to see that it works"
    )
    options = parser.parse_args(arguments)
    is_in_cells = options.experiment in CELL_EXPERIMENTS
    is_given = is_in_cells or EXPERIMENTS[options.experiment].baseline_epochs is None
    if is_given != (options.model is not None):
        parser.error(f"--model must {'be given' if is_given else 'go with resnet20* alone'}")
    if is_in_cells and options.codecs is not None:
        parser.error("--codecs must not go with cells")
    if min(options.seeds) < 0 or len(set(options.seeds)) < len(options.seeds):
        parser.error("--seeds must be at least 0 and all different")
    if options.threads < 0:
        parser.error("--threads must be at least 0")
    return options


def _run(options: argparse.Namespace) -> None:
    require_matplotlib()
    name = options.experiment
    experiment = CELL_EXPERIMENTS.get(name) or EXPERIMENTS[name]
    if options.model is not None and not options.model.is_file():
        raise ScriptError(f"cannot read {options.model}: it must be a file, got none")
    quick = options.quick
    data = read_images(
        options.data,
        experiment.dataset,
        held_out=QUICK_HELD_OUT if quick else HELD_OUT,
        max_train=QUICK_SAMPLES if quick else None,
    )
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ScriptError(
            f"cannot write to {options.out}: it must be a folder, got: {error.strerror}"
        ) from error
    set_threads(options.threads)
    console = Console(highlight=False)
    if isinstance(experiment, CellExperiment):
        cells = experiment.shorten() if quick else experiment
        CellReproduction(name, cells, data, options.out, given=options.model, console=console).run(
            options.seeds
        )
    else:
        if quick:
            experiment = experiment.shorten(len(data.train.images))
        Reproduction(name, experiment, data, options.out, given=options.model, console=console).run(
            options.seeds, options.codecs or CODECS
        )


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; 0 on success, 1 after one line on stderr, 130 after Ctrl-C."""
    try:
        _run(_parse(arguments))
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except (ScriptError, WlOnnxError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
