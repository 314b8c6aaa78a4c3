"""Decoding weights, and handing them to onnxruntime."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from wl_onnx.codecs import bloomier, bundle, cells, palette
from wl_onnx.errors import BlobError, InputError, ModelError
from wl_onnx.graph.tensors import fill_raw, numpy_dtype

if TYPE_CHECKING:
    from collections.abc import Callable

    from onnx import NodeProto

    from wl_onnx.graph import Decoder, ExternalizedModel

__all__ = ["WeightDecoder", "WeightReader", "decode_weight", "supply_weights"]

_DECODE_INTO = {
    "analog": cells.decode_into,
    "bloomier": bloomier.decode_into,
    "palette": palette.decode_into,
}


class WeightDecoder:
    """Decodes the weights that decode nodes stand for, the bundles among them once each.

    The last bundle is kept: its weights are to be asked for one after another, in any order.

    Args:
        threads: threads that decode; 0 means one for each core.
    """

    def __init__(self, *, threads: int = 1) -> None:
        self._threads = threads
        self._bundle: tuple[NodeProto, list[np.ndarray]] | None = None

    def __call__(self, decoder: Decoder) -> np.ndarray:
        """The weight that a decoder stands for.

        Args:
            decoder: one of `find_stored`.

        Returns:
            The array in the weight's shape and element type, bit for bit what the operator gives;
            of analog cells what was meant to be written, which no operator gives.

        Raises:
            BlobError: the blob is damaged.
            ModelError: the blob holds another number of weights than the node says.
        """
        try:
            if decoder.codec == "bundle":
                return self._decode_bundle(decoder)[decoder.index]
            array = np.empty(decoder.shape, numpy_dtype(decoder.data_type))
            decode_into = _DECODE_INTO[decoder.codec]
            decode_into(decoder.blob, array, onnx_type=decoder.data_type, threads=self._threads)
        except (BlobError, InputError) as error:
            family = BlobError if isinstance(error, BlobError) else ModelError
            reason = str(error).removeprefix("cannot decode blob: ")
            raise family(
                f"cannot decode {decoder.key} of {decoder.model.name}: {reason}"
            ) from error
        return array

    def _decode_bundle(self, decoder: Decoder) -> list[np.ndarray]:
        if self._bundle is None or self._bundle[0] is not decoder.node:
            self._bundle = None  # one at a time is held
            blob = decoder.blob
            bundle.check_sizes(blob, [math.prod(shape) for shape in decoder.bundle_shapes])
            dtype = numpy_dtype(decoder.data_type)
            arrays = [np.empty(shape, dtype) for shape in decoder.bundle_shapes]
            bundle.decode_into(blob, arrays, onnx_types=[decoder.data_type] * len(arrays))
            self._bundle = decoder.node, arrays
        return self._bundle[1]


class WeightReader(WeightDecoder):
    """As `WeightDecoder`, but weights in analog cells are read once, with noise.

    Args:
        write_seed: fixes programming noise and drift; None: that of each weight.
        read_seed: fixes the noise of the read; None: other noise at each call.
        time_s: time since programming; None: that of each weight.
        threads: threads that decode and read; 0 means one for each core.
    """

    def __init__(
        self,
        write_seed: int | None,
        read_seed: int | None,
        time_s: float | None,
        *,
        threads: int = 1,
    ) -> None:
        super().__init__(threads=threads)
        self._write_seed = write_seed
        self._read_seed = read_seed
        self._time_s = time_s

    def __call__(self, decoder: Decoder) -> np.ndarray:
        """The weight that a decoder stands for; of analog cells bit for bit what a run reads."""
        if decoder.codec != "analog":
            return super().__call__(decoder)
        values = cells.read(
            decoder.blob,
            write_seed=self._write_seed,
            read_seed=self._read_seed,
            time_s=self._time_s,
            threads=self._threads,
        )
        return values.reshape(decoder.shape).astype(numpy_dtype(decoder.data_type))


def decode_weight(decoder: Decoder, *, threads: int = 1) -> np.ndarray:
    """The weight that a decoder stands for; see `WeightDecoder`, which is for many of them.

    Args:
        decoder: one of `find_stored`.
        threads: threads that decode; 0 means one for each core.

    Returns:
        The array in the weight's shape and element type, bit for bit what the operator gives.

    Raises:
        BlobError: the blob is damaged.
        ModelError: the blob holds another number of weights than the node says.
    """
    return WeightDecoder(threads=threads)(decoder)


def supply_weights(
    model: ExternalizedModel,
    options: onnxruntime.SessionOptions,
    decode: Callable[[Decoder], np.ndarray],
) -> list[onnxruntime.OrtValue]:
    """Decodes a model's weights and adds them to the options of its session.

    Args:
        model: what `externalize_weights` gave. Tensors of types that this onnxruntime does not
            take from outside are put into its protobuf.
        options: get the weights as external initializers.
        decode: gives the weights of a decoder.

    Returns:
        What the options refer to without owning it: to be kept until the session exists.
    """
    arrays = [(name, one.data_type, decode(one)) for name, one in model.weights]
    tensors = {tensor.name: tensor for tensor in model.proto.graph.initializer}
    names, values = [], []
    for name, data_type, array in [*arrays, *model.dense]:
        value = _to_value(array, data_type, tuple(tensors[name].dims))
        if value is None:
            fill_raw(tensors[name], array)
        else:
            names.append(name)
            values.append(value)
    options.add_external_initializers(names, values)
    return values


def _to_value(
    array: np.ndarray, data_type: int, shape: tuple[int, ...]
) -> onnxruntime.OrtValue | None:
    """A value that shares the array's memory, or None where onnxruntime has no way to make one."""
    if array.dtype.isbuiltin == 1 and array.shape == shape:
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    make = getattr(onnxruntime.OrtValue, "ortvalue_from_numpy_with_onnx_type", None)  # since 1.20
    if make is None or array.size != math.prod(shape):
        return None
    return make(array.view(f"u{array.itemsize}").reshape(shape), data_type)
