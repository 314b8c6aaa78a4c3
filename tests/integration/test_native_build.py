"""The C++ core builds by CMake alone and passes its own tests: sanitized, plain, and for ARM."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import mmh3
import numpy as np
import pytest

from tests.devices import RECORDS, table_record
from wl_onnx.kernels import noise

SOURCE = Path(__file__).resolve().parents[2] / "custom_ops"


def run(*command: str | Path) -> str:
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert result.returncode == 0, f"{command}\n{result.stdout[-6000:]}"
    return result.stdout


def build_and_test(folder: Path, *options: str) -> str:
    """Configures, builds and runs the C++ tests; the output of ctest."""
    run("cmake", "-S", SOURCE, "-B", folder, "-DWL_PYTHON=OFF", "-DWL_NATIVE_TESTS=ON", *options)
    run("cmake", "--build", folder, "--target", "native_tests", "--parallel", str(os.cpu_count()))
    output = run("ctest", "--test-dir", folder, "--verbose", "--no-tests=error")
    assert "100% tests passed" in output
    return output


def digest_of_cells() -> str:
    """What the installed core gives for the cells that tests/native/test_noise.cc takes."""
    i = np.arange(5000)
    levels = (i * i % 11 + i % 6).astype(np.uint16)
    table = np.array([[0, 0.5, 1], [1, 8, 12], [0.5, 1, 0], [0.1, 0.2, 0.3]])
    arrays: list[np.ndarray] = []
    for record in (RECORDS["nandakumar"], table_record(table)):
        cells = noise.program_cells(
            record, 4, levels, write_seed=99, tensor=5, time_s=86400, first=13
        )
        arrays += [*cells, noise.read_cells(*cells, read_seed=7, tensor=5, first=13)]
    return mmh3.mmh3_x64_128_digest(np.concatenate(arrays).tobytes()).hex()


@pytest.fixture(scope="module", autouse=True)
def compiler() -> str:
    if not (shutil.which("cmake") and shutil.which("ctest")):
        pytest.skip("cmake and ctest are not installed")
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and shutil.which(name):
            return name
    pytest.skip("no C++ compiler is installed")


def test_under_the_sanitizers(compiler: str, tmp_path: Path) -> None:
    program = tmp_path / "probe.cc"
    program.write_text("int main() { return 0; }\n")
    options = ["-fsanitize=address,undefined", program, "-o", tmp_path / "probe"]
    if subprocess.run([compiler, *options], capture_output=True, check=False).returncode != 0:
        pytest.skip(f"{compiler} has no sanitizers")
    build_and_test(tmp_path / "build", "-DWL_SANITIZE=ON", "-DCMAKE_CXX_FLAGS_RELEASE=-O1")


def test_a_plain_build_gives_the_same_bytes(tmp_path: Path) -> None:
    output = build_and_test(tmp_path, "-DWL_CPU_TARGETS=OFF")
    assert "targets: baseline\n" in output
    assert f"noise: {digest_of_cells()}\n" in output


def test_an_arm_build_gives_the_same_bytes(tmp_path: Path) -> None:
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if not (emulator and shutil.which("aarch64-linux-gnu-g++")):
        pytest.skip("aarch64-linux-gnu-g++ and qemu-aarch64 are not installed")
    output = build_and_test(
        tmp_path,
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++",
        f"-DCMAKE_CROSSCOMPILING_EMULATOR={emulator};-L;/usr/aarch64-linux-gnu",
    )
    assert "targets: baseline\n" in output
    assert f"noise: {digest_of_cells()}\n" in output
