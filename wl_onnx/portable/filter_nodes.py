"""What nodes of all layouts of Bloomier filters share: blocks, hashes and places."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import mmh3
import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from wl_onnx.kernels.reference_blob import BUNCH_SLOTS, GROUP_SIZE
from wl_onnx.portable.murmur3_nodes import add_murmur3, shift_right

if TYPE_CHECKING:
    from wl_onnx.portable.node_writer import NodeWriter
    from wl_onnx.portable.stored import PortableForm

__all__ = ["BUNCHES", "FilterNodes"]

BUNCHES = GROUP_SIZE // BUNCH_SLOTS
# m of `slot = lane * m % 1024`, and what brings a slot back to its lane
_MULTIPLIERS = {
    "tabulation": (283, pow(283, -1, GROUP_SIZE)),
    "murmur3": (633, pow(633, -1, GROUP_SIZE)),
}

_SeedPairs = Sequence[tuple[int, int]]


class FilterNodes:
    """Writes nodes about all groups of a filter at once; a group is 128 bunches of 8 slots.

    A hash of tabulation is the product of two matrices, of all groups and of all slots: a row
    (T, 0, 1, 0), with a 1 for the attempt of the group's block, times a column (1, S, S', S'').

    Attributes:
        bits: bits of a cell.
        num_groups: groups of the weight.
        span: name of how many places a bunch of each group can have, int32 [1, num_groups, 1], or
            [1, 1] of a single block; 0 where its block has no table.
        first: name of the first place in each segment of a group's table, int32
            [segments, num_groups, 1], or [segments, 1, 1].
        has_dead: whether there are blocks without a table.

    Args:
        writer: takes the nodes.
        form: the filter.
        inputs: names of its tensors by role.
        num_groups: groups of the weight.
        bunch_pairs: the seeds (s_i, s_j) of the hashes of bunches; of murmur3 the first count.
        slot_pairs: those of the hashes of slots.
        slot_bits: how many bits of a slot's hash are wanted.
    """

    def __init__(
        self,
        writer: NodeWriter,
        form: PortableForm,
        inputs: Mapping[str, str],
        num_groups: int,
        *,
        bunch_pairs: _SeedPairs,
        slot_pairs: _SeedPairs,
        slot_bits: int = 32,
    ) -> None:
        self.bits = int(form.fields["bits"])
        self.num_groups = num_groups
        self.has_dead = False
        self._writer = writer
        self._hash = str(form.fields["hash"])
        attempts = form.fields["attempts"]
        seeds = [_block_seeds(form.fields["seed"], attempt) for attempt in attempts]
        self._seeds = np.array(seeds, np.uint32)  # [A, 8]
        self._num_attempts = len(attempts)
        self._bunch_pairs, self._slot_pairs = list(bunch_pairs), list(slot_pairs)
        self._slot_bits = slot_bits
        self._place = ""  # of each group's attempt, int32 [num_groups]
        self._column = ""  # the same, int32 [1, num_groups, 1]
        if "blocks" in form.tensors:
            self._read_blocks(inputs["blocks"], form.tensors["blocks"])
        else:
            units, segments = int(form.fields["units"]), 3 if form.fields["layout"] == "xor" else 1
            self.span = writer.number(units - 7)
            first = np.arange(segments, dtype=np.int32).reshape(-1, 1, 1) * np.int32(units)
            self.first = writer.constant(first)
        if self._hash == "tabulation":
            self._add_tables()

    def starts(self, hashes: str) -> str:
        """The cell or unit that each bunch begins with.

        Args:
            hashes: name of its hashes, uint32 [segments, num_groups, 128].

        Returns:
            The name of int32 [segments, num_groups, 128].
        """
        w = self._writer
        high = w.cast(shift_right(w, hashes, 16), TensorProto.INT32)
        product = w.add("Mul", high, self.span)
        return w.add("Add", w.add("Div", product, w.number(1 << 16)), self.first)

    def bunch_hashes(self) -> str:
        """The hashes of all bunches, uint32 [hashes, num_groups, 128]."""
        w = self._writer
        count = len(self._bunch_pairs)
        if self._hash == "tabulation":
            by_bunch = w.slice(self._bunch_factors[1], 0, BUNCHES, 2)
            return w.add("MatMul", self._bunch_factors[0], by_bunch)
        keys = w.reshape(w.range(self.num_groups * BUNCHES), self.num_groups, BUNCHES, 1)
        hashes = add_murmur3(
            w, w.cast(keys, TensorProto.UINT32), self._seeds_by_group(self._bunch_pairs)
        )
        return w.reshape(hashes, count, self.num_groups, BUNCHES)

    def group_hashes(self) -> str:
        """Of the first hash of bunches the part that is one for a group, uint32 [1, groups, 1]."""
        w = self._writer
        if self._hash == "tabulation":
            return w.slice(self._bunch_factors[0], 0, 1, 2)
        keys = w.cast(w.range(self.num_groups), TensorProto.UINT32)
        keys = w.reshape(keys, self.num_groups, 1, 1)
        hashes = add_murmur3(w, keys, self._seeds_by_group(self._bunch_pairs[:1]))
        return w.reshape(hashes, 1, self.num_groups, 1)

    def slot_sum(self, hashes: Sequence[str]) -> str:
        """The sum of two hashes of all slots mod 2**32, uint32 [1, num_groups, 1024].

        Args:
            hashes: what `slot_hashes` gave.
        """
        w = self._writer
        if self._hash == "tabulation":
            lefts, rights = zip(*self._slot_factors, strict=True)
            left, right = w.add("Concat", *lefts, axis=2), w.add("Concat", *rights, axis=1)
            return w.add("MatMul", left, right)
        first, second = (w.cast(value, TensorProto.INT32) for value in hashes)
        return w.cast(w.add("Add", first, second), TensorProto.UINT32)

    def slot_hashes(self) -> list[str]:
        """The hashes of all slots, each uint32 [1, num_groups, 1024].

        What stands above the bits that were asked for is 0, but for one bit of carry.
        """
        w = self._writer
        if self._hash == "tabulation":
            return [w.add("MatMul", *factors) for factors in self._slot_factors]
        groups = w.reshape(w.range(self.num_groups), self.num_groups, 1)
        keys = w.add("Mul", groups, w.number(GROUP_SIZE))
        keys = w.add("Add", keys, self._permutation(1))
        column = w.cast(w.reshape(keys, self.num_groups, GROUP_SIZE, 1), TensorProto.UINT32)
        found = []
        for pair in self._slot_pairs:
            hashes = add_murmur3(w, column, self._seeds_by_group([pair]))
            hashes = w.reshape(hashes, 1, self.num_groups, GROUP_SIZE)
            found.append(self._lowest(hashes))
        return found

    def to_lanes(self, by_slot: str) -> str:
        """Numbers in the order of weights.

        Args:
            by_slot: name of numbers in the order of slots, [1, num_groups, 1024].

        Returns:
            The name of [1, num_groups, 1, 1024].
        """
        return self._writer.add("Gather", by_slot, self._permutation(0), axis=2)

    def _read_blocks(self, name: str, blocks: npt.NDArray[Any]) -> None:
        """Each group's span, first places and attempt: the sums of the blocks' steps up to it."""
        w = self._writer
        num_rows = blocks.shape[0] - 1
        begins, steps = w.split(name, [1, num_rows], 0)
        places = w.add("Expand", begins, w.integers(num_rows, blocks.shape[1]))
        none = w.fill(0, TensorProto.INT32, num_rows, self.num_groups)
        marks = w.add("ScatterElements", none, places, steps, axis=1)
        sums = w.add("CumSum", marks, w.constant(np.array(1, np.int64)))
        values = w.reshape(sums, num_rows, self.num_groups, 1)
        self.span, self.first, self._column = w.split(values, [1, num_rows - 2, 1], 0)
        self._place = w.reshape(self._column, self.num_groups)
        self.has_dead = not np.cumsum(blocks[1]).all()

    def _add_tables(self) -> None:
        """Both factors of each hash; all tables are hashed at once."""
        w = self._writer
        num_groups, num_slots = self.num_groups, self._num_attempts * GROUP_SIZE
        pairs = self._bunch_pairs + self._slot_pairs
        lanes = w.range(GROUP_SIZE)
        keys = w.add("Concat", w.range(num_groups), *[lanes] * self._num_attempts, axis=0)
        first, second = zip(*pairs, strict=True)
        by_group = w.constant(np.ascontiguousarray(self._seeds[:, first].T)[:, :, None])
        if self._num_attempts == 1:
            by_group = w.add("Expand", by_group, w.integers(len(pairs), num_groups, 1))
        else:
            by_group = w.add("Gather", by_group, self._place, axis=1)
        by_slot = w.constant(np.ascontiguousarray(self._seeds[:, second].T)[:, :, None])
        by_slot = w.add("Expand", by_slot, w.integers(len(pairs), self._num_attempts, GROUP_SIZE))
        by_slot = w.reshape(by_slot, len(pairs), num_slots, 1)
        keys = w.add("Unsqueeze", w.cast(keys, TensorProto.UINT32), w.integers(1))
        hashes = add_murmur3(w, keys, w.add("Concat", by_group, by_slot, axis=1))
        by_group, by_slot = w.split(hashes, [num_groups, num_slots], 1)
        shape = [len(pairs), num_groups, self._num_attempts]
        if self._num_attempts == 1:
            choice = w.fill(1, TensorProto.UINT32, *shape)
        else:
            numbers = w.constant(np.arange(self._num_attempts, dtype=np.int32))
            choice = w.add("Equal", self._column, numbers)
            choice = w.add("Expand", w.cast(choice, TensorProto.UINT32), w.integers(*shape))
        by_slot = w.reshape(by_slot, len(pairs), self._num_attempts, GROUP_SIZE)
        ones = w.fill(1, TensorProto.UINT32, len(pairs), 1, GROUP_SIZE)
        counts = [len(self._bunch_pairs)] + [1] * len(self._slot_pairs)
        lefts = w.split(w.add("Concat", by_group, choice, axis=2), counts, 0)
        rights = w.split(w.add("Concat", ones, by_slot, axis=1), counts, 0)
        self._bunch_factors = lefts[0], rights[0]
        self._slot_factors = [
            (self._lowest(left), self._lowest(right))
            for left, right in zip(lefts[1:], rights[1:], strict=True)
        ]

    def _seeds_by_group(self, pairs: _SeedPairs) -> str:
        """The first seeds of each group's attempt, uint32 [pairs, num_groups or 1, 1, 1]."""
        w = self._writer
        numbers = [number for number, _ in pairs]
        seeds = w.constant(np.ascontiguousarray(self._seeds[:, numbers].T)[:, :, None, None])
        return seeds if self._num_attempts == 1 else w.add("Gather", seeds, self._place, axis=1)

    def _lowest(self, hashes: str) -> str:
        w = self._writer
        if self._slot_bits == 32:
            return hashes
        return w.add("BitwiseAnd", hashes, w.number(2**self._slot_bits - 1, np.uint32))

    def _permutation(self, direction: int) -> str:
        """The slot of each lane, or, in direction 1, the lane of each slot; int32 [1, 1024]."""
        w = self._writer
        multiplier = w.number(_MULTIPLIERS[self._hash][direction])
        product = w.add("Mul", w.range(GROUP_SIZE), multiplier)
        return w.add("Mod", product, w.number(GROUP_SIZE))


def _block_seeds(seed: int, attempt: int) -> list[int]:
    return [mmh3.hash(struct.pack("<I", 8 * attempt + j), seed, signed=False) for j in range(8)]
