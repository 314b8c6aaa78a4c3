"""Finding, replacing and restoring the weights of an ONNX model."""

from wl_onnx.graph.analog import (
    ANALOG_INPUTS,
    AnalogDefaults,
    check_analog_inputs,
    why_not_analog,
)
from wl_onnx.graph.assign import assign_initializer, read_initializer
from wl_onnx.graph.cut import cut_model, find_live, follows_from, hash_part
from wl_onnx.graph.decoders import (
    OPERATORS,
    Decoder,
    find_decoders,
    find_stored,
    set_cache,
)
from wl_onnx.graph.externalize import ExternalizedModel, externalize_weights
from wl_onnx.graph.layers import WeightLayer, find_layers
from wl_onnx.graph.load import load_model
from wl_onnx.graph.measure import (
    FileParts,
    fits_in_proto,
    measure_file,
    measure_parts,
    measure_tensors,
)
from wl_onnx.graph.metadata import (
    DOMAIN,
    OPSET_VERSION,
    hash_source,
    is_compressed,
    is_portable,
    read_metadata,
    require_uncompressed,
)
from wl_onnx.graph.model import CompressibleModel
from wl_onnx.graph.parameters import Parameter, find_parameters
from wl_onnx.graph.products import LayerInput, MatrixView, Window
from wl_onnx.graph.remove_units import LayerUnits, RemovedUnits, remove_dead_units
from wl_onnx.graph.restore import restore_weights
from wl_onnx.graph.rewrite import Bundle, Replacement, replace_weights
from wl_onnx.graph.save import check_output, save_model, to_proto
from wl_onnx.graph.select import MAX_WEIGHTS, WeightSite, find_weights
from wl_onnx.graph.strip import strip_model

__all__ = [
    "ANALOG_INPUTS",
    "DOMAIN",
    "MAX_WEIGHTS",
    "OPERATORS",
    "OPSET_VERSION",
    "AnalogDefaults",
    "Bundle",
    "CompressibleModel",
    "Decoder",
    "ExternalizedModel",
    "FileParts",
    "LayerInput",
    "LayerUnits",
    "MatrixView",
    "Parameter",
    "RemovedUnits",
    "Replacement",
    "WeightLayer",
    "WeightSite",
    "Window",
    "assign_initializer",
    "check_analog_inputs",
    "check_output",
    "cut_model",
    "externalize_weights",
    "find_decoders",
    "find_layers",
    "find_live",
    "find_parameters",
    "find_stored",
    "find_weights",
    "fits_in_proto",
    "follows_from",
    "hash_part",
    "hash_source",
    "is_compressed",
    "is_portable",
    "load_model",
    "measure_file",
    "measure_parts",
    "measure_tensors",
    "read_initializer",
    "read_metadata",
    "remove_dead_units",
    "replace_weights",
    "require_uncompressed",
    "restore_weights",
    "save_model",
    "set_cache",
    "strip_model",
    "to_proto",
    "why_not_analog",
]
