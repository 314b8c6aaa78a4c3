"""Weights to sparse, clustered weights."""

from wl_onnx.simplify.cluster import Clustering, cluster, round_codebook
from wl_onnx.simplify.prune import Threshold, global_thresholds, prune, threshold_for_sparsity

__all__ = [
    "Clustering",
    "Threshold",
    "cluster",
    "global_thresholds",
    "prune",
    "round_codebook",
    "threshold_for_sparsity",
]
