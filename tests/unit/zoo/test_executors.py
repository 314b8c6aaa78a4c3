"""Where models are compressed: processes that are killed or interrupted, and a Dask cluster."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from wl_onnx.errors import InputError, LibraryError
from wl_onnx.zoo import convert, load_manifest, open_cluster, open_processes
from wl_onnx.zoo.executors import InlineExecutor

KILLED = """
import os, signal, time
from wl_onnx.zoo import open_processes

if __name__ == "__main__":
    with open_processes(1) as executor:
        executor.submit(os.getpid).result()
        executor.submit(time.sleep, 600)
        print("works", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(600)
"""


def test_in_this_thread() -> None:
    executor = InlineExecutor()
    assert executor.submit(divmod, 7, 2).result() == (3, 1)
    assert isinstance(executor.submit(divmod, 7, 0).exception(), ZeroDivisionError)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        executor.submit(interrupt)


def test_processes_start_anew_after_one_was_killed() -> None:
    with open_processes(1) as executor:
        first = executor.submit(os.getpid).result()
        assert first != os.getpid()
        with pytest.raises(BrokenProcessPool):
            executor.submit(os._exit, 3).result()
        assert executor.submit(os.getpid).result() not in (first, os.getpid())
    assert not multiprocessing.active_children()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_is_not_for_processes_not_even_while_they_start() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with open_processes(1) as executor:
        # What is blocked from the start is not shown to a process that still imports.
        blocked = executor.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result()
        assert signal.SIGINT in blocked
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_processes_end_with_the_one_that_started_them(child_environment: dict[str, str]) -> None:
    # The child's output ends when none of its processes is left to write to it.
    done = subprocess.run(
        [sys.executable, "-c", KILLED], env=child_environment, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == -signal.SIGTERM
    assert done.stdout == "works\n"


def test_an_exception_stops_what_runs() -> None:
    with pytest.raises(KeyboardInterrupt), open_processes(1) as executor:  # noqa: PT012
        executor.submit(os.getpid).result()
        (process,) = multiprocessing.active_children()
        for _ in range(2):
            executor.submit(time.sleep, 600)
        raise KeyboardInterrupt
    assert process.exitcode != 0  # it did not come to its end
    assert not multiprocessing.active_children()


def test_no_processes() -> None:
    with pytest.raises(InputError, match="jobs must be at least 1, got 0"), open_processes(0):
        pass


def test_a_cluster_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(LibraryError, match=r'pip install "wl-onnx\[cluster\]"'),
        open_cluster("tcp://127.0.0.1:1"),
    ):
        pass


@pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None, reason="distributed is not installed"
)
@pytest.mark.filterwarnings("default")  # of its own accord it closes not all that it opens
def test_on_a_dask_cluster(make_zoo: Callable[..., Path], tmp_path: Path) -> None:
    from distributed import LocalCluster

    entries = load_manifest(make_zoo(3))
    entries[1].local_path.write_bytes(b"")
    convert(entries, tmp_path / "here")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(processes=False, protocol="tcp", **options) as cluster:
        address = cluster.scheduler_address
        with open_cluster(address) as executor:
            results = convert(entries, tmp_path / "there", executor=executor)
    assert [result.state for result in results] == ["converted", "failed", "converted"]
    name = "ONNX_HUB_MANIFEST.json"
    assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    monkey = "wl_onnx.zoo.executors._CONNECT_TIMEOUT_S"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monkey, 1)
        with pytest.raises(InputError, match="a Dask scheduler must answer there"):
            open_cluster(address).__enter__()
