"""Reading a portable file back: the weights of its record, with their nodes and tensors."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import FunctionProto, GraphProto, NodeProto, TensorProto, ValueInfoProto

from wl_onnx.codecs import bloomier, palette
from wl_onnx.errors import BlobError, InputError, ModelError, WlOnnxError
from wl_onnx.graph.failures import model_error
from wl_onnx.graph.scopes import Body, Place, find_bodies, find_places
from wl_onnx.graph.tensors import count_bytes, numpy_dtype
from wl_onnx.graph.value_info import is_complete, withdraw_types
from wl_onnx.portable.form import restore_blob
from wl_onnx.portable.placement import FUNCTION_DOMAIN
from wl_onnx.portable.record import WeightRecord, digest_weight, read_record

if TYPE_CHECKING:
    import numpy.typing as npt

    from wl_onnx.graph import CompressibleModel

__all__ = ["PortableWeight", "describe_tensor", "detach_portable", "find_portable"]

_STORED_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32, TensorProto.UINT8)
_DECODE_INTO = {"bloomier": bloomier.decode_into, "palette": palette.decode_into}


@dataclasses.dataclass(frozen=True, eq=False)
class PortableWeight:
    """A weight that standard operators decode.

    Attributes:
        record: what the file says of it.
        model: the model that it is in.
        body: the graph or function that it is in.
        nodes: the nodes of that body that decode it, in file order; the last one gives it.
        places: by role, where the tensors lie that hold it; no longer valid once the model is
            rewritten, but for their tensors.
    """

    record: WeightRecord
    model: CompressibleModel
    body: Body
    nodes: tuple[NodeProto, ...]
    places: Mapping[str, Place]

    @property
    def key(self) -> str:
        """The weight's name, unique in the model."""
        return self.record.key

    @property
    def size_bytes(self) -> int:
        """Bytes of the decoded weight."""
        return count_bytes(self.record.data_type, self.record.shape) or 0

    @property
    def tensors(self) -> list[TensorProto]:
        """The tensors that hold it."""
        return [place.tensor for place in self.places.values()]

    @property
    def stored_bytes(self) -> int:
        """Bytes of the tensors that hold it."""
        return sum(count_bytes(one.data_type, one.dims) or 0 for one in self.tensors)

    def restore_blob(self) -> bytes:
        """The blob that the weight was made of; of a palette one with the same weights.

        Raises:
            BlobError: tensors or record are damaged.
        """
        record = self.record
        if record.codec not in _DECODE_INTO:
            raise BlobError(
                f"cannot read {self.key} of {self.model.name}: its codec must be "
                f"{' or '.join(_DECODE_INTO)}, got {record.codec!r:.60}"
            )
        arrays = {role: self.model.read(place.tensor) for role, place in self.places.items()}
        try:
            return restore_blob(record.codec, arrays, record.fields, shape=record.shape)
        except WlOnnxError as error:
            raise BlobError(f"cannot read {self.key} of {self.model.name}: {error}") from error

    def decode(self, blob: bytes | None = None, *, threads: int = 1) -> npt.NDArray[Any]:
        """The weight in its shape and element type, bit for bit what the nodes give.

        Args:
            blob: what `restore_blob` gave, if that was called already.
            threads: threads that decode; 0 means one for each core.

        Raises:
            BlobError: tensors or record are damaged, or the weight is not what was recorded.
        """
        record = self.record
        blob = self.restore_blob() if blob is None else blob
        where = f"cannot decode {self.key} of {self.model.name}"
        try:
            array = np.empty(record.shape, numpy_dtype(record.data_type))
            _DECODE_INTO[record.codec](blob, array, onnx_type=record.data_type, threads=threads)
        except (BlobError, InputError) as error:
            raise BlobError(f"{where}: {error}") from error
        digest = digest_weight(array)
        if digest != record.digest:
            raise BlobError(
                f"{where}: its digest must be {record.digest}, got {digest}; the file is damaged "
                "or was changed"
            )
        return array


def find_portable(model: CompressibleModel) -> list[PortableWeight]:
    """The weights that standard operators decode, as the record names them.

    Args:
        model: the model; nothing is changed. One that is not portable gives an empty list.

    Raises:
        ModelError: the record is damaged, or does not fit the graph.
    """
    records = read_record(model)
    if not records:
        return []
    bodies = find_bodies(model.proto)
    by_scope = {body.scope: body for body in bodies}
    places = {(place.body, place.name): place for place in find_places(bodies)}
    givers: dict[Body, dict[str, NodeProto]] = {}
    types: dict[Body, dict[str, ValueInfoProto]] = {}
    found = []
    for record in records:
        body = by_scope.get(record.scope)
        if body is None:
            raise _damaged(model, record, "its graph must be there", f"no {record.scope}")
        if body not in givers:
            givers[body] = {name: node for node in body.graph.node for name in node.output if name}
            types[body] = {info.name: info for info in body.graph.value_info}
        if record.name not in givers[body]:
            raise _damaged(model, record, "nodes must decode it", "none")
        held = {}
        for role, name in record.tensors.items():
            place = places.get((body, name))
            if place is None:
                raise _damaged(model, record, f"tensor {name} must be in the file", "none")
            data_type = place.tensor.data_type
            if data_type not in _STORED_TYPES:
                what = f"tensor {name} must be of type 1, 2, 6 or 10"
                raise _damaged(model, record, what, str(data_type))
            held[role] = place
        _check_declared(model, record, types[body].get(record.name))
        nodes = _trace(model, record, body, givers[body])
        found.append(PortableWeight(record, model, body, nodes, held))
    return found


def _check_declared(
    model: CompressibleModel, record: WeightRecord, info: ValueInfoProto | None
) -> None:
    """Refuses a weight that its graph declares otherwise than the record."""
    if info is None or not is_complete(info):
        return
    tensor = info.type.tensor_type
    declared = tensor.elem_type, [dim.dim_value for dim in tensor.shape.dim]
    recorded = record.data_type, list(record.shape)
    if recorded != declared:
        what = "its type and shape must be as its graph has them, {} {}".format(*declared)
        raise _damaged(model, record, what, "{} {}".format(*recorded))


def _trace(
    model: CompressibleModel, record: WeightRecord, body: Body, givers: Mapping[str, NodeProto]
) -> tuple[NodeProto, ...]:
    """The nodes that give a weight from its tensors."""
    tensors = set(record.tensors.values())
    chosen: set[int] = set()
    waiting = [record.name]
    while waiting:
        name = waiting.pop()
        node = givers.get(name)
        if node is None:
            raise _damaged(model, record, "it must follow from its tensors alone", name)
        if id(node) in chosen:
            continue
        if name == record.name and len(node.output) != 1:
            raise _damaged(model, record, "its node must give it alone", ", ".join(node.output))
        chosen.add(id(node))
        waiting += [one for one in node.input if one and one not in tensors]
    return tuple(node for node in body.graph.node if id(node) in chosen)


def _damaged(model: CompressibleModel, record: WeightRecord, what: str, got: str) -> ModelError:
    return model_error(
        f"cannot read {record.key} of {model.name}: {what}, got {got}; another tool may have "
        "rewritten the graph: take the file as it was written"
    )


def detach_portable(model: CompressibleModel, weights: Iterable[PortableWeight]) -> None:
    """Removes the nodes that decode weights, their functions and tensors, and their domain.

    What other nodes use as well stays. The weights' names are undefined afterwards. The record
    stays.

    Args:
        model: the model, changed in place.
        weights: all of `find_portable`.
    """
    by_body: dict[Body, list[PortableWeight]] = collections.defaultdict(list)
    for weight in weights:
        by_body[weight.body].append(weight)
    for body, some in by_body.items():
        _remove_nodes(body, some)
        withdraw_types(model.proto, body, [weight.record.name for weight in some])
    for body, some in by_body.items():
        names = {name for weight in some for name in weight.record.tensors.values()}
        _remove_unused(body, names)
    _remove_functions(model)


def _remove_nodes(body: Body, weights: Iterable[PortableWeight]) -> None:
    """Removes the nodes that give weights, and those before them that nothing else uses."""
    last = {id(weight.nodes[-1]) for weight in weights}
    within = {id(node) for weight in weights for node in weight.nodes}
    used = set(body.outputs).union(*map(_used_names, body.children))
    gone = []
    for node in reversed(body.graph.node):
        gone.append(id(node) in last or (id(node) in within and used.isdisjoint(node.output)))
        if not gone[-1]:
            used.update(node.input)
    _remove(body.graph.node, gone[::-1])


def _remove_unused(body: Body, names: set[str]) -> None:
    """Removes those of the tensors of a body that nothing uses any more."""
    unused = names - _used_names(body)
    nodes = body.graph.node
    _remove(nodes, [node.op_type == "Constant" and node.output[0] in unused for node in nodes])
    if isinstance(body.graph, GraphProto):
        for field in (body.graph.initializer, body.graph.value_info):
            _remove(field, [one.name in unused for one in field])


def _used_names(body: Body) -> set[str]:
    used = {name for node in body.graph.node for name in node.input} | set(body.outputs)
    return used.union(*map(_used_names, body.children))


def _remove_functions(model: CompressibleModel) -> None:
    proto = model.proto
    bodies = find_bodies(proto)
    called = {(n.domain, n.op_type) for body in bodies for n in body.graph.node}
    functions = proto.functions
    _remove(
        functions,
        [f.domain == FUNCTION_DOMAIN and (f.domain, f.name) not in called for f in functions],
    )
    for body in bodies:
        if body.parent is None:
            calls = {node.domain for node in _nodes_within(body)}
            holder = body.graph if isinstance(body.graph, FunctionProto) else proto
            imports = holder.opset_import
            unused = [o.domain == FUNCTION_DOMAIN and o.domain not in calls for o in imports]
            _remove(imports, unused)


def _nodes_within(body: Body) -> list[NodeProto]:
    return [*body.graph.node, *(n for child in body.children for n in _nodes_within(child))]


def _remove(field: Any, gone: list[bool]) -> None:
    """Removes the entries of a repeated field that are marked."""
    for index in reversed(range(len(field))):
        if gone[index]:
            del field[index]


def describe_tensor(weight: PortableWeight) -> TensorProto:
    """The dense tensor of a weight, with its texts and without its data."""
    record, node = weight.record, weight.nodes[-1]
    tensor = TensorProto(name=record.name, data_type=record.data_type, dims=record.shape)
    if node.HasField("doc_string"):
        tensor.doc_string = node.doc_string
    tensor.metadata_props.extend(node.metadata_props)
    return tensor
