"""Where models are compressed: in this process, in several, or on a Dask cluster."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from multiprocessing import resource_tracker
from typing import Any

from wl_onnx.errors import InputError, LibraryError

__all__ = ["InlineExecutor", "open_cluster", "open_processes"]

_CONNECT_TIMEOUT_S = 15


class InlineExecutor(Executor):
    """Runs each call at once, in this thread; Ctrl-C reaches it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Runs a call.

        Args:
            fn: what is called.
            *args: its arguments.
            **kwargs: its keyword arguments.

        Returns:
            A future that is done.
        """
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class _Processes(Executor):
    """Processes that are started anew after one of them was killed, as where memory ran out."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._pool = self._start()

    def _start(self) -> ProcessPoolExecutor:
        # A fork would take along threads and what they hold.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._jobs, mp_context=context, initializer=_set_up_worker)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        with _block_interrupts():
            try:
                return self._pool.submit(fn, *args, **kwargs)
            except BrokenExecutor:
                self._pool.shutdown(wait=False)
                self._pool = self._start()
                return self._pool.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


@contextlib.contextmanager
def open_processes(jobs: int) -> Iterator[Executor]:
    """Processes that compress models; on an exception they are stopped.

    Args:
        jobs: how many, at least 1.

    Raises:
        InputError: none is asked for.
    """
    if jobs < 1:
        raise InputError(f"cannot start processes: jobs must be at least 1, got {jobs}")
    earlier = set(multiprocessing.active_children())
    pool = _Processes(jobs)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - earlier:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def open_cluster(address: str) -> Iterator[Executor]:
    """A Dask cluster as an executor; its workers must see the same files.

    Args:
        address: of its scheduler, as `tcp://host:8786`.

    Raises:
        LibraryError: Dask's `distributed` is not installed.
        InputError: nothing answers at the address.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise LibraryError(
            "cannot use a cluster: distributed must be installed, got no such package; "
            'pip install "wl-onnx[cluster]"'
        ) from error
    try:
        client = Client(address, timeout=_CONNECT_TIMEOUT_S)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot use cluster {address}: a Dask scheduler must answer there, got {error}"
        ) from error
    with client, client.get_executor(pure=False, retries=0) as executor:
        yield executor


@contextlib.contextmanager
def _block_interrupts() -> Iterator[None]:
    """Has processes that are started here begin without Ctrl-C; this one gets it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # Its own start, the first time, would unblock the signal.
    resource_tracker.ensure_running()
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _set_up_worker() -> None:
    """Leaves Ctrl-C to the process that started this one, and warnings to the table."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("wl_onnx").setLevel(logging.ERROR)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process once the one that started it is gone: killed, it could not say so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
