from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import wl_onnx
from tests.image_network import make_image_network
from tests.marked_images import make_marked_images
from tests.model_scripts import load_script

pytest.importorskip("torch", reason="needs the extra models")
pytest.importorskip("matplotlib", reason="needs the extra models")

reproduce, reproduction = load_script("reproduce"), load_script("reproduction")


@pytest.fixture(scope="module")
def mnist() -> dict[str, np.ndarray]:
    return make_marked_images(700, 150)


@pytest.fixture(scope="module")
def mnist_file(mnist: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "mnist.npz"
    np.savez(path, **mnist)
    return path


def call(name: str, data: Path, out: Path, *others: object) -> int:
    options = [name, "--data", data, "--out", out, "--quick", "--threads", 1, *others]
    return int(reproduce.main([str(option) for option in options]))


@pytest.fixture(scope="module")
def made(mnist_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with two seeds."""
    out = tmp_path_factory.mktemp("results")
    assert call("lenet300", mnist_file, out, "--seeds", 0, 5) == 0
    return out


def count_initializers(path: Path) -> int:
    """Bytes of all that stands for weights, without the product's own code."""
    graph = onnx.load(path).graph
    blobs = [
        len(attribute.t.raw_data)
        for node in graph.node
        if node.domain == "com.wl_onnx"
        for attribute in node.attribute
        if attribute.HasField("t")
    ]
    return sum(numpy_helper.to_array(one).nbytes for one in graph.initializer) + sum(blobs)


def measure_error(path: Path, arrays: dict[str, np.ndarray]) -> float:
    """Test error in percent, in onnxruntime alone on the decoded weights."""
    plain = wl_onnx.decompress(path)
    session = onnxruntime.InferenceSession(plain.SerializeToString())
    images = (arrays["x_test"][:, None] / 255).astype(np.float32)
    (logits,) = session.run(None, {"input": images})
    return 100 * float(np.mean(logits.argmax(axis=1) != arrays["y_test"]))


def test_the_figures_are_those_of_the_files(made: Path, mnist: dict[str, np.ndarray]) -> None:
    results = json.loads((made / "lenet300.json").read_text())["results"]
    assert [(r["figures"]["seed"], r["figures"]["codec"]) for r in results] == [
        (0, "palette"),
        (5, "palette"),
        (0, "bloomier"),
        (5, "bloomier"),
    ]
    for result in results:
        figures, files = result["figures"], result["files"]
        baseline, model = made / files["baseline"], made / files["model"]
        assert figures["weights_bytes"] == count_initializers(model)
        assert figures["weights_ratio"] == pytest.approx(
            count_initializers(baseline) / count_initializers(model)
        )
        assert count_initializers(baseline) == 4 * 266_610
        assert figures["file_bytes"] == model.stat().st_size
        assert figures["file_ratio"] == baseline.stat().st_size / model.stat().st_size
        assert figures["test_error"] == pytest.approx(measure_error(model, mnist))
        baseline_model = onnxruntime.InferenceSession(baseline)
        (logits,) = baseline_model.run(
            None, {"input": (mnist["x_test"][:, None] / 255).astype(np.float32)}
        )
        wrong = np.mean(logits.argmax(axis=1) != mnist["y_test"])
        assert figures["baseline_error"] == pytest.approx(100 * wrong)
        has_filters = any(n.op_type == "BloomierDecode" for n in onnx.load(model).graph.node)
        assert has_filters == (figures["codec"] == "bloomier")
        assert (figures["filter_bytes"] is not None) == has_filters


def test_seeds_and_recipes_differ_as_asked(made: Path) -> None:
    results = json.loads((made / "lenet300.json").read_text())["results"]
    baselines = [onnx.load(made / f"lenet300-seed{seed}.onnx") for seed in (0, 5)]
    first = [numpy_helper.to_array(one.graph.initializer[0]) for one in baselines]
    assert not np.array_equal(*first)
    for result in results:
        recipe = result["settings"]["recipe"]
        assert recipe["seed"] == result["figures"]["seed"]
        assert recipe["codec"] == result["figures"]["codec"]
        assert result["report"]["finetune"]["samples"] == 500  # 700 less the 200 that validate
        assert result["report"]["finetune"]["validation_samples"] == 200


def test_the_table_and_the_pictures_are_there(made: Path) -> None:
    text = (made / "lenet300.md").read_text()
    rows = re.findall(r"^\| (\S+) \| (lossless|filters) \|", text, re.MULTILINE)
    kinds = ["0", "5", "mean", "worst"]
    assert sorted(rows) == sorted((k, c) for k in kinds for c in ("lossless", "filters"))
    assert "entropy-penalised | 124x" in text
    assert (made / "lenet300.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "</svg>" in (made / "lenet300.svg").read_text()
    assert not list(made.glob("*.checkpoint"))
    assert not list(made.glob(".*"))


def test_a_second_call_makes_nothing_anew(
    made: Path, mnist_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("made anew")

    monkeypatch.setattr(reproduction, "finetune", refuse)
    monkeypatch.setattr(reproduction.lenet, "train", refuse)
    monkeypatch.setattr(reproduction, "measure_error", refuse)
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    assert call("lenet300", mnist_file, made, "--seeds", 0, 5) == 0
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before


def test_what_another_run_left_is_refused(
    made: Path, mnist_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("lenet300-seed0.onnx", "lenet300-seed0-palette.onnx"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    record = json.loads((made / "lenet300-seed0-palette.json").read_text())
    path = tmp_path / "lenet300-seed0-palette.json"

    def refusal(text: str) -> str:
        path.write_text(text)
        capsys.readouterr()
        assert call("lenet300", mnist_file, tmp_path, "--seeds", 0) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    record["settings"]["recipe"]["rate_weight"] = 99
    assert "got one with another recipe; remove it" in refusal(json.dumps(record))
    assert "got a damaged or another kind of file" in refusal("{")
    assert "got a damaged or another kind of file" in refusal("[]")
    (tmp_path / "lenet300-seed0.onnx").write_bytes(b"no model")
    assert "it must be a baseline that an earlier run wrote" in refusal("{}")
    others = tmp_path / "others.npz"
    np.savez(others, **make_marked_images(710, 150))
    assert call("lenet300", others, made, "--seeds", 0) == 1
    assert "it must be of the same run, got one with other data" in capsys.readouterr().err


def test_an_interrupted_run_goes_on(
    made: Path,
    mnist_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stages = []

    def stop_in(stage: str) -> Callable[..., Any]:
        def finetune(*arguments: Any, progress: Callable[[Any], None], **options: Any) -> Any:
            def report(step: Any) -> None:
                stages.append(step.stage)
                progress(step)
                if step.stage == stage:
                    raise KeyboardInterrupt

            return wl_onnx.finetune.finetune(*arguments, progress=report, **options)

        return finetune

    arguments = ("lenet300", mnist_file, tmp_path, "--seeds", 0, "--codecs", "palette")
    (tmp_path / "lenet300-seed0.onnx").write_bytes((made / "lenet300-seed0.onnx").read_bytes())
    monkeypatch.setattr(reproduction, "finetune", stop_in("quantize 1"))
    assert call(*arguments) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert (tmp_path / "lenet300-seed0-palette.checkpoint").exists()
    assert not (tmp_path / "lenet300-seed0-palette.json").exists()
    stages.clear()
    monkeypatch.setattr(reproduction, "finetune", stop_in("never"))
    assert call(*arguments) == 0
    assert stages[0] != "begin"
    palette = tmp_path / "lenet300-seed0-palette.onnx"
    assert palette.read_bytes() == (made / palette.name).read_bytes()
    assert re.search(r"\| lossless .* \| at least \d", (tmp_path / "lenet300.md").read_text())


def test_a_model_that_is_given_is_the_baseline(tmp_path: Path) -> None:
    data, model = tmp_path / "cifar10.npz", tmp_path / "given.onnx"
    np.savez(data, **make_marked_images(500, 60, (32, 32, 3)))
    onnx.save(make_image_network(), model)
    before = model.read_bytes()
    assert call("resnet20", data, tmp_path / "out", "--model", model, "--seeds", 0) == 0
    assert model.read_bytes() == before
    results = json.loads((tmp_path / "out" / "resnet20.json").read_text())["results"]
    for result in results:
        compressed = tmp_path / "out" / result["files"]["model"]
        ratio = count_initializers(model) / count_initializers(compressed)
        assert result["figures"]["weights_ratio"] == pytest.approx(ratio)


@pytest.fixture
def damaged(tmp_path: Path, mnist: dict[str, np.ndarray]) -> dict[str, Path]:
    paths = {name: tmp_path / f"{name}.npz" for name in ("text", "foreign", "few")}
    paths["text"].write_text("no archive")
    np.savez(paths["foreign"], x=np.zeros(3))
    few = {name: array[:150] for name, array in mnist.items()}
    np.savez(paths["few"], **few)
    return {**paths, "none": tmp_path / "none.npz"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text", "it must be an .npz file or a folder"),
        ("foreign", "it must hold x_train, y_train, x_test, y_test"),
        ("few", "it must hold more than the 200 training images that validate, got 150"),
        ("none", "No such file"),
    ],
)
def test_damaged_data_give_one_line(
    damaged: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    message: str,
) -> None:
    out = tmp_path / "out"
    assert call("lenet5", damaged[name], out) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_wrong_options_give_one_line(
    mnist_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert call("lenet5", mnist_file, file) == 1
    assert "it must be a folder" in capsys.readouterr().err
    assert call("resnet20", mnist_file, tmp_path, "--model", tmp_path / "none.onnx") == 1
    assert "it must be a file, got none" in capsys.readouterr().err
    for options in (["resnet20"], ["lenet5", "--model", "m.onnx"], ["lenet5", "--seeds", "1", "1"]):
        with pytest.raises(SystemExit, match="2"):
            reproduce.main([*options, "--data", str(mnist_file)])
