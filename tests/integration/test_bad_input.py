"""Bad input on the command line: one line on standard error, non-zero, and no file touched."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from wl_onnx.kernels import native
from wl_onnx.runtime import library


def save_external(path: str, location: str) -> None:
    model = onnx.load("m.onnx")  # a copy: saving changes it
    onnx.save_model(model, path, save_as_external_data=True, location=location, size_threshold=0)


@pytest.fixture
def folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    small_mlp: onnx.ModelProto,
    make_mlp: Callable[..., onnx.ModelProto],
) -> Path:
    """The working folder: a model, its compressed form, and files of other kinds."""
    import wl_onnx

    monkeypatch.chdir(tmp_path)
    onnx.save(small_mlp, "m.onnx")
    wl_onnx.compress("m.onnx", "small.onnx")
    Path("text.onnx").write_text("weights,1,2,3\n", encoding="utf-8")
    Path("empty.onnx").write_bytes(b"")
    Path("image.onnx").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    Path("link.onnx").symlink_to("m.onnx")
    Path("hard.onnx").hardlink_to("m.onnx")
    Path("folder").mkdir()
    save_external("external.onnx", "gone")
    Path("gone").unlink()
    save_external("short.onnx", "short")
    Path("short").write_bytes(Path("short").read_bytes()[:-1])
    for name, bad in (("nan", np.nan), ("inf", -np.inf)):
        weights = np.ones((32, 64), np.float32)
        weights[3, 5] = bad
        onnx.save(make_mlp(weights), f"{name}.onnx")
    onnx.save(make_mlp(np.full((32, 64), 1e39)), "large.onnx")
    Path("not.toml").write_text("sparsity = = 3", encoding="utf-8")
    Path("latin.toml").write_bytes(b'layout = "\xe9"')
    Path("unknown.toml").write_text("sparsty = 0.5", encoding="utf-8")
    Path("range.toml").write_text("clusters = 5000", encoding="utf-8")
    Path("kind.toml").write_text("include = 3", encoding="utf-8")
    Path("rules.toml").write_text("rules = 3", encoding="utf-8")
    Path("rule.toml").write_text('[[rules]]\nmatch = "w0"\nseed = 3', encoding="utf-8")
    return tmp_path


def list_files(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def refuse(run_cli: Callable[..., object], folder: Path) -> Callable[..., str]:
    """Runs a command that must fail, checks how it fails, and gives its one line."""

    def run(command: str, *more: str) -> str:
        before = list_files(folder)
        outcome = run_cli(*command.split(), *more)
        assert outcome.status in (1, 2), outcome
        assert outcome.out == ""
        assert outcome.err.count("\n") == 1, outcome.err
        assert outcome.err.startswith("wl-onnx: "), outcome.err
        assert outcome.err.strip().isprintable()
        assert list_files(folder) == before
        return outcome.err

    return run


COMMANDS = {
    "compress": "compress {} -o out.onnx --report out.json",
    "plan": "plan {}",
    "decompress": "decompress {} -o out.onnx",
    "inspect": "inspect {}",
    "compare": "compare m.onnx {}",
}
FILES = [
    ("text.onnx", "must be an ONNX model, got 14 bytes that do not parse"),
    ("empty.onnx", "must be an ONNX model, got an empty file"),
    ("image.onnx", "must be an ONNX model, got 72 bytes that do not parse"),
    ("absent.onnx", "must be a file, got no such file"),
    ("m.onnx/absent.onnx", "got Not a directory"),
    ("folder", "must be an ONNX file, got a directory"),
    ("external.onnx", "external data of w0 must be in gone, got no such file"),
    ("short.onnx", "the file is cut short"),
]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("file", "message"), FILES, ids=[name for name, _ in FILES])
def test_a_file_that_is_no_whole_model(
    refuse: Callable[..., str], command: str, file: str, message: str
) -> None:
    line = refuse(COMMANDS[command].format(file))
    if command != "compare":
        assert re.match(f"wl-onnx: cannot load {file}: .*{message}", line), line
    else:
        assert f" {file}" in line


OPTIONS = [
    ("--sparsity 1", "sparsity must be auto or in [0, 1), got 1.0"),
    ("--sparsity -0.1", "sparsity must be auto or in [0, 1), got -0.1"),
    ("--sparsity nan", "sparsity must be auto or in [0, 1), got nan"),
    ("--sparsity inf", "sparsity must be auto or in [0, 1), got inf"),
    ("--sparsity most", "sparsity must be auto or a number, got 'most'"),
    ("--clusters 0", "clusters must be a whole number from 1 to 4096, got 0"),
    ("--clusters -3", "clusters must be a whole number from 1 to 4096, got -3"),
    ("--clusters 4097", "clusters must be a whole number from 1 to 4096, got 4097"),
    ("--clusters 2.5", "--clusters"),
    ("--bits 0", "bits must be auto or a whole number from 1 to 16, got 0"),
    ("--bits 17", "bits must be auto or a whole number from 1 to 16, got 17"),
    ("--bits 3.5", "bits must be auto or a number, got '3.5'"),
    ("--bits 3", "bits must be at least log2 of clusters (16), got 3"),
    ("--bits 8 --clusters 257", "bits must be at least log2 of clusters (257), got 8"),
    ("--error-share 0", "error_share must be in (0, 1), got 0.0"),
    ("--error-share 1", "error_share must be in (0, 1), got 1.0"),
    ("--error-share nan", "error_share must be in (0, 1), got nan"),
    ("--layout hash", "layout must be ribbon or xor or prefix, got 'hash'"),
    ("--hash sha", "hash must be auto or tabulation or murmur3, got 'sha'"),
    ("--blobs file", "blobs must be attribute or initializer, got 'file'"),
    ("--prune-scope all", "prune_scope must be tensor or global, got 'all'"),
    ("--prune-scope global", "sparsity must be a number where prune_scope is global, got 'auto'"),
    ("--min-elements 0", "min_elements must be a whole number of at least 1, got 0"),
    ("--seed -1", "seed must be a whole number from 0 to 2**32 - 1, got -1"),
    ("--seed 4294967296", "seed must be a whole number from 0 to 2**32 - 1, got 4294967296"),
    ("--threads -1", "threads must be a whole number from 0"),
    ("--include nothing*", "nothing* must match a weight's name, got no match among w0, w1"),
    ("--exclude W0", "W0 must match a weight's name, got no match among w0, w1"),
    ("--recipe nowhere", "it must be a TOML file or one of"),
    ("--recipe absent.toml", "it must be a TOML file or one of"),
    ("--recipe folder", "it must be a TOML file or one of"),
    ("--recipe not.toml", "cannot load recipe not.toml: it must be TOML, got"),
    ("--recipe latin.toml", "cannot load recipe latin.toml: it must be TOML, got"),
    ("--recipe unknown.toml", "got sparsty"),
    ("--recipe range.toml", "clusters must be a whole number from 1 to 4096, got 5000"),
    ("--recipe kind.toml", "include must be texts, got 3"),
    ("--recipe rules.toml", "rules must be tables, got 3"),
    ("--recipe rule.toml", "got seed"),
    ("--nonsense", "No such option: --nonsense"),
]


@pytest.mark.parametrize(
    "command", ["compress m.onnx -o out.onnx --report out.json", "plan m.onnx"]
)
@pytest.mark.parametrize(("options", "message"), OPTIONS, ids=[option for option, _ in OPTIONS])
def test_an_option_out_of_range(
    refuse: Callable[..., str], command: str, options: str, message: str
) -> None:
    assert message in refuse(f"{command} {options}")


OUTPUTS = [
    ("compress m.onnx -o absent/out.onnx", "its folder must exist, got absent"),
    ("compress m.onnx -o text.onnx/out.onnx", "its folder must exist, got text.onnx"),
    ("compress m.onnx -o folder --force", "the output must be a file, got a directory"),
    ("compress m.onnx -o m.onnx --force", "the output must not overwrite the input"),
    ("compress m.onnx -o folder/../m.onnx --force", "the output must not overwrite the input"),
    ("compress m.onnx -o ./link.onnx --force", "the output must not overwrite the input"),
    ("compress m.onnx -o hard.onnx --force", "the output must not overwrite the input"),
    ("compress link.onnx -o m.onnx --force", "the output must not overwrite the input"),
    ("compress m.onnx -o text.onnx", "the output must not exist, got a file there"),
    ("compress m.onnx -o out.onnx --report absent/r.json", "its folder must exist, got absent"),
    ("compress m.onnx -o out.onnx --report text.onnx/r.json", "its folder must exist"),
    ("compress m.onnx -o out.onnx --report folder", "the report must be a file, got a directory"),
    ("compress m.onnx -o out.onnx --report text.onnx", "the report must not exist, got a file"),
    ("compress m.onnx -o out.onnx --report out.onnx --force", "a path of its own, got out.onnx"),
    ("compress m.onnx -o out.onnx --report out.onnx.data --force", "a path of its own"),
    ("compress m.onnx -o out.onnx --report folder/../m.onnx --force", "a path of its own"),
    ("compress m.onnx -o out.onnx --report link.onnx --force", "a path of its own"),
    ("decompress small.onnx -o small.onnx --force", "the output must not overwrite the input"),
    ("decompress small.onnx -o text.onnx", "the output must not exist, got a file there"),
    ("decompress small.onnx -o absent/out.onnx", "its folder must exist, got absent"),
]


@pytest.mark.parametrize(("command", "message"), OUTPUTS, ids=[command for command, _ in OUTPUTS])
def test_an_output_that_cannot_be_written(
    refuse: Callable[..., str], command: str, message: str
) -> None:
    assert message in refuse(command)


OTHERS = [
    ("compress small.onnx -o out.onnx", "the model must not be compressed yet"),
    ("plan small.onnx", "the model must not be compressed yet"),
    ("decompress m.onnx -o out.onnx", "it must be a compressed model"),
    ("compress nan.onnx -o out.onnx", "cannot use w0: weights must be finite float32"),
    ("compress inf.onnx -o out.onnx", "weights must be finite float32 numbers, got -inf"),
    ("compress large.onnx -o out.onnx", "weights must be finite float32 numbers, got 1e+39"),
    ("plan nan.onnx --sparsity 0.5 --prune-scope global", "finite float32 numbers, got nan"),
    ("compress m.onnx", "'-o' / '--output'"),
    ("compress", "rgument"),
    ("frobnicate", "No such command 'frobnicate'."),
    ("compare m.onnx small.onnx --data absent.npz", "absent.npz"),
    ("compare m.onnx small.onnx --data text.onnx", "text.onnx"),
]


@pytest.mark.parametrize(("command", "message"), OTHERS, ids=[command for command, _ in OTHERS])
def test_other_mistakes(refuse: Callable[..., str], command: str, message: str) -> None:
    assert message in refuse(command)


def test_a_model_cut_short_anywhere(refuse: Callable[..., str], folder: Path) -> None:
    data = Path("m.onnx").read_bytes()
    cuts = {*range(0, len(data), 997), *range(1, 40), *range(len(data) - 60, len(data))}
    for cut in sorted(cuts):
        Path("cut.onnx").write_bytes(data[:cut])
        assert "cannot load cut.onnx: " in refuse("compress cut.onnx -o out.onnx"), cut


def test_an_unwritable_folder(
    refuse: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    assert "its folder must be writable" in refuse("compress m.onnx -o folder/out.onnx")


@pytest.mark.parametrize("external", [False, True])
def test_a_disk_that_is_full(
    refuse: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch, external: bool
) -> None:
    def replace(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "replace", replace)
    blobs = "initializer" if external else "attribute"
    line = refuse(f"compress m.onnx -o out.onnx --blobs {blobs}")
    assert "cannot write out.onnx" in line
    assert "No space left on device" in line


def test_force_replaces(run_cli: Callable[..., object], folder: Path) -> None:
    small = Path("small.onnx").read_bytes()
    Path("r.json").write_text("old", encoding="utf-8")
    outcome = run_cli(*["compress", "m.onnx", "-o", "text.onnx", "--report", "r.json", "--force"])
    assert outcome.status == 0, outcome.err
    assert Path("text.onnx").read_bytes() == small
    assert Path("r.json").read_text(encoding="utf-8").startswith("{")
    assert run_cli(*["compress", "m.onnx", "-o", "new.onnx", "--force", "--quiet"]).out == ""


def test_a_link_as_output_is_replaced_and_not_followed(
    run_cli: Callable[..., object], folder: Path
) -> None:
    Path("other.onnx").symlink_to("text.onnx")
    text = Path("text.onnx").read_bytes()
    outcome = run_cli(*["compress", "m.onnx", "-o", "other.onnx", "--force"])
    assert outcome.status == 0, outcome.err
    assert Path("text.onnx").read_bytes() == text
    assert onnx.load("other.onnx").metadata_props


@pytest.mark.parametrize("version", ["1.16.3", "0.5.0"])
def test_an_onnxruntime_that_is_too_old(
    refuse: Callable[..., str], monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", version)
    line = refuse("compare m.onnx small.onnx")
    assert f"onnxruntime must be 1.17 or newer, got {version}; pip install --upgrade" in line


@pytest.mark.parametrize("command", [*COMMANDS, "demo"])
def test_a_core_that_was_not_built(
    refuse: Callable[..., str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(native, "_core", None)
    monkeypatch.setattr(native, "_import_error", ImportError("no module named _core"))
    file = "m.onnx" if command in ("compress", "plan") else "small.onnx"
    line = refuse(COMMANDS.get(command, command).format(file))
    assert "cannot load the compiled core: wl_onnx.kernels._core must be built" in line
    assert "reinstall wl-onnx with a C++ compiler" in line


def test_an_operator_library_that_was_not_built(
    refuse: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(library, "installed_directory", lambda: tmp_path / "nowhere")
    line = refuse("compare m.onnx small.onnx")
    assert "cannot find the operator library" in line


def test_empty_and_scalar_initializers_are_left_alone(
    run_cli: Callable[..., object], tmp_path: Path
) -> None:
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("MatMul", ["h", "nothing"], ["y"]),
            helper.make_node("Gemm", ["x", "w", "bias"], ["z"]),
            helper.make_node("Gather", ["scalar", "x"], ["s"]),
        ],
        "edges",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 0]),
            helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 64]),
        ],
        [
            numpy_helper.from_array(
                np.random.default_rng(0).normal(size=(64, 64)).astype("f4"), "w"
            ),
            numpy_helper.from_array(np.zeros((64, 0), np.float32), "nothing"),
            numpy_helper.from_array(np.float32(2), "scalar"),
            numpy_helper.from_array(np.float32(1), "bias"),
        ],
    )
    model, small = tmp_path / "edges.onnx", tmp_path / "small.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), model)
    outcome = run_cli("compress", model, "-o", small, "--min-elements", 1)
    assert outcome.status == 0, outcome.err
    assert "left as it is: nothing (is empty)" in outcome.out
    assert "left as it is: scalar (is a scalar)" in outcome.out
    before = {t.name: t for t in onnx.load(model).graph.initializer}
    after = {t.name: t for t in onnx.load(small).graph.initializer}
    assert after == {name: before[name] for name in ("nothing", "scalar", "bias")}


def test_names_that_look_like_markup(
    run_cli: Callable[..., object], make_mlp: Callable[..., onnx.ModelProto], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    names = ("layer[/x].w", "l:smile:[bold]")
    weights = [rng.normal(size=(64, 64)).astype(np.float32) for _ in names]
    model = tmp_path / "m[bold].onnx"
    onnx.save(make_mlp(*weights, names=names), model)
    small = tmp_path / "small.onnx"
    compressed = run_cli("compress", model, "-o", small, "--include", "layer*")
    for outcome in (compressed, run_cli("inspect", small), run_cli("plan", model)):
        assert outcome.status == 0, outcome.err
        assert "layer[/x].w" in outcome.out
        assert "l:smile:[bold]" in outcome.out
