"""What the tests of damaged blobs share: each CPU target, and bounded memory."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wl_onnx.kernels.native import core

MEMORY_BYTES = 256 << 20


@pytest.fixture(params=["baseline", "avx2", "avx512"])
def _target(request: pytest.FixtureRequest) -> Iterator[None]:
    before = core().current_target()
    if not core().set_target(request.param):
        pytest.skip(f"{request.param} is not in this build or this machine cannot run it")
    yield
    assert core().set_target(before)


@pytest.fixture(autouse=True)
def _memory_limit() -> Iterator[None]:
    """Lets the process grow by no more than MEMORY_BYTES."""
    if not sys.platform.startswith("linux"):
        yield
        return
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)
