"""ONNX graphs as torch modules to train, treatments for one's own, and the way back.

Needs the extra `finetune`.
"""

from wl_onnx.finetune.attach import attach, detach, export_state
from wl_onnx.finetune.bridge import initializer_names, to_onnx, to_torch
from wl_onnx.finetune.losses import Objective
from wl_onnx.finetune.noisy_recipe import NoisyRecipe
from wl_onnx.finetune.progress import ReportFn, StepReport
from wl_onnx.finetune.recipe import FinetuneRecipe, Stage
from wl_onnx.finetune.recipe_file import load_finetune_recipe
from wl_onnx.finetune.treatments import Cluster, Freeze, Mask, Noise
from wl_onnx.finetune.tuning import finetune
from wl_onnx.finetune.weightless_recipe import WeightlessRecipe

__all__ = [
    "Cluster",
    "FinetuneRecipe",
    "Freeze",
    "Mask",
    "Noise",
    "NoisyRecipe",
    "Objective",
    "ReportFn",
    "Stage",
    "StepReport",
    "WeightlessRecipe",
    "attach",
    "detach",
    "export_state",
    "finetune",
    "initializer_names",
    "load_finetune_recipe",
    "to_onnx",
    "to_torch",
]
