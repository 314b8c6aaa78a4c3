"""Which inputs of which operators are weights, and what leads a weight on to them.

Positions after the operators' schemas: ONNX, and onnxruntime's `ContribOperators.md` for the
`com.microsoft` forms that its optimisers and exporters write. Operators whose weights are stored
as integers (QAttention, MatMulNBits, QMoE, ...) or that take none (MultiHeadAttention,
GroupQueryAttention, SkipLayerNormalization, ...) have no place here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wl_onnx.graph.tensors import FLOAT_TYPES

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["forwards_first_input", "is_weight_position", "needs_constant"]

_WEIGHT_POSITIONS: dict[tuple[str, str], tuple[int, ...]] = {
    ("", "Conv"): (1,),
    ("", "ConvTranspose"): (1,),
    ("", "Gemm"): (0, 1),
    ("", "MatMul"): (0, 1),
    ("", "Gather"): (0,),
    ("", "LSTM"): (1, 2),
    ("", "GRU"): (1, 2),
    ("", "RNN"): (1, 2),
    ("com.microsoft", "FusedConv"): (1,),
    ("com.microsoft", "NhwcConv"): (1,),
    ("com.microsoft", "NhwcFusedConv"): (1,),
    ("com.microsoft", "ConvTransposeWithDynamicPads"): (1,),
    ("com.microsoft", "CausalConvWithState"): (1,),
    ("com.microsoft", "VarlenCausalConvWithState"): (1,),
    ("com.microsoft", "WordConvEmbedding"): (1, 3),
    ("com.microsoft", "FusedGemm"): (0, 1),
    ("com.microsoft", "GemmFastGelu"): (1,),
    ("com.microsoft", "FusedMatMul"): (0, 1),
    ("com.microsoft", "FusedMatMulActivation"): (0, 1),
    ("com.microsoft", "TransposeMatMul"): (0, 1),
    ("com.microsoft", "SparseToDenseMatMul"): (1,),
    ("com.microsoft", "Attention"): (1,),
    ("com.microsoft", "PackedAttention"): (1,),
    ("com.microsoft", "LongformerAttention"): (1, 4),
    ("com.microsoft", "DecoderAttention"): (2, 3),
    ("com.microsoft", "DecoderMaskedSelfAttention"): (1,),
    ("com.microsoft", "GatedRelativePositionBias"): (3,),
    ("com.microsoft", "RelativePositionBias"): (0,),
    ("com.microsoft", "EmbedLayerNormalization"): (2, 3, 4),
    ("com.microsoft", "TorchEmbedding"): (0,),
    ("com.microsoft", "MoE"): (2, 4, 6),
    ("com.microsoft", "AttnLSTM"): (1, 2, 8, 9, 13),
    ("com.microsoft.nchwc", "Conv"): (1,),
}

_FORWARDING = frozenset(
    ("Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast")
)

# Read when onnxruntime creates the session, so that a computed value is refused or costs fusions.
_CONSTANT_POSITIONS: dict[tuple[str, str], tuple[int, ...]] = {
    ("", "Resize"): (1, 2),
    ("", "Upsample"): (1,),
    ("", "QuantizeLinear"): (1,),
    ("", "DequantizeLinear"): (1,),
    ("com.microsoft", "QuantizeLinear"): (1,),
    ("com.microsoft", "DequantizeLinear"): (1,),
}


def is_weight_position(node: NodeProto, index: int) -> bool:
    """Whether an input of a node is a weight, if it is constant and of a float type."""
    return index in _WEIGHT_POSITIONS.get(_operator(node), ())


def needs_constant(node: NodeProto, index: int) -> bool:
    """Whether an input of a node must stay an initializer."""
    return index in _CONSTANT_POSITIONS.get(_operator(node), ())


def forwards_first_input(node: NodeProto) -> bool:
    """Whether a node gives the values of its first input, in another order, shape or precision."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in _FORWARDING:
        return False
    if node.op_type != "Cast":
        return True
    return any(a.name == "to" and a.i in FLOAT_TYPES for a in node.attribute)


def _operator(node: NodeProto) -> tuple[str, str]:
    return "" if node.domain == "ai.onnx" else node.domain, node.op_type
