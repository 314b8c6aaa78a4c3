"""What a plan or a compressed model says about parameters, as treatments."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from onnx import ModelProto

from wl_onnx.errors import InputError
from wl_onnx.finetune.treatments import Cluster, Freeze, Mask, Treatment
from wl_onnx.graph import find_stored, load_model
from wl_onnx.graph.scopes import find_bodies
from wl_onnx.graph.tensors import FLOAT_TYPES
from wl_onnx.planning.plan import Plan, load_plan
from wl_onnx.recipe import Recipe
from wl_onnx.runtime.weights import WeightDecoder

__all__ = ["Decoded", "Planned", "read_planned"]

Decoded = Literal["cluster", "freeze"]
"""What becomes of the weights of a compressed model."""


@dataclasses.dataclass(frozen=True, eq=False)
class Planned:
    """What is to be attached.

    Attributes:
        treatments: by parameter name, initializer name or glob.
        values: by initializer name, what other parameters and buffers are set to.
    """

    treatments: Mapping[str, Any]
    values: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def read_planned(source: Any, *, decoded: Decoded) -> Planned:
    """The treatments that a user gives, whatever they are given as.

    Args:
        source: treatments by name or glob; a plan, or the path of its file; a compressed model, or
            the path of its file.
        decoded: what becomes of the weights of a compressed model.

    Raises:
        InputError: it is something else, a plan that does not fix sparsities and clusters, or a
            model that is not compressed.
        ModelError: the model is damaged.
        BlobError: a blob is damaged.
    """
    if decoded not in ("cluster", "freeze"):
        raise InputError(f"cannot attach: decoded must be cluster or freeze, got {decoded!r}")
    if isinstance(source, Mapping):
        is_plan = isinstance(source.get("format"), str)
        return Planned(_of_plan(load_plan(source)) if is_plan else source)
    if isinstance(source, ModelProto):
        return _of_model(source, decoded)
    if isinstance(source, (str, os.PathLike)):
        if _is_json(Path(source)):
            return Planned(_of_plan(load_plan(source)))
        return _of_model(source, decoded)
    raise InputError(
        "cannot attach: the plan must be treatments by name, Result.plan or Result.model of "
        f"compress, or a path, got {type(source).__name__}"
    )


def _is_json(path: Path) -> bool:
    """Whether a file begins as a plan does, which no ONNX model can."""
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip().startswith(b"{")
    except OSError:
        return path.suffix == ".json"  # the reader says what is wrong


def _of_plan(plan: Plan) -> dict[str, tuple[Treatment, ...]]:
    if plan.is_calibrated:
        raise InputError(
            f"cannot attach the plan of {plan.model}: its tensors must have a sparsity and "
            "clusters, got one made with data; give the compressed model instead"
        )
    treatments: dict[str, tuple[Treatment, ...]] = {}
    for key, values in plan.tensors.items():
        if values["codec"] == "none":
            continue
        recipe = Recipe(**values)
        if recipe.sparsity == "auto":
            raise InputError(
                f"cannot attach the plan of {plan.model}: the sparsity of {key} must be a number, "
                "got auto; give the compressed model instead"
            )
        treatments[key] = (Mask(recipe.sparsity), Cluster(recipe.clusters))
    return treatments


def _of_model(source: str | os.PathLike[str] | ModelProto, decoded: Decoded) -> Planned:
    model = load_model(source)
    decoders = find_stored(model)
    if not decoders:
        raise InputError(
            f"cannot attach {model.name}: it must be a compressed model, got one without nodes of "
            "com.wl_onnx"
        )
    decode = WeightDecoder(threads=0)
    treatments: dict[str, Treatment] = {}
    values: dict[str, np.ndarray] = {}
    for decoder in decoders:
        if decoder.codec == "analog":
            raise InputError(
                f"cannot attach {model.name}: its weights must be coded digitally, got "
                f"{decoder.key} in analog cells"
            )
        weight = decode(decoder)
        # Weights of a bundle have next to no centroids in common: they keep their size frozen.
        if decoded == "freeze" or decoder.codec == "bundle":
            treatments[decoder.key] = Freeze(weight)
            values[decoder.key] = weight
        else:
            codebook, codes = np.unique(weight, return_inverse=True)
            treatments[decoder.key] = Cluster(codes=codes.reshape(weight.shape), codebook=codebook)
    for tensor in find_bodies(model.proto)[0].initializers:
        if tensor.data_type in FLOAT_TYPES:
            values[tensor.name] = model.read(tensor)
    return Planned(treatments, values)
