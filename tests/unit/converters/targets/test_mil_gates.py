"""On packages as they would be read back, each with one thing wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from contracts.target import INPUTS, OUTPUTS
from edgectl_converters.targets.base import BuildRequest
from edgectl_converters.targets.mil_gates import gates_of
from edgectl_converters.targets.mil_weights import Package, Stored, Unlike
from edgectl_protos.domain.errors import OperatorError, ParityError, PrecisionError


def package(**changes: Any) -> Package:
    stored = (Stored("w", "linear", "fp16", 0, 1, 4096, 64, False),)
    found = Package(stored, (Unlike("w", 1e-4, 2e-4, 0.5),), (), (("linear", "fp16", 1),), (), (), 4)
    return replace(found, **changes)


@pytest.mark.parametrize(
    ("changes", "error", "complaint"),
    [
        ({"lost": ("w",)}, ParityError, "w is not in the package"),
        ({"unlike": (Unlike("w", 1.4, 2e-4, 7e3),)}, ParityError, "w in the package differs by 1.4 of its deviation"),
        ({"computed": (("linear", "fp32", 2),)}, PrecisionError, "fp16 was asked for, and there are 2 linear in fp32"),
        ({"infinite": ("mask",)}, PrecisionError, "mask is infinite in fp16"),
        ({"deep": ("t",)}, OperatorError, "at most 5 axes"),
        (
            {"stored": (Stored("w", "linear", "fp32", 0, 1, 4096, 64, False),)},
            PrecisionError,
            "w is stored in fp32, fp16 was asked for",
        ),
    ],
    ids=["lost", "unlike", "computed", "infinite", "deep", "stored"],
)
def test_what_is_wrong_in_a_package_is_refused(changes, error, complaint):
    request = BuildRequest("coreml", "c", "pt2", "", INPUTS, OUTPUTS, "fp16", "default", "", "")
    assert all(gate.passed for gate in gates_of(package(), request))
    with pytest.raises(error, match=complaint):
        gates_of(package(**changes), request)


def test_a_weight_that_was_skipped_without_a_word_is_refused():
    request = BuildRequest("coreml", "c", "pt2", "", INPUTS, OUTPUTS, "w4g32/a16", "default", "", "")
    with pytest.raises(PrecisionError, match=r"w is stored in fp16, w4g32/a16 was asked for"):
        gates_of(package(), request)
