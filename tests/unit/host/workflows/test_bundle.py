"""What a bundle was converted to."""

from __future__ import annotations

import pytest

from edgectl_converters.assignment import Assignment
from edgectl_host.workflows.bundle import assignment_of
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.bundle import MANIFEST_NAME, Manifest
from edgectl_testkit.stub_bundles import Part, stub_bundle


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((Part("full", "one", "int8"),), "one int8"),
        (
            (Part("vision", "one", "int8"), Part("prefix", "one", "bf16"), Part("step", "one", "bf16")),
            "one vision=int8,bf16",
        ),
        ((Part("vision", "one", "fp32"), Part("prefix", "two", "fp32"), Part("step", "two")), "vision=one,two fp32"),
        ((Part("vision", "one", "w4g64/a16"), Part("prefix", "two", "w8a8")), "prefix=two,one prefix=w8a8,w4g64/a16"),
    ],
)
def test_the_most_frequent_word_stands_for_the_rest(tmp_path, parts, words):
    data = (stub_bundle(tmp_path, parts=parts) / MANIFEST_NAME).read_bytes()
    assignment = assignment_of(from_bytes(Manifest, data, what=MANIFEST_NAME))
    assert str(assignment) == words
    runtime, scheme = words.split()
    assert assignment == Assignment.of(runtime, scheme)
    for part in parts:
        assert (assignment.runtime.of(part.name), assignment.scheme.of(part.name)) == (part.runtime, part.scheme)
