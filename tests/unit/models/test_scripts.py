"""What the scripts share: how they end, and how they write."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model_scripts import MODELS, load_script

command, files = load_script("script_command"), load_script("script_files")


@pytest.mark.parametrize("name", ["lenet", "resnet"])
def test_a_script_is_run_by_its_path_and_ends_with_one_line(name: str, tmp_path: Path) -> None:
    arguments = ["--data", tmp_path / "none.npz", "--out", tmp_path / "out.onnx"]
    done = subprocess.run(
        [sys.executable, MODELS / f"{name}.py", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"cannot read {tmp_path / 'none.npz'}: ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["lenet", "resnet"])
def test_an_output_without_a_folder_is_refused_first(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "none" / "out.onnx"
    assert load_script(name).main(["--data", str(tmp_path), "--out", str(out)]) == 1
    assert capsys.readouterr().err == f"cannot write {out}: its folder must exist, got none\n"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("before")

    def fail_halfway() -> None:
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail_halfway()
    assert path.read_text() == "before"
    with files.replacing(path) as temporary:
        assert temporary.suffix == ".txt"  # some writers choose the format by it
        temporary.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    with (
        pytest.raises(command.ScriptError, match="its folder must be writable, got: No such file"),
        files.replacing(tmp_path / "none" / "file.txt"),
    ):
        pytest.fail("nothing to write to")
    with (
        pytest.raises(command.ScriptError, match=r"there must be room .*, got: No space left"),
        files.replacing(tmp_path / "file.txt"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []
