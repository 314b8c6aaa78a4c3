"""Between ONNX graphs and torch modules: what is public, importable where torch is not installed.

torch is imported when a function is called, so that everything else of the package does without.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from wl_onnx.errors import LibraryError

if TYPE_CHECKING:
    import numpy as np
    from onnx import ModelProto
    from torch import fx, nn

__all__ = ["initializer_names", "require_torch", "to_onnx", "to_torch"]


def require_torch() -> None:
    """Checks that torch is there, before anything is read.

    Raises:
        LibraryError: torch is not installed.
    """
    try:
        import torch  # noqa: F401  only whether it is there
    except ImportError as error:
        raise LibraryError(
            'cannot fine-tune: torch is not installed; pip install "wl-onnx[finetune]"'
        ) from error


def to_torch(
    model: str | os.PathLike[str] | ModelProto, *, update_statistics: bool = False
) -> fx.GraphModule:
    """An ONNX graph as a torch module that computes and differentiates it, to be trained.

    The module takes the graph's inputs by position, in order, and gives its output, or a tuple
    where there are several. It is in training mode, as new torch modules are, but that changes
    nothing unless `update_statistics` is on: dropout of a graph for inference is the identity.

    Parameters are the float initializers of the main graph that some node reads. Not trained, but
    buffers, are: means and variances of BatchNormalization; integers; values of Constant nodes and
    what follows from them; initializers of subgraphs; initializers at places that must hold still
    (limits of Clip, exponents, scales of Resize, values of padding and the like); those that are
    one number in element-wise arithmetic, such as epsilons; those that are not finite, such as
    masks. Attribute names are those of the initializers with each character that Python does not
    allow replaced; `initializer_names` maps them back.

    Save `module.state_dict()`; the module itself can be deep-copied but not pickled.

    Args:
        model: path of an ONNX file, or a ModelProto; opset 7 or newer, not compressed.
        update_statistics: whether BatchNormalization in training mode normalises by the batch and
            updates the running statistics with the graph's momentum, as ONNX defines it
            (population variance).

    Raises:
        InputError: no such file.
        LibraryError: torch is not installed.
        ModelError: the model is damaged, or has an operator, an attribute or an element type that
            the bridge does not know; the message names operator, opset and node.

    Example:
        >>> module = to_torch("models/lenet5.onnx")  # doctest: +SKIP
        >>> optimizer = torch.optim.Adam(module.parameters())  # doctest: +SKIP
    """
    require_torch()
    from wl_onnx.finetune.conversion import convert_model

    return convert_model(model, update_statistics=update_statistics)


def to_onnx(
    module_or_state: nn.Module | Mapping[str, np.ndarray],
    model: str | os.PathLike[str] | ModelProto,
) -> ModelProto:
    """A graph with the parameters and statistics of a trained module in it.

    Only initializers whose values changed are written, each in its own element type; all else is
    the given model's, bit for bit.

    Args:
        module_or_state: what `to_torch` gave, trained; on any device. Parametrised parameters
            (`torch.nn.utils.parametrize`) are taken as the module uses them, without noise. Or
            arrays or tensors by names of initializers, as `export_state` gives of a module of one's
            own; initializers that are not named stay as they are.
        model: the path or ModelProto that the module was made of; not changed. Where it is a
            compressed one, coded weights get other centroids in the same blobs, rounded to the
            blob's type, if their values are still equal where the codes are.

    Returns:
        A new ModelProto, with what was external data inside.

    Raises:
        InputError: the module is not from `to_torch`, or an initializer of the graph is absent
            or of another shape or element type than the module's, or coded in a way that cannot
            hold the values; it is named.
        LibraryError: torch is not installed.
        ModelError: the model is damaged, or too large for one ModelProto.
    """
    require_torch()
    from wl_onnx.finetune.export import export_model

    return export_model(module_or_state, model)


def initializer_names(module: nn.Module) -> dict[str, str]:
    """The initializers that a module holds: attribute of the module to name in the graph.

    The attribute is what `named_parameters()`, `named_buffers()` and `state_dict()` call it.

    Args:
        module: what `to_torch` gave, or a deep copy of it.

    Raises:
        InputError: the module is not from `to_torch`.
        LibraryError: torch is not installed.

    Example:
        >>> names = initializer_names(module)  # doctest: +SKIP
        >>> {names[key]: p for key, p in module.named_parameters()}  # doctest: +SKIP
    """
    require_torch()
    from wl_onnx.finetune.attribute_names import read_names

    return read_names(module)
