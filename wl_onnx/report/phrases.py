"""The sentences that stand beside a report's charts, made from its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wl_onnx.report.wording import TIMES, format_count, format_percent, format_value

if TYPE_CHECKING:
    from wl_onnx.report.facts import Report, TensorFacts, WeightMap
    from wl_onnx.report.sweep_facts import Sweep

__all__ = [
    "CODEC_NAMES",
    "describe_codec",
    "describe_costs",
    "describe_map",
    "describe_outputs",
    "describe_sizes",
    "describe_sweep",
    "name_inputs",
]

CODEC_NAMES = {
    "analog": "analog cells",
    "bloomier": "filter",
    "bundle": "bundle",
    "none": "left as it is",
    "palette": "palette",
}


def describe_codec(tensor: TensorFacts) -> str:
    """How a tensor is stored, in a few words."""
    words = [CODEC_NAMES.get(tensor.codec, tensor.codec)]
    if tensor.layout is not None:
        bits = f"{tensor.bits} bits" if tensor.layout != "prefix" else f"up to {tensor.bits} bits"
        words[0] += f": {tensor.layout}"
        words.append(bits)
    if tensor.clusters is not None:
        words.append(f"{tensor.clusters} {'centroid' if tensor.clusters == 1 else 'centroids'}")
    return ", ".join(words)


def name_inputs(report: Report) -> str:
    """What the models were run on, to be read after a number."""
    count = report.comparison["num_samples"]
    if report.data_name is None:
        return "random input" if count == 1 else "random inputs"
    return f"{'sample' if count == 1 else 'samples'} of {report.data_name}"


def describe_sizes(report: Report) -> str:
    """What the bars of sizes or cells show."""
    if report.cells_per_weight is not None:
        return (
            "The cells that each weight takes in the memory: analog ones, and those of its digital "
            "bits (scales, signs, masks) and of digital tensors."
        )
    filters = any(one.information_bound_bits is not None for one in report.tensors)
    codes = any(one.lossless_bound_bits is not None for one in report.tensors)
    limits = ["no filter that errs as rarely"] * filters
    limits += ["no code that knows how often each value is there, but not where,"] * codes
    told = f" Marks show what {' and '.join(limits)} can go below." if limits else ""
    return f"The bytes that stand for each weight.{told}"


def describe_map(found: WeightMap) -> tuple[list[str], str]:
    """Paragraphs on the picture of a weight, and what stands for it where it is not seen."""
    matrix = f"{format_count(found.rows)} {TIMES} {format_count(found.columns)}"
    counts = {name: format_count(count) for name, count in found.counts.items()}
    turned = " Its columns run downwards." if found.is_transposed else ""
    if found.kind == "error":
        told = (
            "How far one read is from the original"
            if found.codec == "analog"
            else "No filter, so no false positives. How far each weight is from the original"
        )
        first = (
            f"{told} in {found.name}, {matrix}, over the root mean square of its weights"
            f"{_per_block(found.block)}.{turned}"
        )
        return [first], (
            f"Errors of {found.name}, {matrix}: mostly below {format_value(found.peak)} of the "
            "root mean square of its weights"
        )
    zeros = found.counts["zero"] + found.counts["false_positive"]
    share = found.counts["false_positive"] / zeros if zeros else 0.0
    sampled = (
        f" A pixel shows one weight of {found.block} {TIMES} {found.block}, drawn at random."
        if found.block > 1
        else ""
    )
    words = [
        f"The largest layer in a filter, {found.name}, {matrix}: {counts['false_positive']} of "
        f"{format_count(zeros)} weights that are not stored read as a centroid, "
        f"{format_percent(share, 1 if share >= 0.05 else 3)}.{sampled}{turned}"
    ]
    if not found.is_known:
        words.append(
            "Which ones they are is not in the file, and the original does not tell: its weights "
            "were trained further, or neurons were removed."
        )
    elif not found.is_certain:
        words.append(
            "Which ones they are is not in the file. Shown are the likeliest: of all that read as "
            "a centroid, those that were smallest in the original."
        )
    alt = (
        f"{found.name}, {matrix}: {counts['stored']} stored, {counts['zero']} zero, "
        f"{counts['false_positive']} false positives"
    )
    return words, alt


def _per_block(block: int) -> str:
    return "" if block == 1 else f", the mean of {block} {TIMES} {block} weights a pixel"


def describe_outputs(report: Report) -> str:
    """What the outputs were compared on."""
    count = format_count(report.comparison["num_samples"])
    words = f"Against the original's, over {count} {name_inputs(report)}"
    if report.data_name is None:
        words += f" (standard normal, seed {report.seed})"
    if report.cells_per_weight is not None:
        words += f"; the cells read once, with read seed {report.seed}"
    return f"{words}."


def describe_costs(report: Report) -> str:
    """What the modes are, and what times were measured on."""
    if report.is_portable:
        return (
            "onnxruntime decodes a portable file when it creates a session, in every mode alike. "
            f"Measured on {report.machine}."
        )
    return (
        "Weights are decoded when the session is created (materialize), at the first run (cached) "
        f"or at every run (streaming). Measured on {report.machine}."
    )


def describe_sweep(sweep: Sweep) -> str:
    """What a sweep's points are."""
    trials = {point.trials for model in sweep.models for point in model.points}
    count = f"{min(trials)}" if len(trials) == 1 else f"{min(trials, default=0)} or more"
    reference = "the original" if sweep.reference == "original" else "what was meant to be written"
    lost = "Top-1 lost, in percentage points" if sweep.metric == "accuracy" else "SNR"
    return (
        f"{lost}, against {reference}, by the time since programming: mean and deviation of "
        f"{count} writes with a read each, seed {sweep.seed}."
    )
