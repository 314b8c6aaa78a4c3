"""The flags of a storage, and the ledger."""

from __future__ import annotations

import math
from typing import Any

import pytest

from wl_onnx.analog import Ledger, Storage, find_device
from wl_onnx.errors import InputError

DEVICE = find_device("gaussian")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"time_s": -1.0}, "the time must be in 0..1e\\+12 s, got -1"),
        ({"time_s": math.nan}, "the time must be in 0..1e\\+12 s, got nan"),
        ({"time_s": 1e13}, "the time must be in 0..1e\\+12 s, got 1"),
        ({"time_s": 0.0}, "time_s must be above 0, got 0.0"),
        ({"cells": 0}, "cells must be above 0 and at most 64, got 0"),
        ({"cells": -2.0}, "cells must be above 0 and at most 64, got -2.0"),
        ({"cells": math.nan}, "cells must be above 0 and at most 64, got nan"),
        ({"cells": 65}, "cells must be above 0 and at most 64, got 65"),
        ({"cells": math.inf}, "cells must be above 0 and at most 64, got inf"),
        ({"cells": 1.5}, "cells must be a whole number where sensitivity .* got 1.5"),
        ({"protect": frozenset(("sing",))}, "protect must be of sign, adaptive, .* got sing"),
        ({"protect": frozenset(("",))}, "protect must be of sign, .* got ''"),
        ({"sparsity": 1.0}, r"sparsity must be in \[0, 1\), got 1.0"),
        ({"sparsity": -0.1}, r"sparsity must be in \[0, 1\), got -0.1"),
        ({"sparsity": math.nan}, r"sparsity must be in \[0, 1\), got nan"),
        ({"mapping": "single"}, "mapping must be pair or offset, got single"),
        ({"scale": "row"}, "scale must be tensor or channel, got row"),
        ({"ranges": 0}, "ranges must be a whole number from 1 to 127, got 0"),
        ({"ranges": 128}, "ranges must be a whole number from 1 to 127, got 128"),
        ({"ranges": 2.5}, "ranges must be a whole number from 1 to 127, got 2.5"),
        ({"write_bits": 0}, "write_bits must be a whole number from 1 to 16, got 0"),
        ({"write_bits": 17}, "write_bits must be a whole number from 1 to 16, got 17"),
        ({"write_bits": 7.5}, "write_bits must be a whole number from 1 to 16, got 7.5"),
        (
            {"digital_bits_per_cell": 0.0},
            "digital_bits_per_cell must be .* and finite, got 0.0",
        ),
        ({"digital_bits_per_cell": math.inf}, "digital_bits_per_cell must be .*, got inf"),
        ({"seed": -1}, r"seed must be a whole number from 0 to 2\*\*63 - 1, got -1"),
        ({"seed": 1 << 63}, r"seed must be a whole number from 0 to 2\*\*63 - 1, got 92"),
    ],
)
def test_flags_out_of_range_are_refused(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^cannot .*: {message}") as caught:
        Storage(DEVICE, **flags)
    assert "\n" not in str(caught.value)


def test_flags_at_their_ends_are_taken() -> None:
    Storage(DEVICE, time_s=1e-3, cells=64, sparsity=0.0, ranges=127, write_bits=16, seed=2**63 - 1)
    Storage(DEVICE, time_s=1e12, cells=1, sparsity=0.999, ranges=1, write_bits=1, seed=0)
    Storage(DEVICE, cells=0.4, protect=frozenset(("sensitivity",)))


def test_signs_are_digital_or_as_the_mapping_says() -> None:
    assert Storage(DEVICE, mapping="offset").kind == "magnitude"
    for mapping in ("pair", "offset"):
        assert Storage(DEVICE, protect=frozenset(), mapping=mapping).kind == mapping


def test_a_ledger_by_hand() -> None:
    ledger = Ledger(analog_cells=100, digital_bits=90, num_weights=60, bits_per_cell=1.8)
    assert ledger.digital_cells == pytest.approx(50)
    assert ledger.total == pytest.approx(150)
    assert ledger.per_weight == pytest.approx(2.5)
    expected = {"analog": 100, "digital": 50, "total": 150, "per_weight": 2.5}
    assert ledger.as_dict() == pytest.approx(expected)
    assert Ledger(0, 0, 0, 2.0).per_weight == 0
