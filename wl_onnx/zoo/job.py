"""The conversion of one model, as a worker runs it: paths in, the facts of a manifest out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from wl_onnx.compress import compress
from wl_onnx.errors import InputError
from wl_onnx.files import data_path, hash_file
from wl_onnx.graph import CompressibleModel, load_model
from wl_onnx.result import describe_recipe
from wl_onnx.version import __version__
from wl_onnx.zoo.entry import OWN_FIELD

if TYPE_CHECKING:
    from wl_onnx.recipe import Recipe

__all__ = ["Job", "run_job"]


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker must know.

    Attributes:
        source: the model's file.
        staged: where the compressed one is written.
        output: where it will go then, and where an earlier one may be.
        recipe: how it is compressed.
        previous: metadata of the earlier one, as the manifest of the results has it.
        force: whether what stands at the output is replaced, whatever it is.
        portable: whether standard operators decode the weights, as `compress` has it.
    """

    source: Path
    staged: Path
    output: Path
    recipe: Recipe
    previous: Mapping[str, Any] | None
    force: bool
    portable: bool = False


def run_job(job: Job) -> dict[str, Any] | None:
    """Compresses a model.

    Returns:
        `opset_version`, `onnx_version` and `metadata` for the manifest of the results; None where
        the earlier result is the one that would come out.

    Raises:
        InputError: the output is a file of the model or one that is not from here.
        ModelError: the model is damaged, compressed already, or cannot be made portable.
        EncodeError: no filter exists for a weight with the hash that the recipe names.
    """
    model = load_model(job.source)
    own = {
        "version": __version__,
        "recipe": json.loads(describe_recipe(job.recipe)),
        "source_sha": hash_file(job.source),
        "source_bytes": job.source.stat().st_size,
        **({"portable": True} if job.portable else {}),
        **_describe_data(model),
    }
    if _is_up_to_date(job, model, own):
        return None
    del model
    # No parents: a folder that is gone was given up, and must not come back.
    job.staged.parent.mkdir(exist_ok=True)
    result = compress(job.source, job.staged, recipe=job.recipe, force=True, portable=job.portable)
    file, weights = result.report["file"], result.report["weights"]
    own |= {
        "ratio": round(file["original_bytes"] / max(1, file["compressed_bytes"]), 4),
        "weights_ratio": round(weights["original_bytes"] / max(1, weights["compressed_bytes"]), 4),
        "compressed_tensors": sum(one["codec"] != "none" for one in result.report["tensors"]),
    }
    if data_path(job.staged).exists():
        own |= {
            "data_sha": hash_file(data_path(job.staged)),
            "data_bytes": data_path(job.staged).stat().st_size,
        }
    opset = _find_opset(result.model)
    return {
        "onnx_version": _first_release(opset),
        "opset_version": opset,
        "metadata": {
            "model_sha": hash_file(job.staged),
            "model_bytes": job.staged.stat().st_size,
            "tags": [],
            "io_ports": _describe_ports(result.model.graph),
            OWN_FIELD: own,
        },
    }


def _describe_data(model: CompressibleModel) -> dict[str, Any]:
    """Bytes and checksum of the external files, in the order of their names; empty without any."""
    if not model.external_paths:
        return {}
    paths = sorted(model.external_paths)
    digests = "".join(hash_file(path) for path in paths)
    return {
        "source_data_sha": hashlib.sha256(digests.encode()).hexdigest(),
        "source_data_bytes": sum(path.stat().st_size for path in paths),
    }


def _is_up_to_date(job: Job, model: CompressibleModel, own: Mapping[str, Any]) -> bool:
    """Whether the earlier result is what would come out; refuses to replace what is no result."""
    mine = [path for path in (job.output, data_path(job.output)) if path.exists()]
    for path in mine:
        for other in (job.source, *model.external_paths):
            if other.exists() and path.samefile(other):
                raise InputError(
                    f"cannot write {path}: the output must not overwrite the input, got {other}"
                )
    if not mine or job.force:
        return False
    earlier = (job.previous or {}).get(OWN_FIELD, {})
    expected = {
        job.output: (job.previous or {}).get("model_sha"),
        data_path(job.output): earlier.get("data_sha"),
    }
    for path in mine:
        if not path.is_file() or hash_file(path) != expected[path]:
            raise InputError(
                f"cannot write {path}: the output must not exist, got a file there that is no "
                "result; force replaces it"
            )
    is_whole = all(path in mine for path, sha256 in expected.items() if sha256 is not None)
    has_figures = {"ratio", "weights_ratio", "compressed_tensors"} <= earlier.keys()
    return (
        is_whole
        and has_figures
        and all(earlier.get(name) == own.get(name) for name in (*own, "portable"))
    )


def _find_opset(model: onnx.ModelProto) -> int:
    """Version of the default operator set; 1 where the model names none."""
    return max(
        (one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1
    )


def _first_release(opset: int) -> str | None:
    """The first release of ONNX that had an operator set."""
    releases = (row[0] for row in onnx.helper.VERSION_TABLE if row[2] == opset)
    return next(releases, None)


def _describe_ports(graph: onnx.GraphProto) -> dict[str, Any]:
    """Inputs that must be fed, and outputs, with names, shapes and types."""
    constants = {tensor.name for tensor in graph.initializer}
    return {
        "inputs": [_describe_port(port) for port in graph.input if port.name not in constants],
        "outputs": [_describe_port(port) for port in graph.output],
    }


def _describe_port(port: onnx.ValueInfoProto) -> dict[str, Any]:
    if not port.type.HasField("tensor_type"):
        return {"name": port.name, "type": str(port.type.WhichOneof("value"))}
    tensor = port.type.tensor_type
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    shape = [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?"
        for dim in tensor.shape.dim
    ]
    return {"name": port.name, "shape": shape, "type": f"tensor({kind})"}
