"""The operator library: what it exports, what it calls, what it includes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wl_onnx.runtime.library import MINIMUM_ONNXRUNTIME, get_library_path

CUSTOM_OPS = Path(__file__).parents[2] / "custom_ops"

# Slot and API version of each function, read off the public header by offsetof.
PUBLISHED = {
    "CreateStatus": (0, 1),
    "GetErrorMessage": (2, 1),
    "CreateCustomOpDomain": (26, 1),
    "CustomOpDomainAdd": (27, 1),
    "AddCustomOpDomain": (28, 1),
    "GetTensorMutableData": (51, 1),
    "CreateTensorTypeAndShapeInfo": (57, 1),
    "SetTensorElementType": (58, 1),
    "SetDimensions": (59, 1),
    "GetTensorElementType": (60, 1),
    "GetTensorShapeElementCount": (64, 1),
    "GetTensorTypeAndShape": (65, 1),
    "GetAllocatorWithDefaultOptions": (78, 1),
    "KernelInfoGetAttributeInt64": (86, 1),
    "KernelContextGetInput": (90, 1),
    "KernelContextGetOutput": (91, 1),
    "ReleaseStatus": (93, 1),
    "ReleaseValue": (96, 1),
    "ReleaseTensorTypeAndShapeInfo": (99, 1),
    "ReleaseCustomOpDomain": (101, 1),
    "KernelInfoGetAttributeArrayInt64": (163, 1),
    "KernelInfoGetInputCount": (230, 14),
    "KernelInfoGetOutputCount": (231, 14),
    "KernelInfoGetAttributeTensor": (236, 14),
    "HasSessionConfigEntry": (237, 14),
    "GetSessionConfigEntry": (238, 14),
    "KernelInfoGetNodeName": (244, 15),
    "KernelInfoGetConstantInputTensor": (249, 15),
    "ShapeInferContextGetAttribute": (269, 17),
    "ShapeInferContextSetOutputTypeShape": (270, 17),
    "SetSymbolicDimensions": (271, 17),
    "ReadOpAttr": (272, 17),
    "KernelContextParallelFor": (274, 17),
}


def test_exports_one_symbol() -> None:
    nm = shutil.which("nm")
    if nm is None or sys.platform != "linux":
        pytest.skip("needs nm on Linux")
    listed = subprocess.run(
        [nm, "-D", "--defined-only", get_library_path()], check=True, capture_output=True, text=True
    ).stdout
    assert [line.split()[-1] for line in listed.splitlines()] == ["RegisterCustomOps"]


def test_slots_are_those_published() -> None:
    header = (CUSTOM_OPS / "ort_abi.h").read_text(encoding="utf-8")
    found = re.findall(r"using (\w+) =\s*ApiFunction<\s*(\d+),\s*(\d+),", header)
    assert {name: (int(slot), int(since)) for name, slot, since in found} == PUBLISHED
    assert header.count("ApiFunction<") == len(PUBLISHED)


def test_no_slot_is_newer_than_the_floor() -> None:
    header = (CUSTOM_OPS / "ort_abi.h").read_text(encoding="utf-8")
    floor = re.search(r"constexpr uint32_t kApiFloor = (\d+);", header)
    assert floor is not None
    assert (1, int(floor[1])) == MINIMUM_ONNXRUNTIME
    assert max(since for _, since in PUBLISHED.values()) <= int(floor[1])


@pytest.mark.parametrize(("since", "compiles"), [(17, True), (18, False)])
def test_a_newer_slot_does_not_compile(tmp_path: Path, since: int, compiles: bool) -> None:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    source = tmp_path / "newer.cc"
    source.write_text(
        '#include "ort_abi.h"\n'
        f"using Newer = wl::ort::ApiFunction<277, {since}, void()>;\n"
        "void call(const wl::ort::OrtApi* api) { Newer::of(api)(); }\n",
        encoding="utf-8",
    )
    command = [compiler, "-std=c++17", "-fsyntax-only", f"-I{CUSTOM_OPS}", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is compiles, done.stderr
    assert compiles or "newer than the API version asked for" in done.stderr


def test_the_table_is_read_in_one_place() -> None:
    for path in CUSTOM_OPS.glob("ops/*"):
        assert "AnyFunction" not in path.read_text(encoding="utf-8"), path


def test_includes_keep_to_the_layers() -> None:
    allowed = {
        "core": re.compile(r"core/"),
        "ops": re.compile(r"core/|ops/|ort_abi\.h"),
        "bindings": re.compile(r"core/|bindings/"),
    }
    for folder, pattern in allowed.items():
        paths = [p for p in (CUSTOM_OPS / folder).rglob("*") if p.suffix in (".h", ".cc")]
        assert paths
        for path in paths:
            for name in re.findall(r'#include "([^"]+)"', path.read_text(encoding="utf-8")):
                assert pattern.match(name), f"{path} includes {name}"
