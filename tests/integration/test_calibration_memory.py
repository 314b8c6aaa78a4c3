"""Calibration keeps to its budget on a model whose moments are far larger than it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

WIDTH = 4096
NUM_LAYERS = 4
BATCH = 64
# In bytes, for the moments: 192 MiB a layer with the product that is added to them.
BUDGET = 256 << 20
# Beside the budget: the weights, a batch, and what the first run of onnxruntime and of a matrix
# product allocates once. The moments of all layers at once would not fit.
ALLOWANCE = NUM_LAYERS * 4 * WIDTH**2 + (64 << 20)

CHILD = """
import json, sys
from pathlib import Path
import numpy as np
from wl_onnx.graph import load_model
from wl_onnx.runtime.observe import observe_moments

def read_peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))

path, budget, width, batch = sys.argv[1], *map(int, sys.argv[2:])
rng = np.random.default_rng(0)
feeds = [{"x": rng.standard_normal((batch, width)).astype(np.float32)} for _ in range(2)]
model = load_model(path)
runs = []
Path("/proc/self/clear_refs").write_text("5")
before = read_peak()
size = 0
pairs = observe_moments(
    model, feeds, budget_bytes=budget, threads=1, progress=lambda *counts: runs.append(counts)
)
for _, moments in pairs:
    size += moments.size_bytes
    trace = float(np.trace(moments.second[0]))
    del moments
growth = read_peak() - before
print(json.dumps({"growth": growth, "runs": runs[-1][1], "size": size, "trace": trace}))
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four products of 4096 x 4096 one after another, their weights in a file of their own."""
    weight = np.random.default_rng(1).standard_normal((WIDTH, WIDTH), np.float32) / 64
    names = ["x", *(f"h{i}" for i in range(1, NUM_LAYERS)), "y"]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]])
            for i in range(NUM_LAYERS)
        ],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, WIDTH])],
        [numpy_helper.from_array(weight, f"w{i}") for i in range(NUM_LAYERS)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    target = tmp_path_factory.mktemp("wide") / "wide.onnx"
    onnx.save_model(model, target, save_as_external_data=True, location="wide.bin")
    return target


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_peak_memory_stays_within_the_budget(path: Path) -> None:
    arguments = [str(path), str(BUDGET), str(WIDTH), str(BATCH)]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["runs"] == NUM_LAYERS
    assert result["size"] == NUM_LAYERS * 8 * (WIDTH**2 + WIDTH)
    # The energy of a product with random weights of variance 1 / width is that of its input.
    assert result["trace"] == pytest.approx(WIDTH, rel=0.1)
    assert result["growth"] <= BUDGET + ALLOWANCE
