"""Running a compressed model: one session class, three ways to decode."""

from __future__ import annotations

import contextlib
import dataclasses
import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from google.protobuf.message import DecodeError, EncodeError
from onnx import ModelProto

from wl_onnx.errors import InputError, ModelError
from wl_onnx.graph import (
    DOMAIN,
    CompressibleModel,
    externalize_weights,
    find_stored,
    load_model,
    restore_weights,
    set_cache,
    to_proto,
)
from wl_onnx.runtime.library import check_onnxruntime, get_library_path
from wl_onnx.runtime.options import copy_options
from wl_onnx.runtime.weights import WeightDecoder, supply_weights

__all__ = ["MODES", "InferenceSession"]

MODES = ("materialize", "cached", "streaming")
"""How a session decodes."""

Model = str | os.PathLike[str] | bytes | ModelProto

# Read by the operator library when it is registered: "1" keeps what is decoded, "0" does not.
_CACHE_CONFIG_KEY = "com.wl_onnx.cache"
_REGISTERED_CONFIG_KEY = "com.wl_onnx.registered"

# Domains whose operators onnxruntime brings along; others come with a registered library.
_BUILT_IN_DOMAINS = frozenset(
    (
        "",
        "ai.onnx",
        "ai.onnx.ml",
        "ai.onnx.preview",
        "ai.onnx.preview.training",
        "ai.onnx.training",
        "com.microsoft",
        "com.microsoft.nchwc",
        "com.ms.internal.nhwc",
        "org.pytorch.aten",
        DOMAIN,
    )
)


class InferenceSession(onnxruntime.InferenceSession):  # type: ignore[misc]
    """An onnxruntime session that opens compressed models too.

    Several threads may call `run` at a time in every mode. A model with nothing of ours in it is
    opened by onnxruntime as it is. Weights in analog cells are read at each run in every mode: feed
    `wl_write_seed`, `wl_read_seed` and `wl_time_s`, or leave them out.

    Args:
        model: path of an ONNX file, its bytes, or a ModelProto (external data of the last two is
            relative to the working folder).
        sess_options: options of the session, as for onnxruntime. They are copied, so what a mode
            needs stays out of them; only where the model has operators of a third library that is
            registered in them, they are used themselves, and our library stays registered in them.
        providers: execution providers, as for onnxruntime.
        mode: "materialize" decodes all weights but analog ones first, with `intra_op_num_threads`
            threads, and runs at the original's speed, with the original's memory. "cached" decodes
            each weight when it is first used and keeps it. "streaming" decodes at every run and
            gives the memory back: the slowest and the smallest.
        **kwargs: further arguments of `onnxruntime.InferenceSession`.

    Raises:
        InputError: no such mode, or no such file.
        ModelError: not an ONNX model, or a damaged one.
        BlobError: a blob is damaged ("materialize"; in the other modes the operator says so).
        LibraryError: onnxruntime is older than 1.17, or our native code was not built.
    """

    def __init__(
        self,
        model: Model,
        sess_options: onnxruntime.SessionOptions | None = None,
        providers: Sequence[Any] | None = None,
        *,
        mode: str = "materialize",
        **kwargs: Any,
    ) -> None:
        if mode not in MODES:
            raise InputError(
                f"cannot open a session: mode must be {', '.join(MODES[:-1])} or {MODES[-1]}, "
                f"got {mode!r}"
            )
        check_onnxruntime()
        self._given_options = sess_options
        plan = _plan(model, sess_options, mode)
        self._is_materialized = bool(plan.values)
        with plan.prepared_options() as options:
            super().__init__(plan.source, options, providers, **kwargs)
        # The plan's values go now: onnxruntime has copied them, but needs them until here.

    def get_session_options(self) -> onnxruntime.SessionOptions:
        """A copy of the session's options."""
        if not self._is_materialized:
            return super().get_session_options()
        # Those of onnxruntime refer to weights that are gone.
        return copy_options(self._given_options) or self._given_options

    def set_providers(
        self,
        providers: Sequence[Any] | None = None,
        provider_options: Sequence[Any] | None = None,
    ) -> None:
        """Changes the execution providers; not possible once weights were decoded.

        Raises:
            InputError: the session's mode is "materialize".
        """
        if self._is_materialized:
            raise InputError(
                "cannot change providers: the session must not have decoded its weights already, "
                "got one of mode materialize; open a new session with these providers"
            )
        super().set_providers(providers, provider_options)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """How onnxruntime is to be called.

    Attributes:
        source: path or bytes of the model.
        options: the session's options.
        values: decoded weights that the options refer to.
        uses_arena: False where the arena is to be off while the session is made.
    """

    source: str | bytes
    options: onnxruntime.SessionOptions | None
    values: Sequence[onnxruntime.OrtValue] = ()
    uses_arena: bool = True

    @contextlib.contextmanager
    def prepared_options(self) -> Iterator[onnxruntime.SessionOptions | None]:
        if self.uses_arena or self.options is None:
            yield self.options
            return
        before = self.options.enable_cpu_mem_arena
        self.options.enable_cpu_mem_arena = False
        try:
            yield self.options
        finally:
            self.options.enable_cpu_mem_arena = before


def _plan(model: Model, given: onnxruntime.SessionOptions | None, mode: str) -> _Plan:
    source = _direct_source(model)
    if not _mentions_us(source):
        return _Plan(source, given)
    loaded = load_model(_parse(model) if isinstance(model, bytes) else model)
    stored = find_stored(loaded)
    if not stored:
        return _Plan(source, given)
    is_analog = [one.codec == "analog" for one in stored]
    options = None if given is not None and _has_foreign_operators(loaded) else copy_options(given)
    if mode == "materialize" and not all(is_analog):
        plan = _plan_decoded(loaded, given, options)
        if any(is_analog) and plan.options is not None:
            _register(plan.options)
        return plan
    keeps = mode != "streaming"
    if options is None:
        assert given is not None  # noqa: S101  the defaults can always be copied
        set_cache(loaded, keeps)
        source = _serialize(to_proto(loaded))
        options = given
    else:
        options.add_session_config_entry(_CACHE_CONFIG_KEY, str(int(keeps)))
    _register(options)
    return _Plan(source, options, uses_arena=keeps)


def _plan_decoded(
    loaded: CompressibleModel,
    given: onnxruntime.SessionOptions | None,
    options: onnxruntime.SessionOptions | None,
) -> _Plan:
    """A plan with all weights decoded but those of analog cells."""
    threads = given.intra_op_num_threads if given is not None else 0
    decode = WeightDecoder(threads=threads)
    if options is None:
        restore_weights(loaded, decode, keeps_analog=True)
        return _Plan(_serialize(to_proto(loaded)), given)
    external = externalize_weights(loaded, decode)
    values = supply_weights(external, options, decode)
    return _Plan(_serialize(external.proto), options, values)


def _direct_source(model: Model) -> str | bytes:
    """What onnxruntime would be given for the model as it is."""
    if isinstance(model, ModelProto):
        return _serialize(model)
    return model if isinstance(model, bytes) else os.fspath(model)


def _mentions_us(source: str | bytes) -> bool:
    """Whether our domain's name occurs in a model: without it there is nothing to decode."""
    name = DOMAIN.encode()
    if isinstance(source, bytes):
        return name in source
    path = Path(source)
    if not path.is_file() or not path.stat().st_size:
        return True  # load_model says what is wrong
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(name) >= 0


def _parse(data: bytes) -> ModelProto:
    try:
        model: ModelProto = ModelProto.FromString(data)
    except DecodeError as error:
        raise ModelError(
            f"cannot open a model: its {len(data)} bytes must be an ONNX model, "
            "got bytes that do not parse"
        ) from error
    return model


def _serialize(model: ModelProto) -> bytes:
    try:
        data: bytes = model.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise ModelError(
            f"cannot open {model.graph.name}: it must take less than 2 GiB as one protobuf, "
            "got more; give a path"
        ) from error
    return data


def _has_foreign_operators(model: CompressibleModel) -> bool:
    """Whether the model needs operators that onnxruntime does not bring along."""
    functions = {function.domain for function in model.proto.functions}
    imports = {opset.domain for opset in model.proto.opset_import}
    return not imports <= functions | _BUILT_IN_DOMAINS


def _register(options: onnxruntime.SessionOptions) -> None:
    """Registers our library, if options that are used a second time do not have it yet."""
    try:
        options.get_session_config_entry(_REGISTERED_CONFIG_KEY)
    except Exception:  # onnxruntime's exceptions have no public base
        options.register_custom_ops_library(get_library_path())
        options.add_session_config_entry(_REGISTERED_CONFIG_KEY, "1")
