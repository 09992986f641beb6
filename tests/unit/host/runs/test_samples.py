"""What a device spools, and what it might."""

from __future__ import annotations

import io

import numpy as np
import pytest

from edgectl_host.runs.samples import read_responses_s
from edgectl_protos.domain.errors import ProtocolError
from edgectl_testkit.bundles import npz_bytes


def test_response_times_are_seconds():
    assert read_responses_s(npz_bytes({"responses": np.array([1_000_000, 2_500_000])})).tolist() == [0.001, 0.0025]


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, responses=np.array([object()], dtype=object))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"PK", b"samples of r", pickled(), npz_bytes({"ticks": np.zeros(3)})),
        npz_bytes({"responses": np.ones(3)})[:-30],
        *(
            npz_bytes({"responses": array})
            for array in (np.ones(3), np.ones((2, 2), np.int64), np.zeros(0, np.int64), np.array([5, -1]))
        ),
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(ProtocolError):
        read_responses_s(data)
