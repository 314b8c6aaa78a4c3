"""How much the model's outputs change when an output of a layer does, measured by running it.

A layer's error matters as much as what lies behind it lets through. Each row of a weight matrix
is disturbed in turn, and the change of the model's outputs is divided by the damage to the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from onnx import helper

from wl_onnx.errors import InputError
from wl_onnx.graph import find_live
from wl_onnx.runtime.part import PartSession, is_plain

if TYPE_CHECKING:
    from wl_onnx.graph import CompressibleModel, WeightLayer
    from wl_onnx.runtime.moments import Moments

__all__ = ["measure_sensitivity"]

Feed = Mapping[str, npt.NDArray[Any]]
Float64 = npt.NDArray[np.float64]
Outputs = list[Float64]

# About what quantisation to one or two bits does, as a share of the weights' deviation.
_NOISE = 0.3


def measure_sensitivity(
    model: CompressibleModel,
    feeds: Sequence[Feed],
    layers: Sequence[WeightLayer],
    moments: Mapping[str, Moments],
    *,
    metric: Literal["mse", "kl"] = "mse",
    temperature: float = 1.0,
    max_runs: int = 1024,
    seed: int = 0,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[str, Float64]]:
    """What a squared error of each output of each layer costs at the model's outputs.

    Args:
        model: the model as it was.
        feeds: a few inputs; each is run once for each row, so 50 to 200 samples are enough.
        layers: which layers; each has a view.
        moments: of their inputs, by weight key.
        metric: "mse", the energy of the change of each output over that of the output, added up
            over the outputs; or "kl", the divergence of the softmax along the last axis of the
            first output, for classifiers. A classifier that is sure of its calibration data has a
            divergence that says little unless the temperature is raised.
        temperature: what logits are divided by.
        max_runs: most runs for a layer; where there are more rows, neighbouring ones are
            disturbed together and get one value.
        seed: of the disturbances.
        threads: threads of onnxruntime; 0 leaves its default.
        progress: called before each layer with the layers done and the layers in all.

    Yields:
        Weight key and float64 `[num_groups, num_rows]`, the `row_weights` of `quantize_layer`.

    Raises:
        InputError: there is no feed, or one does not fit the model.
        ModelError: onnxruntime does not load the model.
    """
    if not feeds:
        raise InputError(
            f"cannot measure the sensitivity of {model.name}: there must be a feed, got none"
        )
    for index, layer in enumerate(layers):
        if progress is not None:
            progress(index, len(layers))
        if layer.view is None:
            continue
        rng = np.random.default_rng((seed, index))
        behind = _Behind(model, layer, feeds, threads)
        weight = np.asarray(layer.site.numpy(), np.float64)
        matrices = layer.view.to_matrices(weight)
        noise = rng.standard_normal(matrices.shape) * (_NOISE * matrices.std())
        second = moments[layer.site.key].second
        products = noise * second[:, None] if second.ndim == 2 else noise @ second
        damages = np.einsum("grk,grk->gr", products, noise)
        num_rows = damages.size
        parts = np.array_split(np.arange(num_rows), min(num_rows, max_runs))

        reference = list(behind.run(weight))
        distance = _Distance(reference, metric, temperature)
        result = np.zeros(num_rows)
        for part in parts:
            chosen = np.zeros(num_rows)
            chosen[part] = 1
            disturbed = matrices + noise * chosen.reshape(*damages.shape, 1)
            change = distance.measure(behind.run(layer.view.from_matrices(disturbed)))
            damage = damages.reshape(-1)[part].sum()
            result[part] = change / damage if damage > 0 else 0.0
        yield layer.site.key, result.reshape(damages.shape)
    if progress is not None:
        progress(len(layers), len(layers))


class _Behind:
    """What lies behind the first use of a layer's weight, which is fed; the rest runs once."""

    def __init__(
        self, model: CompressibleModel, layer: WeightLayer, feeds: Sequence[Feed], threads: int
    ) -> None:
        self._site = layer.site
        live = find_live(model, layer.site.name)
        before = PartSession(model, live, threads=threads)
        self._feeds = [before.run(feed) for feed in feeds]
        if not all(is_plain(value) for feed in self._feeds for value in feed.values()):
            # Sequences and strings are left to the model.
            live, self._feeds = [], [dict(feed) for feed in feeds]
        given: dict[str, int] = {
            name: helper.np_dtype_to_tensor_dtype(array.dtype)
            for name, array in (self._feeds[0].items() if live else ())
        }
        given[layer.site.name] = layer.site.data_type
        outputs = [info.name for info in model.proto.graph.output]
        self._session = PartSession(model, outputs, given=given, threads=threads)

    def run(self, weight: Float64) -> Iterator[Outputs]:
        """The outputs with a weight, feed after feed."""
        fed = weight.astype(self._site.numpy().dtype)
        for feed in self._feeds:
            outputs = self._session.run({**feed, self._site.name: fed})
            yield [np.asarray(output, np.float64) for output in outputs.values()]


class _Distance:
    """How far outputs are from those of the model as it was."""

    def __init__(self, reference: list[Outputs], metric: str, temperature: float) -> None:
        self._reference = reference
        self._temperature = temperature
        self._is_divergence = metric == "kl"
        self._scales = [
            1 / max(sum(float((one**2).sum()) for one in outputs), 1e-30)
            for outputs in zip(*reference, strict=True)
        ]

    def measure(self, outputs: Iterator[Outputs]) -> float:
        total, num_samples = 0.0, 0
        for before, now in zip(self._reference, outputs, strict=True):
            num_samples += len(before[0]) if before[0].ndim else 1
            if self._is_divergence:
                total += self._diverge(before[0], now[0])
            else:
                total += sum(
                    scale * float(((a - b) ** 2).sum())
                    for scale, a, b in zip(self._scales, before, now, strict=True)
                )
        return total / num_samples if self._is_divergence else total

    def _diverge(self, before: Float64, now: Float64) -> float:
        old, new = (_log_softmax(logits / self._temperature) for logits in (before, now))
        return float((np.exp(old) * (old - new)).sum())


def _log_softmax(logits: Float64) -> Float64:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Float64 = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
