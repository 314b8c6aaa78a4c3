"""How much sooner two processes convert a folder of models than one."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from figures import Figure, ratio_figure, require
from timing import interleave

from models import build_mlp
from wl_onnx import zoo

__all__ = ["measure"]


def measure(quick: bool) -> list[Figure]:
    count = 6 if quick else 50
    with tempfile.TemporaryDirectory(prefix="wl_onnx-") as name:
        folder = Path(name)
        (folder / "models").mkdir()
        for index in range(count):
            build_mlp(folder / "models" / f"m{index:02}.onnx", width=512, seed=index)
        entries = zoo.find_entries([folder / "models"], [])
        size_bytes = sum(entry.local_path.stat().st_size for entry in entries)

        def convert(jobs: int) -> None:
            out = folder / f"out{jobs}"
            shutil.rmtree(out, ignore_errors=True)
            with zoo.open_processes(jobs) as executor:
                results = zoo.convert(entries, out, executor=executor)
            done = sum(result.state == "converted" for result in results)
            require(done == count, "every model is converted", f"{done} of {count}")

        times = interleave(
            {"2 workers": lambda: convert(2), "1 worker": lambda: convert(1)},
            rounds=1 if quick else 3,
        )
        for path in (folder / "out1").iterdir():
            same = path.read_bytes() == (folder / "out2" / path.name).read_bytes()
            require(same, "one and two workers give the same bytes", path.name)
    return [
        ratio_figure(
            "zoo conversion, 2 workers / 1",
            f"{count} models of {size_bytes / count / 1e6:.1f} MB, a thread each",
            times,
            "2 workers",
            "1 worker",
            limit=0.6,
            note="with the start of the processes",
        )
    ]
