"""All layers of a model, one after another, each making up for what was lost before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wl_onnx.codecs.bundle import BundleTensor
from wl_onnx.graph import (
    Replacement,
    assign_initializer,
    load_model,
    read_initializer,
    replace_weights,
)
from wl_onnx.planning.layer_coding import LayerCoder, code_layer
from wl_onnx.planning.layer_problem import (
    CodedLayer,
    LayerProblem,
    LayerSettings,
    decode_tensor,
    round_step,
)
from wl_onnx.runtime.stepwise import StepwiseObserver
from wl_onnx.simplify.compensate import center_moments, correct_bias, make_semidefinite, retarget

if TYPE_CHECKING:
    from wl_onnx.graph import CompressibleModel, WeightLayer
    from wl_onnx.planning.calibration import Calibration
    from wl_onnx.recipe import Recipe
    from wl_onnx.runtime.moments import Moments

__all__ = ["CodedLayers", "code_layers"]

Float64 = npt.NDArray[np.float64]

# Share of the mean diagonal that holds a target where the original is.
_HOLD = 0.05
# Most levels of a bias to either side of 0.
_MAX_LEVEL = 127


@dataclasses.dataclass(frozen=True)
class CodedLayers:
    """The layers of a model, coded.

    Attributes:
        settings: by weight key, how it was coded, with the codec that was chosen.
        layers: by weight key, what stands for each weight that is coded.
        biases: by initializer name, what stands for the layers' biases.
    """

    settings: Mapping[str, LayerSettings]
    layers: Mapping[str, CodedLayer]
    biases: Mapping[str, BundleTensor]

    @property
    def damage(self) -> float:
        """The loss that is predicted, of all layers together."""
        return sum(layer.damage for layer in self.layers.values())

    def size_bits(self, key: str) -> int:
        """What a weight takes; 0 where it is not coded."""
        return self.layers[key].size_bits if key in self.layers else 0


def code_layers(
    calibration: Calibration,
    settings: Mapping[str, LayerSettings],
    recipe: Recipe,
    *,
    coder: LayerCoder = code_layer,
    progress: Callable[[int, str], None] | None = None,
) -> CodedLayers:
    """Codes layers in the order in which they run, with what those before now give.

    Args:
        calibration: the model, its layers and the data.
        settings: by weight key, how each layer is coded.
        recipe: what holds for all of them.
        coder: codes each layer.
        progress: called before each layer with its number and its key.

    Raises:
        InputError: a feed does not fit the model, or an input of a layer is not finite.
        EncodeError: no filter exists for a layer's keys with the hash that the recipe names.
    """
    original = calibration.model
    current = load_model(original.proto, folder=original.folder)
    layers: dict[str, CodedLayer] = {}
    biases: dict[str, BundleTensor] = {}
    threads = calibration.settings.threads
    observer = StepwiseObserver(
        original,
        calibration.observed_feeds,
        budget_bytes=calibration.settings.budget_bytes // 2,
        seed=calibration.settings.seed,
        threads=threads,
    )
    for index, layer in enumerate(calibration.layers):
        key = layer.site.key
        if settings[key].codec == "none":
            continue
        if progress is not None:
            progress(index, key)
        moments = observer.observe(current, layer, max_places=calibration.count_places(layer))
        own = recipe.for_tensor(key) or recipe
        covariance = center_moments(moments.second, moments.mean)
        problem = _pose(layer, moments, covariance, calibration.row_weights[key])
        try:
            coded = coder(problem, settings[key], own, threads=threads)
        except np.linalg.LinAlgError:
            # Inputs that hardly change about a large mean: the rest of a difference is rounding.
            covariance = make_semidefinite(covariance)
            problem = _pose(layer, moments, covariance, calibration.row_weights[key])
            coded = coder(problem, settings[key], own, threads=threads)
        layers[key] = coded
        _put(current, problem, coded)
        if layer.bias is not None:
            bias = _correct_bias(original, layer.bias, problem, coded, moments)
            biases[layer.bias] = _round_bias(bias, problem, settings[key].lam)
            rounded = decode_tensor(biases[layer.bias]).reshape(bias.shape)
            assign_initializer(current, layer.bias, rounded)
    chosen = {
        key: dataclasses.replace(one, codec=layers[key].family) if key in layers else one
        for key, one in settings.items()
    }
    return CodedLayers(chosen, layers, biases)


def _put(model: CompressibleModel, problem: LayerProblem, coded: CodedLayer) -> None:
    """Puts a coded weight into the model on which the next layers are observed."""
    site = problem.layer.site
    if coded.codec not in ("bundle", "analog"):
        replace_weights(model, {site.key: Replacement(coded.blob, "", codec=coded.codec)})
        return
    natural = problem.view.from_matrices(coded.values)
    assign_initializer(model, site.key, np.ascontiguousarray(natural))


def _pose(
    layer: WeightLayer, moments: Moments, covariance: Float64, row_weights: Float64
) -> LayerProblem:
    view = layer.view
    assert view is not None  # noqa: S101  a calibration has no others
    weight = np.asarray(view.to_matrices(layer.site.numpy()), np.float64)
    target = weight
    if moments.cross is not None and moments.reference_mean is not None:
        cross = moments.cross - moments.reference_mean[:, :, None] * moments.mean[:, None, :]
        skip = moments.skip_cross
        if skip is not None and moments.skip_shift is not None:
            skip = skip - moments.skip_shift[:, :, None] * moments.mean[:, None, :]
        target = retarget(weight, covariance, cross, _HOLD, skip)
    energies = moments.second
    if energies.ndim == 3:
        energies = np.einsum("gii->gi", energies)
    return LayerProblem(layer, view, weight, target, covariance, row_weights, energies)


def _correct_bias(
    original: CompressibleModel,
    name: str,
    problem: LayerProblem,
    coded: CodedLayer,
    moments: Moments,
) -> Float64:
    """The bias with which the layer's output has the mean that it had."""
    bias = np.asarray(read_initializer(original, name), np.float64)
    before = moments.mean if moments.reference_mean is None else moments.reference_mean
    mean_shift = np.einsum("grk,gk->gr", problem.weight, moments.mean - before)
    shift = correct_bias(coded.values - problem.weight, moments.mean, mean_shift)
    if moments.skip_shift is not None:
        shift = shift + moments.skip_shift
    corrected: Float64 = bias + shift.reshape(bias.shape)
    return corrected


def _round_bias(bias: Float64, problem: LayerProblem, lam: float) -> BundleTensor:
    """A bias in multiples of a step, at which a bit more would save lambda of loss.

    Rounding at random loses step**2 / 12 for each unit of curvature, a quarter of that with a bit
    more: lambda is 2 ln 2 step**2 / 12.
    """
    positive = problem.row_weights[problem.row_weights > 0]
    largest = float(np.abs(bias).max())
    step = largest / _MAX_LEVEL
    if positive.size:
        wanted = float(np.sqrt(12 * lam / (2 * np.log(2) * np.median(positive))))
        step = max(step, min(wanted, largest))
    step = round_step(step) or 1.0
    levels = np.rint(bias.reshape(-1) / step).astype(np.int64)
    return BundleTensor(levels=levels, step=step)
