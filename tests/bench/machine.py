"""What the figures were taken on."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from wl_onnx.kernels.native import core, resolve_threads
from wl_onnx.version import __version__

__all__ = ["describe_machine"]

_LIBRARIES = ("numpy", "onnx", "onnxruntime", "mmh3", "pyfusefilter")


def describe_machine() -> dict[str, Any]:
    """CPU, cores, load, compiler, library versions and commit, as JSON takes them."""
    return {
        "cpu": _cpu(),
        "cores": resolve_threads(0),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "compiler": _compiler(),
        "cpu_target": core().current_target(),
        "cpu_targets": core().available_targets(),
        "libraries": {
            "wl-onnx": __version__,
            **{name: _version(name) for name in _LIBRARIES},
        },
        "commit": _commit(),
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        fields = dict(re.findall(r"^(.+?)\s*: (.*)$", path.read_text(encoding="utf-8"), re.M))
        model = fields.get("model name", platform.machine())
        return f"{model} (family {fields.get('cpu family')}, model {fields.get('model')})"
    return platform.processor() or platform.machine()


def _compiler() -> str:
    """What the compiled module says of itself, in the section that compilers write."""
    path = core().__file__
    data = Path(path).read_bytes() if path else b""
    found = sorted(set(re.findall(rb"GCC: \([^\0]*|(?:\w+ )?clang version [^\0]*", data)))
    return ", ".join(text.decode("ascii", "replace") for text in found) or "unknown"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    def git(*arguments: str) -> str:
        root = Path(__file__).parent
        return subprocess.run(
            ["git", *arguments], cwd=root, check=True, capture_output=True, text=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
