"""Many models into one folder: results, their manifest, and what happens the next time."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import onnx
import pytest

import wl_onnx
from tests.web_server import WebServer
from wl_onnx.errors import InputError
from wl_onnx.recipe import Recipe
from wl_onnx.zoo import Entry, ZooResult, convert, find_entries, load_manifest
from wl_onnx.zoo.job import Job, run_job

NAME = "ONNX_HUB_MANIFEST.json"


def read_manifest(out: Path) -> dict[str, dict[str, Any]]:
    values = json.loads((out / NAME).read_text(encoding="utf-8"))
    return {value["model_path"]: value for value in values}


def list_names(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*"))


def states(results: list[ZooResult]) -> list[str]:
    return [result.state for result in results]


def test_results_and_their_manifest(make_zoo: Callable[..., Path], tmp_path: Path) -> None:
    manifest = make_zoo(3, recipe={"codec": "palette"})
    entries = load_manifest(manifest)
    out = tmp_path / "out"
    calls: list[tuple[int, int]] = []
    results = convert(entries, out, progress=lambda _, done, total: calls.append((done, total)))
    assert states(results) == ["converted"] * 3
    assert [result.entry for result in results] == entries
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert list_names(out) == [NAME, "a", "a/m0.onnx", "a/m1.onnx", "a/m2.onnx"]
    originals = {value["model_path"]: value for value in json.loads(manifest.read_bytes())}
    for path, record in read_manifest(out).items():
        data, original = (out / path).read_bytes(), originals[path]
        metadata, own = record["metadata"], record["metadata"]["wl_onnx"]
        assert metadata["model_sha"] == hashlib.sha256(data).hexdigest()
        assert metadata["model_bytes"] == len(data)
        assert own["source_sha"] == original["metadata"]["model_sha"]
        assert own["source_bytes"] == original["metadata"]["model_bytes"]
        assert own["ratio"] == pytest.approx(own["source_bytes"] / len(data), rel=1e-3)
        assert own["recipe"]["codec"] == "palette"
        assert (own["version"], own["compressed_tensors"]) == (wl_onnx.__version__, 1)
        for field in ("model", "onnx_version", "opset_version"):
            assert record[field] == original[field]
        for field in ("tags", "io_ports"):
            assert metadata[field] == original["metadata"][field]
    expected = tmp_path / "expected.onnx"
    wl_onnx.compress(entries[1].local_path, expected, recipe=Recipe(codec="palette"))
    assert (out / "a" / "m1.onnx").read_bytes() == expected.read_bytes()


def test_same_input_same_manifest(make_zoo: Callable[..., Path], tmp_path: Path) -> None:
    entries = load_manifest(make_zoo(3))
    convert(entries, tmp_path / "one")
    with ThreadPoolExecutor(3) as executor:
        convert(reversed(entries), tmp_path / "two", executor=executor)
    assert (tmp_path / "one" / NAME).read_bytes() == (tmp_path / "two" / NAME).read_bytes()


def test_ports_of_a_local_file(make_zoo: Callable[..., Path], tmp_path: Path) -> None:
    manifest = make_zoo(1)
    convert(find_entries([manifest.parent], []), tmp_path / "out")
    record = read_manifest(tmp_path / "out")["a/m0.onnx"]
    assert record["metadata"]["io_ports"] == {
        "inputs": [{"name": "x", "shape": ["n", 64], "type": "tensor(float)"}],
        "outputs": [{"name": "y0", "shape": ["n", 64], "type": "tensor(float)"}],
    }
    assert (record["model"], record["opset_version"]) == ("m0", 17)
    assert record["onnx_version"] == "1.12.0"


def test_results_that_exist_are_left(make_zoo: Callable[..., Path], tmp_path: Path) -> None:
    entries, out = load_manifest(make_zoo(2)), tmp_path / "out"
    first = convert(entries, out)
    before = (out / NAME).read_bytes()
    again = convert(entries, out)
    assert states(again) == ["unchanged"] * 2
    assert [one.record for one in again] == [one.record for one in first]
    assert (out / NAME).read_bytes() == before
    assert states(convert(entries, out, recipe=Recipe(threads=1))) == ["unchanged"] * 2
    assert states(convert(entries, out, force=True)) == ["converted"] * 2
    assert (out / NAME).read_bytes() == before


def test_what_makes_a_result_old(
    make_zoo: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, out = make_zoo(2), tmp_path / "out"
    entries = find_entries([manifest.parent], [])
    convert(entries, out)
    assert states(convert(entries, out, recipe=Recipe(codec="palette"))) == ["converted"] * 2
    (out / "a" / "m0.onnx").unlink()
    assert states(convert(entries, out, recipe=Recipe(codec="palette"))) == [
        "converted", "unchanged"
    ]  # fmt: skip
    shutil.copy(entries[0].local_path, entries[1].local_path)
    assert states(convert(entries, out, recipe=Recipe(codec="palette"))) == [
        "unchanged", "converted"
    ]  # fmt: skip
    monkeypatch.setattr("wl_onnx.zoo.job.__version__", "99")
    assert states(convert(entries, out, recipe=Recipe(codec="palette"))) == ["converted"] * 2


def test_other_results_stay_in_the_manifest(make_zoo: Callable[..., Path], tmp_path: Path) -> None:
    entries, out = load_manifest(make_zoo(2)), tmp_path / "out"
    convert(entries[:1], out)
    convert(entries[1:], out)
    assert list(read_manifest(out)) == ["a/m0.onnx", "a/m1.onnx"]


def test_one_that_fails_does_not_stop_the_rest(
    make_zoo: Callable[..., Path], tmp_path: Path
) -> None:
    manifest, out = make_zoo(3), tmp_path / "out"
    entries = find_entries([manifest.parent], [])
    good = entries[1].local_path.read_bytes()
    entries[1].local_path.write_bytes(good[:100])
    results = convert(entries, out)
    assert states(results) == ["converted", "failed", "converted"]
    assert results[1].error is not None
    assert "it must be an ONNX model" in results[1].error
    assert results[1].size_bytes is None
    own = read_manifest(out)["a/m1.onnx"]["metadata"]["wl_onnx"]
    assert own == {"error": results[1].error}
    assert list_names(out) == [NAME, "a", "a/m0.onnx", "a/m2.onnx"]

    entries[1].local_path.write_bytes(good)
    assert states(convert(entries, out)) == ["unchanged", "converted", "unchanged"]
    assert "error" not in read_manifest(out)["a/m1.onnx"]["metadata"]["wl_onnx"]

    # What is known of a result stays, beside why there is no newer one.
    entries[1].local_path.write_bytes(b"")
    assert states(convert(entries, out)) == ["unchanged", "failed", "unchanged"]
    record = read_manifest(out)["a/m1.onnx"]["metadata"]
    data = (out / "a" / "m1.onnx").read_bytes()
    assert record["model_sha"] == hashlib.sha256(data).hexdigest()
    assert "empty file" in record["wl_onnx"]["error"]
    entries[1].local_path.write_bytes(good)
    (result,) = convert(entries[1:2], out)
    assert (result.state, result.error) == ("unchanged", None)


def test_other_files_are_not_replaced(make_zoo: Callable[..., Path], tmp_path: Path) -> None:
    entries, out = load_manifest(make_zoo(1)), tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (out / "a" / "m0.onnx").write_bytes(b"precious")
    (result,) = convert(entries, out)
    assert "a file there that is no result; force replaces it" in str(result.error)
    assert (out / "a" / "m0.onnx").read_bytes() == b"precious"
    assert states(convert(entries, out, force=True)) == ["converted"]


@pytest.mark.parametrize("force", [False, True])
def test_inputs_are_not_overwritten(
    make_zoo: Callable[..., Path], tmp_path: Path, force: bool
) -> None:
    folder = make_zoo(1).parent / "a"
    before = (folder / "m0.onnx").read_bytes()
    (result,) = convert(find_entries([folder], []), folder, force=force)
    assert "the output must not overwrite the input" in str(result.error)
    assert (folder / "m0.onnx").read_bytes() == before


def test_two_runs_into_one_folder(make_zoo: Callable[..., Path], tmp_path: Path) -> None:
    first, second, third = load_manifest(make_zoo(3))
    out = tmp_path / "out"

    def run_another(_result: ZooResult, done: int, _total: int) -> None:
        if done == 1:
            convert([second], out)

    convert([first, third], out, progress=run_another)
    assert list(read_manifest(out)) == [f"a/m{index}.onnx" for index in range(3)]
    assert states(convert([first, second, third], out)) == ["unchanged"] * 3


def test_external_data(make_zoo: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_zoo(1).parent
    model = onnx.load(folder / "a" / "m0.onnx")
    external = tmp_path / "external"
    external.mkdir()
    onnx.save(
        model, external / "e.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    entries, out = find_entries([external], []), tmp_path / "out"
    (result,) = convert(entries, out)
    assert result.state == "converted", result.error
    data = out / "e.onnx.data"
    assert data.is_file()
    assert result.size_bytes == (out / "e.onnx").stat().st_size + data.stat().st_size
    source = sum(path.stat().st_size for path in external.iterdir())
    assert result.source_size_bytes == source
    assert result.facts["ratio"] == pytest.approx(source / result.size_bytes, rel=1e-3)
    assert onnx.load(out / "e.onnx").graph.node
    assert states(convert(entries, out)) == ["unchanged"]
    weights = bytearray((external / "w.bin").read_bytes())
    weights[:4] = b"\0\0\0\0"
    (external / "w.bin").write_bytes(weights)
    assert states(convert(entries, out)) == ["converted"]
    data.unlink()
    assert states(convert(entries, out)) == ["converted"]
    assert data.is_file()


def test_the_built_in_recipe_of_a_known_file(tmp_path: Path) -> None:
    lenet = next(entry for entry in load_manifest() if entry.stem == "lenet5")
    if not lenet.local_path.is_file():
        pytest.skip("lenet5.onnx is not installed")
    shutil.copy(lenet.local_path, tmp_path / "renamed.onnx")
    (result,) = convert(find_entries([tmp_path / "renamed.onnx"], []), tmp_path / "out")
    assert result.facts["recipe"]["error_share"] == 0.1


def test_downloads_of_a_zoo(
    server: WebServer, make_zoo: Callable[..., Path], tmp_path: Path
) -> None:
    manifest = make_zoo(3)
    for path in manifest.parent.rglob("*.*"):
        server.files[f"/z/{path.relative_to(manifest.parent).as_posix()}"] = path.read_bytes()
    del server.files["/z/a/m1.onnx"]
    calls: list[str] = []
    results = convert(
        load_manifest(f"{server.address}/z/{NAME}"),
        tmp_path / "out",
        cache=tmp_path / "cache",
        download_progress=lambda name, done, total: calls.append(name),
    )
    assert states(results) == ["converted", "failed", "converted"]
    assert "the server must give it, got 404" in str(results[1].error)
    assert set(calls) == {"m0.onnx", "m2.onnx"}


def test_two_models_with_one_output(make_zoo: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_zoo(1).parent
    entries = [*find_entries([folder / "a" / "m0.onnx"], [])] * 2
    with pytest.raises(InputError, match="each output must be that of one model"):
        convert(entries, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_in_the_place_of_the_manifest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its output must not be the manifest of the results"):
        convert([Entry("m", NAME, str(tmp_path))], tmp_path / "out")


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    (result,) = convert([Entry("m", "m" * 5000, str(tmp_path))], tmp_path / "out")
    assert "too long" in str(result.error)


@pytest.mark.parametrize("path", ["../m.onnx", "/m.onnx", "a/../../m.onnx"])
def test_an_output_that_leaves_the_folder(path: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its output must stay within"):
        convert([Entry("m", path, str(tmp_path))], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_none(make_zoo: Callable[..., Path], tmp_path: Path) -> None:
    manifest = make_zoo(1)
    entries = load_manifest(manifest)
    with pytest.raises(InputError, match="cannot write results to"):
        convert(entries, manifest)
    with pytest.raises(InputError, match="must be one of results, got that of another zoo"):
        convert(entries, manifest.parent)


class Killer(Executor):
    """Loses all that is submitted at a time when a model is among it, as a killed worker does."""

    def __init__(self, culprit: str, batch: int) -> None:
        self.culprit, self.batch = culprit, batch
        self.waiting: list[tuple[Future[Any], Any]] = []
        self.count = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, args[0]))
        self.count += 1
        if len(self.waiting) == self.batch or self.count > self.batch:
            is_lost = any(job.source.name == self.culprit for _, job in self.waiting)
            for one, job in self.waiting:
                if is_lost:
                    one.set_exception(BrokenProcessPool("killed"))
                else:
                    one.set_result(fn(job))
            self.waiting = []
        return future


def test_a_killed_worker_costs_its_model_alone(
    make_zoo: Callable[..., Path], tmp_path: Path
) -> None:
    executor = Killer("m1.onnx", 4)
    results = convert(load_manifest(make_zoo(4)), tmp_path / "out", executor=executor)
    assert states(results) == ["converted", "failed", "converted", "converted"]
    assert "the process must stay alive, got killed" in str(results[1].error)


def test_a_job_that_was_given_up_leaves_nothing(
    make_zoo: Callable[..., Path], tmp_path: Path
) -> None:
    (entry,) = load_manifest(make_zoo(1))
    staged = tmp_path / "gone" / "0" / "m.onnx"
    job = Job(entry.local_path, staged, tmp_path / "m.onnx", Recipe(), None, False)
    with pytest.raises(FileNotFoundError):
        run_job(job)
    assert not (tmp_path / "gone").exists()


def test_an_interrupt_leaves_what_is_done(make_zoo: Callable[..., Path], tmp_path: Path) -> None:
    entries, out = load_manifest(make_zoo(3)), tmp_path / "out"

    def interrupt(result: ZooResult, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(entries, out, progress=interrupt)
    assert list_names(out) == [NAME, "a", "a/m0.onnx", "a/m1.onnx"]
    assert list(read_manifest(out)) == ["a/m0.onnx", "a/m1.onnx"]
    assert states(convert(entries, out)) == ["unchanged", "unchanged", "converted"]


def test_portable_results(make_zoo: Callable[..., Path], tmp_path: Path) -> None:
    entries = load_manifest(make_zoo(1, recipe={"codec": "palette"}))
    out, expected = tmp_path / "out", tmp_path / "expected.onnx"
    assert states(convert(entries, out, portable=True)) == ["converted"]
    wl_onnx.compress(entries[0].local_path, expected, recipe=Recipe(codec="palette"), portable=True)
    assert (out / "a" / "m0.onnx").read_bytes() == expected.read_bytes()
    (record,) = read_manifest(out).values()
    model = onnx.load(out / "a" / "m0.onnx")
    assert record["opset_version"] == max(one.version for one in model.opset_import)
    assert record["metadata"]["wl_onnx"]["portable"] is True
    assert all(node.domain != "com.wl_onnx" for node in model.graph.node)

    assert states(convert(entries, out, portable=True)) == ["unchanged"]
    assert states(convert(entries, out)) == ["converted"]
    (record,) = read_manifest(out).values()
    assert "portable" not in record["metadata"]["wl_onnx"]
    assert states(convert(entries, out)) == ["unchanged"]
