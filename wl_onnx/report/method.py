"""Where a report's models and numbers come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wl_onnx.report.wording import format_count

if TYPE_CHECKING:
    from wl_onnx.report.facts import Report

__all__ = ["describe_method", "describe_origin", "describe_recipe"]


def describe_origin(report: Report) -> list[tuple[str, str]]:
    """Names and checksums of files, seeds and versions."""
    before, after = report.original, report.compressed
    facts = [
        ("original", f"{before.name}, {format_count(before.size_bytes)} bytes"),
        ("its sha256", before.sha256),
        ("compressed", f"{after.name}, {format_count(after.size_bytes)} bytes"),
        ("its sha256", after.sha256),
    ]
    named = {
        "version": "written by wl-onnx",
        "device": "device",
        "seed": "seed of the compression",
    }
    facts += [
        (title, report.metadata[key]) for key, title in named.items() if key in report.metadata
    ]
    if "source_sha256" not in report.metadata:
        facts.append(("origin", "the compressed file does not say what it was made from"))
    facts.append(("seed of this report", str(report.seed)))
    facts.append(
        ("versions", ", ".join(f"{name} {text}" for name, text in report.versions.items()))
    )
    facts.append(("machine", report.machine))
    return facts


def describe_recipe(metadata: Mapping[str, str]) -> str | None:
    """The recipe as the file has it, indented; None where it has none."""
    text = metadata.get("recipe")
    try:
        parsed: Any = json.loads(text) if text else None
    except ValueError:
        return text
    return None if parsed is None else json.dumps(parsed, indent=2, ensure_ascii=False)


def describe_method(report: Report) -> list[tuple[str, str]]:
    """How each kind of number came about."""
    codecs = {tensor.codec for tensor in report.tensors}
    facts = [
        (
            "sizes",
            "Read off the two files. All bytes that stand for a weight count, headers, tables and "
            "checksums too; a tensor in a bundle has its share of the bundle. kB are 1,000 bytes.",
        )
    ]
    if "bloomier" in codecs:
        facts += [
            (
                "filter bound",
                "Stored weights times the bits of their codes: no filter with this rate of false "
                "positives is smaller.",
            ),
            (
                "false positives",
                "Weights that decode to a centroid, counted, less those that the filter says it "
                "stores. Their places come from the original: the largest weights are stored.",
            ),
        ]
    if codecs & {"bloomier", "bundle", "palette"}:
        facts.append(
            (
                "entropy",
                "log2 of the number of ways to place the weights that are not zero, and the "
                "entropy of their values. A code that learns where weights are dense may go below.",
            )
        )
        facts.append(
            (
                "errors of weights",
                "As measured when the model was compressed, over the energy of the weights.",
            )
        )
    facts += [
        (
            "outputs",
            "Both models run in onnxruntime on the same inputs; SNR is the energy of the "
            "original's output over that of the difference, over all samples.",
        ),
        (
            "latency and memory",
            "Of one sample where the batch is free. Times are lower quartiles of interleaved "
            "rounds; peak memory is that of a fresh process above an empty session.",
        ),
    ]
    before, after = report.original.name, report.compressed.name
    data = f" --data {report.data_name}" if report.data_name else ""
    again = f"wl-onnx inspect {after} --json; "
    again += f"wl-onnx compare {before} {after}{data} --seed {report.seed} --json"
    facts.append(("the same as JSON", again))
    return facts
