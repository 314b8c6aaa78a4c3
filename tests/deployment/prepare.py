"""Gets what the tests in this folder run models in: `python tests/deployment/prepare.py`.

Virtual environments with one version of onnxruntime each, without this package, come to
`build/deployment`, the npm packages to `javascript/node_modules`. What cannot be had, for want of
a network, of npm or of a wheel for this Python, is said; its tests are skipped then.
"""

from __future__ import annotations

import concurrent.futures
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENVIRONMENTS = Path(os.environ.get("WL_ONNX_DEPLOYMENT", ROOT / "build" / "deployment"))
NODE_MODULES = HERE / "javascript" / "node_modules"
# The oldest that models of IR 10 run in is 1.18; wheels before 1.19 were built for NumPy 1.
VERSIONS = {
    "1.17.3": "numpy<2",
    "1.18.1": "numpy<2",
    "1.20.1": "numpy",
    "1.23.2": "numpy",
    "newest": "numpy",
}


def find_python(version: str) -> Path:
    """The interpreter of the environment that has this version of onnxruntime."""
    folder = ENVIRONMENTS / f"onnxruntime-{version}"
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def make_environment(version: str) -> None:
    """Makes the environment of this version, or brings the newest one up to date.

    Raises:
        subprocess.CalledProcessError: pip failed; nothing is left of the environment.
    """
    python = find_python(version)
    if python.exists() and version != "newest":
        return
    wanted = "onnxruntime" if version == "newest" else f"onnxruntime=={version}"
    if not python.exists():
        venv.create(python.parents[1], symlinks=os.name != "nt")
    # Running a model needs NumPy alone of what onnxruntime's wheels ask for.
    install = ["install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:"]
    command = [sys.executable, "-m", "pip", "--python", python, *install, "--upgrade"]
    try:
        subprocess.run(
            [*command, wanted, VERSIONS[version]], check=True, capture_output=True, text=True
        )
    except subprocess.CalledProcessError:
        shutil.rmtree(python.parents[1])
        raise


def install_npm_packages() -> None:
    """Installs the exact versions of package-lock.json, without running their scripts.

    Raises:
        FileNotFoundError: npm is not installed.
        subprocess.CalledProcessError: npm failed.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is not installed")
    folder = NODE_MODULES.parent
    installed = NODE_MODULES / ".package-lock.json"
    lock = folder / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime > lock.stat().st_mtime:
        return
    # onnxruntime-node's script would get CUDA libraries.
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


def main() -> None:
    """Gets everything at once and tells what could not be had."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        tasks = {f"onnxruntime {v}": pool.submit(make_environment, v) for v in VERSIONS}
        tasks["the npm packages"] = pool.submit(install_npm_packages)
    for name, task in tasks.items():
        error = task.exception()
        reason = getattr(error, "stderr", None) or str(error)
        last = reason.strip().splitlines()[-1] if reason.strip() else repr(error)
        print(f"{name}: {'ready' if error is None else f'cannot be had: {last}'}")


if __name__ == "__main__":
    main()
