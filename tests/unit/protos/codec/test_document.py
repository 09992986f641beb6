"""The strict JSON codec: what goes out comes back, and nothing else gets in."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_protos.codec.document import (
    DocumentError,
    canonical_bytes,
    from_bytes,
    from_document,
    to_document,
)
from edgectl_protos.domain.artifact import Digest, FileEntry, Precision
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.errors import BundleError, BundlePathError, LoopSpecError
from edgectl_protos.domain.loop import LoopSpec
from edgectl_testkit.bundles import tiny_bundle, tiny_loop


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    count: int
    ratio: float
    flag: bool
    precision: Precision
    digest: Digest | None
    words: tuple[str, ...]
    options: dict[str, str]
    note: str = "none"


digests = st.text("0123456789abcdef", min_size=64, max_size=64).map(Digest)
samples = st.builds(
    Sample,
    name=st.text(),
    count=st.integers(),
    ratio=st.floats(allow_nan=False, allow_infinity=False),
    flag=st.booleans(),
    precision=st.sampled_from(Precision),
    digest=st.none() | digests,
    words=st.lists(st.text()).map(tuple),
    options=st.dictionaries(st.text(), st.text()),
    note=st.text(),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(samples)
def test_a_document_comes_back_as_it_was_written(sample):
    assert from_bytes(Sample, canonical_bytes(sample), what="sample") == sample


@given(samples, st.sampled_from(["name", "count", "ratio", "flag", "precision", "digest", "words"]), json_values)
def test_a_foreign_value_is_taken_as_it_is_or_refused(sample, field, value):
    document = {**to_document(sample), field: value}
    with contextlib.suppress(BundleError):
        assert to_document(from_document(Sample, document, what="sample"))[field] == value


def test_an_unknown_key_is_refused_with_the_known_ones():
    with pytest.raises(DocumentError, match=r"loop: unknown key 'rate'; known: name, rate_hz"):
        from_document(LoopSpec, {**to_document(tiny_loop()), "rate": 30}, what="loop")


def test_a_missing_key_is_named():
    document = to_document(tiny_loop())
    del document["stages"]
    with pytest.raises(DocumentError, match="missing key 'stages'"):
        from_document(LoopSpec, document, what="loop")


def test_a_boolean_is_not_a_number():
    with pytest.raises(DocumentError, match=r"measure_s: expected float, got True"):
        from_document(LoopSpec, {**to_document(tiny_loop()), "measure_s": True}, what="loop")


def test_what_the_dataclass_refuses_keeps_its_class_and_gains_its_place():
    with pytest.raises(LoopSpecError, match=r"^loop: rate -1.0 Hz"):
        from_document(LoopSpec, {**to_document(tiny_loop()), "rate_hz": -1.0}, what="loop")


def test_a_path_that_leaves_the_bundle_is_refused_in_a_manifest(tmp_path):
    _, data = tiny_bundle(tmp_path)
    document = json.loads(data)
    document["files"][0]["path"] = "../outside"
    with pytest.raises(BundlePathError, match=r"\.\./outside"):
        from_document(Manifest, document, what="manifest")


@given(st.text())
def test_no_accepted_path_leaves_its_folder(path):
    import posixpath

    try:
        FileEntry(path, 0, Digest("0" * 64))
    except BundlePathError:
        return
    joined = posixpath.normpath(posixpath.join("/release", path))
    assert joined.startswith("/release/")


def test_a_manifest_comes_back_as_it_was_written(tmp_path):
    _, data = tiny_bundle(tmp_path)
    manifest = from_bytes(Manifest, data, what="manifest")
    assert canonical_bytes(manifest) == data


def test_a_manifest_that_names_a_file_it_does_not_hold_is_refused(tmp_path):
    _, data = tiny_bundle(tmp_path)
    document = json.loads(data)
    document["loop"] = "other.json"
    with pytest.raises(BundleError, match=r"names 'other.json' but does not hold it"):
        from_document(Manifest, document, what="manifest")


def test_a_manifest_of_another_schema_is_refused(tmp_path):
    _, data = tiny_bundle(tmp_path)
    document = {**json.loads(data), "schema": "edgectl.dev/bundle/v9"}
    with pytest.raises(BundleError, match="bundle/v9"):
        from_document(Manifest, document, what="manifest")


def test_bytes_that_are_not_json_are_refused():
    with pytest.raises(DocumentError, match="is not JSON"):
        from_bytes(Manifest, b"{", what="manifest")
