"""Plans: carried out to the same bytes, edited, and refused."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import wl_onnx
from tests.classifiers import Classifier, make_mlp_classifier
from tests.compressions import blobs_of, tensors_of
from wl_onnx import Recipe
from wl_onnx.errors import InputError
from wl_onnx.planning.layer_problem import LayerSettings
from wl_onnx.planning.plan import load_plan
from wl_onnx.recipe import Rule

Plan = dict[str, Any]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return make_mlp_classifier()


@pytest.fixture(scope="module")
def searched(classifier: Classifier) -> wl_onnx.Result:
    return wl_onnx.compress(classifier.model, data=classifier.data, min_snr=15.0, max_trials=5)


@pytest.fixture
def plan(searched: wl_onnx.Result) -> Plan:
    return copy.deepcopy(searched.plan)


def carry_out(
    classifier: Classifier, plan: Plan | Path, recipe: Recipe | None = None
) -> wl_onnx.Result:
    return wl_onnx.compress(classifier.model, data=classifier.data, plan=plan, recipe=recipe)


def test_a_calibrated_plan_gives_the_same_bytes(
    classifier: Classifier, searched: wl_onnx.Result, tmp_path: Path
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(searched.plan, allow_nan=False), encoding="utf-8")
    again = carry_out(classifier, path)
    assert again.model.SerializeToString() == searched.model.SerializeToString()
    # What was not chosen is not weighed again.
    told = [{**one, "tried": None} for one in searched.report["tensors"]]
    assert [{**one, "tried": None} for one in again.report["tensors"]] == told
    assert "search" not in again.report
    assert [_settings(one) for one in again.plan["tensors"]] == [
        _settings(one) for one in searched.plan["tensors"]
    ]


def _settings(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "predicted"}


RECIPES = {
    "default": Recipe(),
    "given": Recipe(sparsity=0.8, bits=8),
    "global": Recipe(sparsity=0.8, prune_scope="global"),
    "global and given": Recipe(sparsity=0.8, bits=8, prune_scope="global", allow_growth=True),
    "palette": Recipe(codec="palette", min_elements=1),
    "global palette": Recipe(codec="palette", sparsity=0.8, prune_scope="global"),
    "auto": Recipe(codec="auto", layout="prefix"),
    "excluded": Recipe(exclude=("w1",)),
    "rules": Recipe(rules=(Rule("w0", (("sparsity", 0.7), ("layout", "xor"))),)),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_plan_without_data_gives_the_same_blobs(
    make_mlp: Callable[..., onnx.ModelProto], name: str
) -> None:
    rng = np.random.default_rng(0)
    model = make_mlp(
        rng.laplace(size=(64, 64)).astype(np.float32),
        3 * rng.laplace(size=(64, 40)).astype(np.float32),
        names=("w0", "w1"),
    )
    recipe = RECIPES[name]
    before = wl_onnx.compress(model, recipe=recipe)
    plan = json.loads(json.dumps(before.plan, allow_nan=False))
    after = wl_onnx.compress(model, plan=plan, recipe=Recipe(allow_growth=recipe.allow_growth))
    assert blobs_of(before.model)
    assert blobs_of(after.model) == blobs_of(before.model)
    assert [one["codec"] for one in after.plan["tensors"]] == [
        one["codec"] for one in before.plan["tensors"]
    ]


def test_names_may_look_like_globs(make_mlp: Callable[..., onnx.ModelProto]) -> None:
    rng = np.random.default_rng(0)
    names = ("w[0]", "w*")
    model = make_mlp(*(rng.laplace(size=(64, 64)).astype(np.float32) for _ in names), names=names)
    result = wl_onnx.compress(model)
    result.plan["tensors"][0]["codec"] = "none"
    again = wl_onnx.compress(model, plan=result.plan)
    assert set(blobs_of(again.model)) == {"w*"}


def test_it_says_what_is_predicted(searched: wl_onnx.Result, plan: Plan) -> None:
    tensors = tensors_of(searched)
    assert [one["name"] for one in plan["tensors"]] == ["w0", "w1"]
    for one in plan["tensors"]:
        reported = tensors[one["name"]]
        assert one["predicted"]["size_bits"] == reported["size_bits"]
        assert one["predicted"]["predicted_damage"] == reported["predicted_damage"] > 0
        assert set(one["predicted"]["tried"]) == {"palette", "bloomier"}
        assert {f.name for f in dataclasses.fields(LayerSettings)} <= set(one)


def test_a_weight_may_be_left_as_it_is(classifier: Classifier, plan: Plan) -> None:
    plan["tensors"][1]["codec"] = "none"
    tensors = tensors_of(carry_out(classifier, plan))
    assert tensors["w0"]["codec"] == "bundle"
    assert (tensors["w1"]["codec"], tensors["w1"]["reason"]) == (
        "none", "is left as it is by the plan",
    )  # fmt: skip


def test_a_weight_that_is_gone_from_a_plan_is_left(classifier: Classifier, plan: Plan) -> None:
    del plan["tensors"][0]
    tensors = tensors_of(carry_out(classifier, plan))
    assert [tensors[key]["codec"] for key in ("w0", "w1")] == ["none", "bundle"]


def test_lambda_and_codec_may_be_edited(
    classifier: Classifier, searched: wl_onnx.Result, plan: Plan
) -> None:
    plan["tensors"][0]["lam"] *= 30
    plan["tensors"][1]["codec"] = "bloomier"
    before, after = tensors_of(searched), tensors_of(carry_out(classifier, plan))
    assert after["w0"]["size_bits"] < before["w0"]["size_bits"]
    assert after["w0"]["error_share"] > before["w0"]["error_share"]
    assert after["w1"]["codec"] == "bloomier"


def test_another_model_is_refused(plan: Plan) -> None:
    other = make_mlp_classifier(has_bias=False)
    with pytest.raises(InputError, match=r"it must be made for this model .* got one for"):
        carry_out(other, plan)


@pytest.mark.parametrize("is_calibrated", [True, False])
def test_a_tensor_that_the_model_lacks_is_refused(
    classifier: Classifier, plan: Plan, is_calibrated: bool
) -> None:
    if not is_calibrated:
        plan = wl_onnx.compress(classifier.model).plan
    plan["tensors"][0]["name"] = "w7"
    with pytest.raises(InputError, match=r"cannot carry out the plan on .*w0, w1.*got w7"):
        wl_onnx.compress(
            classifier.model, data=classifier.data if is_calibrated else None, plan=plan
        )


EDITS: dict[str, tuple[Callable[[Plan], object], str]] = {
    "format": (lambda p: p.update(format="x"), "its format must be 'wl_onnx plan 1', got 'x'"),
    "no format": (lambda p: p.pop("format"), "its format must be .*, got None"),
    "model": (lambda p: p.update(model=3), "model must be of type str, got 3"),
    "calibrated": (lambda p: p.update(calibrated=1), "calibrated must be of type bool, got 1"),
    "no tensors": (lambda p: p.pop("tensors"), "tensors must be of type list, got None"),
    "no name": (lambda p: p["tensors"][0].pop("name"), "each tensor must have a name"),
    "a number": (lambda p: p["tensors"].append(3), "each tensor must have a name, got 3"),
    "twice": (lambda p: p["tensors"].append(p["tensors"][0]), "once, got w0 twice"),
    "unknown": (lambda p: p["tensors"][0].update(bits=3), "w0: fields must be among .* got bits"),
    "no codec": (lambda p: p["tensors"][0].pop("codec"), "w0: there must be a codec, got none"),
    "codec": (lambda p: p["tensors"][0].update(codec="zip"), "codec must be .* got 'zip'"),
    "codecs": (lambda p: p["tensors"][0].update(codec=["auto"]), "codec must be auto"),
    "text": (lambda p: p["tensors"][0].update(lam="1"), "lam must be a number above 0, got '1'"),
    "true": (lambda p: p["tensors"][0].update(lam=True), "lam must be a number above 0, got True"),
    "zero": (lambda p: p["tensors"][1].update(damping=0), "w1: damping must be .* got 0"),
    "negative": (lambda p: p["tensors"][1].update(step_ratio=-1.0), "step_ratio must be"),
    "nan": (lambda p: p["tensors"][0].update(lam=float("nan")), "lam must be .* got nan"),
    "infinite": (lambda p: p["tensors"][0].update(lam=float("inf")), "lam must be .* got inf"),
    "huge": (lambda p: p["tensors"][0].update(lam=10**400), "lam must be a number above 0"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_bad_value_is_refused(plan: Plan, edit: str) -> None:
    change, message = EDITS[edit]
    change(plan)
    with pytest.raises(InputError, match=f"^cannot load plan: .*{message}"):
        load_plan(plan)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("sparsity", 1.5, "w0: sparsity must be auto or in"),
        ("clusters", "16", "w0: clusters must be a whole number"),
        ("lam", 1e-3, "w0: fields must be among codec, sparsity"),
        ("codec", "zip", "w0: codec must be"),
    ],
)
def test_a_bad_value_of_a_plan_without_data_is_refused(
    classifier: Classifier, field: str, value: object, message: str
) -> None:
    plan = wl_onnx.compress(classifier.model).plan
    plan["tensors"][0][field] = value
    with pytest.raises(InputError, match=message):
        load_plan(plan)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "it must be JSON, got"),
        (b"", "it must be JSON, got"),
        (b"\xff\xfe", "it must be JSON, got"),
        (b"[" * 100_000, "it must be JSON, got"),
        (b"[]", "its format must be 'wl_onnx plan 1', got 'list'"),
        (b"3", "its format must be 'wl_onnx plan 1', got 'int'"),
        (b"{}", "its format must be 'wl_onnx plan 1', got None"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        load_plan(path)


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it must be a file, got no such file"):
        load_plan(tmp_path / "absent.json")
    with pytest.raises(InputError, match="it must be a readable file, got Is a directory"):
        load_plan(tmp_path)


def test_what_does_not_go_with_a_plan(classifier: Classifier, plan: Plan) -> None:
    model, data = classifier.model, classifier.data
    with pytest.raises(InputError, match="it must go without limits, got max_drop"):
        wl_onnx.compress(model, data=data, plan=plan, max_drop=1)
    with pytest.raises(InputError, match="it must go without limits, got target_size"):
        wl_onnx.compress(model, data=data, plan=plan, target_size=1000)
    with pytest.raises(InputError, match=r"it must come with data, since .* got none"):
        wl_onnx.compress(model, plan=plan)
    with pytest.raises(InputError, match="it must come with no data, got some"):
        wl_onnx.compress(model, data=data, plan=wl_onnx.compress(model).plan)
