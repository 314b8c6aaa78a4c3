"""Sessions of a part of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from wl_onnx.errors import ModelError
from wl_onnx.graph import cut_model, externalize_weights
from wl_onnx.runtime.measure import run_session
from wl_onnx.runtime.weights import WeightDecoder, supply_weights

if TYPE_CHECKING:
    from wl_onnx.graph import CompressibleModel

__all__ = ["PartSession", "is_plain"]

Values = Mapping[str, npt.NDArray[Any]]


class PartSession:
    """A session of the part of a model that leads to some values, which are its outputs.

    Args:
        model: the model, compressed or not; nothing is changed.
        values: names of values of the main graph.
        given: values that are fed instead of being computed: name and ONNX element type.
        threads: threads of onnxruntime; 0 leaves its default.

    Raises:
        ModelError: onnxruntime does not load the model.
    """

    def __init__(
        self,
        model: CompressibleModel,
        values: Iterable[str],
        *,
        given: Mapping[str, int] | None = None,
        threads: int = 0,
    ) -> None:
        self._name = model.name
        part = cut_model(model, values, given=given)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        decode = WeightDecoder(threads=0)
        external = externalize_weights(part, decode)
        kept = supply_weights(external, options, decode)
        try:
            self._session = onnxruntime.InferenceSession(
                external.proto.SerializeToString(), options, ["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions have no public base
            raise ModelError(
                f"cannot calibrate {self._name}: it must be a model that onnxruntime loads, got: "
                f"{str(error).strip().splitlines()[0]}"
            ) from error
        del kept

    def run(self, feed: Values) -> dict[str, npt.NDArray[Any]]:
        """The values, by name.

        Args:
            feed: graph inputs, or what is given in their place.

        Raises:
            InputError: the feed does not fit the model.
        """
        return run_session(self._session, feed, self._name)


def is_plain(value: Any) -> bool:
    """Whether a value is an array of numbers, not of strings, and no sequence."""
    return isinstance(value, np.ndarray) and value.dtype != object
