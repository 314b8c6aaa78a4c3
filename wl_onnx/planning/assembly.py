"""Coded layers, and all other parameters, into the nodes that stand for them in a model."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from wl_onnx.codecs import bundle
from wl_onnx.codecs.bundle import MAX_BUNDLE_WEIGHTS, BundleTensor
from wl_onnx.evaluation.tensor_report import bundle_fields
from wl_onnx.graph import (
    Bundle,
    Replacement,
    assign_initializer,
    find_parameters,
    find_weights,
    read_initializer,
    replace_weights,
)
from wl_onnx.planning.layer_problem import decode_tensor

if TYPE_CHECKING:
    from wl_onnx.graph import AnalogDefaults, CompressibleModel, Parameter, WeightSite
    from wl_onnx.planning.cell_writer import StoredTensor
    from wl_onnx.planning.encoding import EncodedWeight
    from wl_onnx.planning.layer_problem import CodedLayer
    from wl_onnx.planning.sequence import CodedLayers
    from wl_onnx.recipe import Recipe

    _Group = list[tuple[WeightSite | Parameter, BundleTensor]]

__all__ = ["Assembly", "assemble", "form_replacement"]

# Of numbers other than 0, how far float16 may move one before it is kept as float32.
_HALF_PRECISION = 2.0**-10


@dataclasses.dataclass(frozen=True)
class Assembly:
    """What is put into a model.

    Attributes:
        replacements: by weight key, blobs of their own.
        bundles: what holds small tensors together.
        assigned: by initializer name, new values of what stays an initializer.
        parameters: what is in the bundles beside weights.
        fields: by key, those fields of `TensorReport` that the coding decides.
        codecs: by key, "palette", "bloomier" or "bundle".
    """

    replacements: Mapping[str, Replacement]
    bundles: tuple[Bundle, ...]
    assigned: Mapping[str, npt.NDArray[np.floating[Any]]]
    parameters: tuple[Parameter, ...]
    fields: Mapping[str, Mapping[str, Any]]
    codecs: Mapping[str, str]

    @classmethod
    def of_encoded(
        cls, sites: Sequence[WeightSite], encoded: Mapping[str, EncodedWeight]
    ) -> Assembly:
        """Weights with a blob each, and nothing else."""
        chosen = [(site, encoded[site.key]) for site in sites if site.key in encoded]
        return cls(
            {s.key: form_replacement(s, one.codec, one.blob, one.fields) for s, one in chosen},
            (),
            {},
            (),
            {site.key: one.fields for site, one in chosen},
            {site.key: one.codec for site, one in chosen},
        )

    @classmethod
    def of_stored(cls, sites: Sequence[WeightSite], stored: Mapping[str, StoredTensor]) -> Assembly:
        """Weights in analog cells, and nothing else."""
        chosen = [(site, stored[site.key]) for site in sites if site.key in stored]
        fields = {s.key: one.describe(s.numpy().astype(np.float64)) for s, one in chosen}
        return cls(
            {s.key: form_replacement(s, "analog", one.blob, fields[s.key]) for s, one in chosen},
            (),
            {},
            (),
            fields,
            dict.fromkeys(fields, "analog"),
        )

    def store_as(self, codecs: Mapping[str, str], stored_bytes: Mapping[str, int]) -> Assembly:
        """The same weights as another way of storing them has them.

        Args:
            codecs: by key, of what is not dense there.
            stored_bytes: by key, what these take.
        """
        fields: dict[str, Mapping[str, Any]] = {}
        for key, values in self.fields.items():
            fields[key] = {name: value for name, value in values.items() if name != "size_bits"}
            if key in stored_bytes:
                fields[key] = {**values, "size_bits": 8 * stored_bytes[key]}
        return dataclasses.replace(self, fields=fields, codecs=dict(codecs))

    def apply(
        self,
        model: CompressibleModel,
        *,
        blobs: Literal["attribute", "initializer"] = "attribute",
        metadata: Mapping[str, str] | None = None,
        analog: AnalogDefaults | None = None,
    ) -> None:
        """Puts everything into the model, which is changed in place; see `replace_weights`."""
        replace_weights(
            model, self.replacements, bundles=self.bundles, blobs=blobs, metadata=metadata,
            analog=analog,
        )  # fmt: skip
        for name, values in self.assigned.items():
            assign_initializer(model, name, values)


def assemble(
    model: CompressibleModel,
    coded: CodedLayers,
    recipe: Recipe,
    blind: Mapping[str, EncodedWeight],
) -> Assembly:
    """Gathers small tensors in bundles: weights, biases, and the parameters of normalisations.

    Parameters that no layer has as its bias are kept to the precision of float16.

    Args:
        model: the model as it was.
        coded: its layers.
        recipe: which parameters are selected.
        blind: by weight key, what stands for weights whose layers were not observed.
    """
    sites = {site.key: site for site in find_weights(model)}
    parameters = [
        one
        for one in find_parameters(model)
        if recipe.selects(one.key) and recipe.for_tensor(one.key) is not None
    ]
    groups: dict[int, _Group] = collections.defaultdict(list)
    replacements: dict[str, Replacement] = {}
    fields: dict[str, Mapping[str, Any]] = {}
    for key, layer in coded.layers.items():
        if layer.tensor is not None:
            groups[sites[key].data_type].append((sites[key], layer.tensor))
        else:
            replacements[key] = form_replacement(sites[key], layer.codec, layer.blob, layer.fields)
            fields[key] = {**layer.fields, **_predict(layer)}
    for key, encoded in blind.items():
        replacements[key] = form_replacement(
            sites[key], encoded.codec, encoded.blob, encoded.fields
        )
        fields[key] = encoded.fields
    for parameter in parameters:
        tensor = coded.biases.get(parameter.name) or _keep(parameter)
        groups[parameter.data_type].append((parameter, tensor))
    bundles = [
        one
        for group in groups.values()
        for part in _divide(group)
        if (one := _form_bundle(part, fields, coded)) is not None
    ]
    bundled = {key for one in bundles for key in one.keys}
    codecs = {key: one.codec for key, one in replacements.items()}
    codecs.update(dict.fromkeys(bundled, "bundle"))
    assigned = {
        name: decode_tensor(tensor).reshape(read_initializer(model, name).shape)
        for name, tensor in coded.biases.items()
        if name not in bundled
    }
    kept = tuple(one for one in parameters if one.key in bundled)
    return Assembly(replacements, tuple(bundles), assigned, kept, fields, codecs)


def form_replacement(
    site: WeightSite, codec: str, blob: bytes, fields: Mapping[str, Any]
) -> Replacement:
    """What takes a weight's place, with a line for viewers.

    Args:
        site: the weight.
        codec: "analog", "bloomier" or "palette".
        blob: the encoded weight.
        fields: of its `TensorReport`.
    """
    if codec == "analog":
        return Replacement(blob, _describe_cells(site, fields), codec=codec)
    ratio = site.size_bytes / len(blob)
    num_nonzero, clusters = fields["num_nonzero"], fields["clusters"]
    if codec == "palette":
        summary = (
            f"Palette: {site.num_weights} weights, {num_nonzero} of them not zero, "
            f"{clusters} centroids, {ratio:.1f}x smaller"
        )
        return Replacement(blob, summary, codec=codec)
    bits = str(fields["bits"])
    if fields["layout"] == "prefix" and num_nonzero and fields["information_bound_bits"]:
        bits = f"{fields['information_bound_bits'] / num_nonzero:.2f}"  # the mean of all codes
    summary = (
        f"Bloomier filter ({fields['layout']}): {num_nonzero} of {site.num_weights} weights in "
        f"{bits} bits, {clusters} centroids, {ratio:.1f}x smaller"
    )
    return Replacement(blob, summary, codec=codec)


def _describe_cells(site: WeightSite, fields: Mapping[str, Any]) -> str:
    return (
        f"Analog cells: {site.num_weights} weights, {fields['num_nonzero']} of them stored in "
        f"{fields['cells']} cells, {fields['digital_bits']} digital bits"
    )


def _divide(group: _Group) -> Iterator[_Group]:
    """The tensors of one type in as many parts as a bundle's size demands."""
    part: _Group = []
    num_weights = 0
    for owner, tensor in group:
        if part and num_weights + owner.num_weights > MAX_BUNDLE_WEIGHTS:
            yield part
            part, num_weights = [], 0
        part.append((owner, tensor))
        num_weights += owner.num_weights
    if part:
        yield part


def _form_bundle(
    group: _Group,
    fields: dict[str, Mapping[str, Any]],
    coded: CodedLayers,
) -> Bundle | None:
    """A bundle of tensors of one type, or None where it takes more than they did."""
    blob = bundle.encode([tensor for _, tensor in group])
    if len(blob) >= sum(owner.size_bytes for owner, _ in group):
        return None
    info = bundle.inspect(blob)
    weights = bundle.decode(blob)
    for (owner, _), part, values in zip(group, info.tensors, weights, strict=True):
        measured: dict[str, Any] = {"epsilon": 0.0, **bundle_fields(part, values)}
        if owner.key in coded.layers:
            measured["error_share"] = coded.layers[owner.key].fields["error_share"]
            measured.update(_predict(coded.layers[owner.key]))
        elif owner.name not in coded.biases:  # those make up for the weights, and differ for that
            before = np.asarray(owner.numpy(), np.float64).reshape(-1)
            measured["error_share"] = _error_share(before, values)
        fields[owner.key] = measured
    summary = f"bundle: {len(group)} tensors, {info.num_weights} weights, {len(blob)} bytes"
    return Bundle(blob, tuple(owner.key for owner, _ in group), summary)


def _predict(layer: CodedLayer) -> dict[str, Any]:
    """What the search knew of a layer's codings."""
    tried = {
        codec: {"size_bits": size_bits, "predicted_damage": damage}
        for codec, (size_bits, damage) in layer.tried.items()
    }
    return {"predicted_damage": layer.damage, "tried": tried}


def _keep(parameter: Parameter) -> BundleTensor:
    """Values to float16's precision where it has their range."""
    values = np.asarray(parameter.numpy(), np.float32).reshape(-1)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    error = np.abs(half.astype(np.float32) - values)
    is_near = bool((error <= _HALF_PRECISION * np.abs(values)).all())
    return BundleTensor(values=half if is_near else values)


def _error_share(before: npt.NDArray[np.float64], now: npt.NDArray[np.float32]) -> float:
    energy = float(np.square(before).sum())
    return float(np.square(now - before).sum()) / energy if energy else 0.0
