"""Weights to sparse, clustered weights; with what a layer's input says about them, if known."""

from wl_onnx.simplify.cluster import Clustering, cluster, round_codebook
from wl_onnx.simplify.compensate import (
    Quantization,
    center_moments,
    choose_step,
    correct_bias,
    measure_damage,
    quantize_layer,
    refit_codebook,
    retarget,
    uniform_codebook,
)
from wl_onnx.simplify.contexts import SymbolCosts, measure_symbols
from wl_onnx.simplify.prune import Threshold, global_thresholds, prune, threshold_for_sparsity
from wl_onnx.simplify.surgeon import fit_kept, prune_layer

__all__ = [
    "Clustering",
    "Quantization",
    "SymbolCosts",
    "Threshold",
    "center_moments",
    "choose_step",
    "cluster",
    "correct_bias",
    "fit_kept",
    "global_thresholds",
    "measure_damage",
    "measure_symbols",
    "prune",
    "prune_layer",
    "quantize_layer",
    "refit_codebook",
    "retarget",
    "round_codebook",
    "threshold_for_sparsity",
    "uniform_codebook",
]
