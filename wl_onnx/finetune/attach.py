"""Treatments in the user's own torch module and training loop: public, importable without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wl_onnx.finetune.bridge import require_torch
from wl_onnx.finetune.planned import Decoded, read_planned

if TYPE_CHECKING:
    import numpy as np
    from onnx import ModelProto
    from torch import nn

__all__ = ["attach", "detach", "export_state"]


def attach(
    user_module: nn.Module,
    plan: Mapping[str, Any] | str | os.PathLike[str] | ModelProto,
    *,
    names: Mapping[str, str] | None = None,
    decoded: Decoded = "cluster",
) -> None:
    """Freezes, masks, clusters or reads with noise parameters of a module while it trains.

    The module is changed in place by `torch.nn.utils.parametrize`, and then trained in any loop:
    `conv1.weight` is the treated tensor, and what is trained stands at
    `conv1.parametrizations.weight.original`. The module can be deep-copied; save and load its
    `state_dict()`, into a module with the same treatments attached. A module may be attached to
    several times, each parameter once.

    Make the optimizer afterwards. One that was made before goes on working, since parameters stay
    the same objects, unless it has state of the weights (momentum, Adam's moments) where a
    `Cluster` makes them centroids; the same holds for `detach`. A centroid's gradient is a sum over
    its weights: SGD needs smaller steps for it than for weights. Decay of weights draws centroids,
    and nothing that is masked or frozen. Attach before `torch.compile`, detach before
    `torch.onnx.export`.

    Args:
        user_module: a module whose parameters are called as the graph's initializers, as those of
            `torch.onnx.export` are; or one from `to_torch`.
        plan: one of three.
            Treatments (`Freeze`, `Mask`, `Cluster`, `Noise`, a tuple of them, or None) by name of a
            parameter or an initializer, or by glob as in `fnmatch`; of several that match, the last
            counts.
            A plan that `compress` made without data and with a given sparsity (`Result.plan`, or
            the path of its JSON): each coded tensor gets a mask of its sparsity and its clusters,
            zero aside.
            A compressed model, or its path: the module takes its values, decoded and plain, and so
            computes what it does; `to_onnx` writes trained centroids back into it. What is in
            bundles is frozen; where those are statistics of normalisations, keep these in
            evaluation mode.
        names: initializers' names by parameters', where they differ.
        decoded: for a compressed model: "cluster" trains centroids, each weight having the one that
            it decodes to; "freeze" freezes all coded tensors, to train the rest around them.

    Raises:
        InputError: a name or a glob matches no parameter; a parameter is not of floats, is shared,
            or parametrised already; a shape does not fit; a plan has no sparsities.
        LibraryError: torch is not installed.
        ModelError: the compressed model is damaged.
        BlobError: a blob of it is damaged.

    Example:
        >>> attach(net, {"fc1.weight": (Mask(0.9), Cluster(16))})  # doctest: +SKIP
    """
    require_torch()
    from wl_onnx.finetune.attachment import attach_treatments

    attach_treatments(user_module, read_planned(plan, decoded=decoded), names)


def export_state(user_module: nn.Module) -> dict[str, np.ndarray]:
    """What a module computes with, by names of initializers, for `to_onnx`.

    Of a user's own module these are its parameters and the buffers of floats that `state_dict` has,
    such as statistics of normalisations; of one from `to_torch` all that are initializers. Treated
    parameters are given as treated, without noise. Names are those that `attach` was told, else the
    module's own.

    Args:
        user_module: the module, treated or not, on any device.

    Raises:
        LibraryError: torch is not installed.
    """
    require_torch()
    from wl_onnx.finetune.attachment import export_values

    return export_values(user_module)


def detach(user_module: nn.Module) -> None:
    """Takes all treatments off a module; parameters keep the values that they had treated.

    Args:
        user_module: what `attach` was given, or a deep copy of it.

    Raises:
        InputError: a treated parameter has parametrisations of others too.
        LibraryError: torch is not installed.
    """
    require_torch()
    from wl_onnx.finetune.attachment import detach_treatments

    detach_treatments(user_module)
