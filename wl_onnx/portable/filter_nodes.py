"""What nodes of all layouts of Bloomier filters share: blocks, hashes and places."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import mmh3
import numpy as np
from onnx import TensorProto, helper

from wl_onnx.kernels.reference_blob import BUNCH_SLOTS, GROUP_SIZE
from wl_onnx.portable.murmur3_nodes import add_murmur3, shift_right

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wl_onnx.portable.node_writer import NodeWriter
    from wl_onnx.portable.stored import PortableForm

__all__ = ["FilterNodes"]

BUNCHES = GROUP_SIZE // BUNCH_SLOTS
# m of `slot = lane * m % 1024`, and what brings a slot back to its lane
_MULTIPLIERS = {
    "tabulation": (283, pow(283, -1, GROUP_SIZE)),
    "murmur3": (633, pow(633, -1, GROUP_SIZE)),
}


class FilterNodes:
    """Writes nodes about all groups of a filter at once; a group is 128 bunches of 8 slots.

    Attributes:
        bits: bits of a cell.
        num_groups: groups of the weight.
        units: name of each group's units, int32 [num_groups, 1]; of one block int32 without
            dimensions.
        first: name of the unit that a group's table begins with, in the same shape.
        live: name of what says whether a group's block has a table, bool [num_groups, 1]; None
            where all have.

    Args:
        writer: takes the nodes.
        form: the filter.
        inputs: names of its tensors by role.
        num_groups: groups of the weight.
        pairs: the seeds (s_i, s_j) of each hash of tabulation; of murmur3 the first counts.
        units_a_table: units of a table: 3 segments of an xor table, 1 of a ribbon.
    """

    def __init__(
        self,
        writer: NodeWriter,
        form: PortableForm,
        inputs: Mapping[str, str],
        num_groups: int,
        pairs: Sequence[tuple[int, int]],
        units_a_table: int,
    ) -> None:
        self.bits = int(form.fields["bits"])
        self.num_groups = num_groups
        self._writer = writer
        self._hash = str(form.fields["hash"])
        self._attempts = [int(attempt) for attempt in form.fields["attempts"]]
        self._seeds = np.array(
            [_block_seeds(form.fields["seed"], attempt) for attempt in self._attempts], np.uint32
        ).view(np.int32)
        self._pairs = list(pairs)
        self.live: str | None = None
        self._place = ""  # of each group's attempt, int32 [num_groups]
        if "blocks" in form.tensors:
            self._read_blocks(form, inputs, units_a_table)
        else:
            self.units = writer.int32(form.fields["units"])
            self.first = writer.int32(0)
        if self._hash == "tabulation":
            self._add_tables()

    def starts(self, hashes: str, first: str) -> str:
        """The unit that each bunch begins with.

        Args:
            hashes: name of its hashes, int32 [..., num_groups, 128].
            first: name of what is added, which broadcasts with them.

        Returns:
            The name of int32 [..., num_groups, 128].
        """
        w = self._writer
        high = shift_right(w, w.cast(hashes, TensorProto.UINT32), 16)
        count = w.add("Add", self.units, w.int32(-7))
        if self.live:  # a block without a table has no units
            count = w.add("Max", count, w.int32(0))
        product = w.add("Mul", w.cast(high, TensorProto.INT32), count)
        return w.add("Add", w.add("Div", product, w.int32(1 << 16)), first)

    def bunch_hashes(self, count: int) -> str:
        """The first `count` hashes of all bunches, int32 [count, num_groups, 128]."""
        w = self._writer
        if self._hash == "murmur3":
            keys = w.reshape(w.range(self.num_groups * BUNCHES), self.num_groups, BUNCHES)
            return add_murmur3(w, keys, self._seeds_by_group([i for i, _ in self._pairs[:count]]))
        by_group = w.slice(self._groups, 0, count)
        by_bunch = w.slice(w.slice(self._slots, 0, count), 0, BUNCHES, 2)
        if len(self._attempts) > 1:
            by_bunch = w.add("Gather", by_bunch, self._place, axis=1)
        return w.add("Add", w.reshape(by_group, count, self.num_groups, 1), by_bunch)

    def slot_hash(self, index: int, bits: int = 32) -> str:
        """A hash of all slots, int32 [num_groups, 128, 8].

        Args:
            index: which of the hashes.
            bits: how many of its bits are wanted; those above it are 0 or what is carried there.
        """
        w = self._writer
        shape = (self.num_groups, BUNCHES, BUNCH_SLOTS)
        if self._hash == "murmur3":
            bases = w.add("Mul", w.range(self.num_groups), w.int32(GROUP_SIZE))
            lanes = w.reshape(self._permutation(1), 1, GROUP_SIZE)
            keys = w.add("Add", w.reshape(bases, self.num_groups, 1), lanes)
            hashes = add_murmur3(
                w,
                keys,
                w.add("Squeeze", self._seeds_by_group([self._pairs[index][0]]), w.integers(0)),
            )
            return w.reshape(self._lowest(hashes, bits), *shape)
        by_group = w.slice(self._groups, index, index + 1)
        by_slot = w.slice(self._slots, index, index + 1)
        by_group = w.reshape(self._lowest(by_group, bits), self.num_groups, 1, 1)
        by_slot = w.reshape(self._lowest(by_slot, bits), -1, BUNCHES, BUNCH_SLOTS)
        if len(self._attempts) > 1:
            by_slot = w.add("Gather", by_slot, self._place, axis=0)
        return w.add("Add", by_group, by_slot)

    def to_lanes(self, by_slot: str) -> str:
        """Numbers in the order of weights.

        Args:
            by_slot: name of numbers in the order of slots, 1,024 of each group.

        Returns:
            The name of [num_groups, 1024].
        """
        w = self._writer
        matrix = w.reshape(by_slot, self.num_groups, GROUP_SIZE)
        return w.add("Gather", matrix, self._permutation(0), axis=1)

    def _read_blocks(
        self, form: PortableForm, inputs: Mapping[str, str], units_a_table: int
    ) -> None:
        """Units, first unit and attempt of each group, from those of its block."""
        w = self._writer
        num_blocks = form.tensors["blocks"].shape[1]
        rows = w.split(inputs["blocks"], [1, 1, 1], 0)
        counts, units, places = (w.reshape(row, num_blocks) for row in rows)
        zero = w.int32(0)
        begins = w.add("CumSum", counts, zero, exclusive=1)
        none = w.add("ConstantOfShape", w.integers(self.num_groups), value=_INT32_ZERO)
        ones = w.add("Div", counts, counts)
        marks = w.add("ScatterElements", none, begins, ones)
        block = w.add("Add", w.add("CumSum", marks, zero), w.int32(-1))
        column = w.reshape(block, self.num_groups, 1)
        total = w.add("Mul", units, w.int32(units_a_table))
        self.units = w.add("Gather", units, column)
        self.first = w.add("Gather", w.add("CumSum", total, zero, exclusive=1), column)
        self._place = w.add("Gather", places, block)
        if not form.tensors["blocks"][1].all():
            self.live = w.add("Less", w.int32(0), self.units)

    def _add_tables(self) -> None:
        """Both tables of each hash: by group `[hashes, groups]`, by slot `[hashes, A, 1024]`.

        A is the number of different attempts. Both are hashed at once.
        """
        w = self._writer
        num_attempts = len(self._attempts)
        num_slots = num_attempts * GROUP_SIZE
        slots = w.range(num_slots)
        keys = [w.range(self.num_groups), slots]
        if num_attempts == 1:
            none = w.add("ConstantOfShape", w.integers(self.num_groups), value=_INT32_ZERO)
            places = [none, w.add("Add", w.add("Sub", slots, slots), w.int32(1))]
        else:
            keys[1] = w.add("Mod", slots, w.int32(GROUP_SIZE))
            attempt = w.add("Div", slots, w.int32(GROUP_SIZE))
            places = [self._place, w.add("Add", attempt, w.int32(num_attempts))]
        first, second = zip(*self._pairs, strict=True)
        seeds = w.constant(np.concatenate([self._seeds[:, first], self._seeds[:, second]]).T)
        place = w.add("Concat", *places, axis=0)
        hashes = add_murmur3(
            w, w.add("Concat", *keys, axis=0), w.add("Gather", seeds, place, axis=1)
        )
        self._groups, by_slot = w.split(hashes, [self.num_groups, num_slots], 1)
        self._slots = w.reshape(by_slot, len(self._pairs), num_attempts, GROUP_SIZE)

    def _seeds_by_group(self, numbers: list[int]) -> str:
        """Some seeds of each group's attempt, int32 [seeds, num_groups or 1, 1]."""
        w = self._writer
        seeds = w.constant(np.ascontiguousarray(self._seeds[:, numbers].T)[:, :, None])
        return seeds if len(self._attempts) == 1 else w.add("Gather", seeds, self._place, axis=1)

    def _lowest(self, hashes: str, bits: int) -> str:
        w = self._writer
        return hashes if bits == 32 else w.add("BitwiseAnd", hashes, w.int32(2**bits - 1))

    def _permutation(self, direction: int) -> str:
        """The slot of each lane, or, in direction 1, the lane of each slot; int32 [1024]."""
        w = self._writer
        product = w.add("Mul", w.range(GROUP_SIZE), w.int32(_MULTIPLIERS[self._hash][direction]))
        return w.add("Mod", product, w.int32(GROUP_SIZE))


_INT32_ZERO = helper.make_tensor("", TensorProto.INT32, [1], [0])


def _block_seeds(seed: int, attempt: int) -> list[int]:
    return [mmh3.hash(struct.pack("<I", 8 * attempt + j), seed, signed=False) for j in range(8)]
