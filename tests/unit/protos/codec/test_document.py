"""The strict JSON codec: what goes out comes back, and nothing else gets in."""

from __future__ import annotations

import contextlib
import enum
import json
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgectl_protos.codec.document import (
    DocumentError,
    canonical_bytes,
    from_bytes,
    from_document,
    to_document,
)
from edgectl_protos.domain.artifact import Digest, FileEntry
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.errors import BundleError, BundlePathError, EdgectlError, LoopSpecError, ProgramError
from edgectl_protos.domain.loop import LoopSpec
from edgectl_protos.domain.program import Integrate, Noise, Prediction, Program, Repeat
from edgectl_testkit.bundles import tiny_bundle, tiny_loop, tiny_program
from edgectl_testkit.foreign import json_values, odd_bytes


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    count: int
    ratio: float
    flag: bool
    colour: Colour
    digest: Digest | None
    words: tuple[str, ...]
    options: dict[str, str]
    note: str = "none"


digests = st.text("0123456789abcdef", min_size=64, max_size=64).map(Digest)
samples = st.builds(
    Sample,
    name=st.text(),
    count=st.integers(-(2**63) + 1, 2**63 - 1),
    ratio=st.floats(allow_nan=False, allow_infinity=False),
    flag=st.booleans(),
    colour=st.sampled_from(Colour),
    digest=st.none() | digests,
    words=st.lists(st.text()).map(tuple),
    options=st.dictionaries(st.text(), st.text()),
    note=st.text(),
)


@given(samples)
def test_a_document_comes_back_as_it_was_written(sample):
    assert from_bytes(Sample, canonical_bytes(sample), what="sample") == sample


@given(samples, st.sampled_from(["name", "count", "ratio", "flag", "colour", "digest", "words"]), json_values)
def test_a_foreign_value_is_taken_as_it_is_or_refused(sample, field, value):
    document = {**to_document(sample), field: value}
    with contextlib.suppress(BundleError):
        assert to_document(from_document(Sample, document, what="sample"))[field] == value


def test_an_unknown_key_is_refused_with_the_known_ones():
    with pytest.raises(DocumentError, match=r"loop: unknown key 'rate'; known: name, rate_hz"):
        from_document(LoopSpec, {**to_document(tiny_loop()), "rate": 30}, what="loop")


def test_a_missing_key_is_named():
    document = to_document(tiny_loop())
    del document["sources"]
    with pytest.raises(DocumentError, match="missing key 'sources'"):
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


def test_what_a_runtime_opens_is_a_file_or_a_folder_of_the_bundle(tmp_path):
    _, data = tiny_bundle(tmp_path)
    document = json.loads(data)
    (component,) = document["components"]
    (file,) = [entry for entry in document["files"] if entry["path"].endswith(f"/{component['entry']}")]
    folder = file["path"].rpartition("/")[0]
    component["entry"], file["path"] = "model.package", f"{folder}/model.package/data/model"
    assert from_document(Manifest, document, what="manifest").components[0].entry == "model.package"
    component["entry"] = "model.pack"
    with pytest.raises(BundleError, match=r"model\.pack' but does not hold it"):
        from_document(Manifest, document, what="manifest")


def test_a_manifest_of_another_schema_is_refused(tmp_path):
    _, data = tiny_bundle(tmp_path)
    document = {**json.loads(data), "schema": "edgectl.dev/bundle/v9"}
    with pytest.raises(BundleError, match="bundle/v9"):
        from_document(Manifest, document, what="manifest")


def test_bytes_that_are_not_json_are_refused():
    with pytest.raises(DocumentError, match="is not JSON"):
        from_bytes(Manifest, b"{", what="manifest")


# --- unions --------------------------------------------------------------------------------------------------------


def test_a_program_comes_back_with_its_loops():
    steps = (
        Noise("noise", "x"),
        Repeat("denoise", 10, (Integrate("euler", "x", "v", "euler", Prediction.VELOCITY),), {"t": "times"}),
    )
    program = Program((), steps, "x", arrays="arrays.npz")
    assert from_bytes(Program, canonical_bytes(program), what="program") == program
    assert to_document(program)["steps"][1]["op"] == "repeat"


@pytest.mark.parametrize("op", ["dream", None, 3, ["resize"], {}])
def test_a_step_that_is_not_known_is_refused_with_those_that_are(op):
    document = to_document(tiny_program())
    document["steps"][0]["op"] = op
    with pytest.raises(DocumentError, match=r"program.steps\[0\]: op .* is not known; known: resize, normalise"):
        from_document(Program, document, what="program")


def test_a_manifest_whose_program_does_not_meet_its_components_is_refused(tmp_path):
    document = json.loads(tiny_bundle(tmp_path)[1])
    document["program"]["steps"][3]["component"] = "other"
    with pytest.raises(ProgramError, match="runs the component 'other'; there is: act"):
        from_document(Manifest, document, what="manifest")


# --- reading is total ----------------------------------------------------------------------------------------------


def altered(document, path, value):
    """The document with another value at the place that `path` leads to, however far that is."""
    if not path:
        return value
    if not isinstance(document, (dict, list)) or not document:
        return value
    keys = sorted(document) if isinstance(document, dict) else range(len(document))
    key = keys[path[0] % len(keys)]
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[key] = altered(document[key], path[1:], value)
    return copy


@pytest.fixture(scope="module")
def manifest_document(tmp_path_factory):
    return json.loads(tiny_bundle(tmp_path_factory.mktemp("bundle"))[1])


@given(odd_bytes)
def test_any_bytes_are_a_manifest_or_one_of_our_errors(data):
    with pytest.raises(EdgectlError):
        from_bytes(Manifest, data, what="manifest")


places = st.lists(st.integers(0, 50), max_size=7)
values = json_values | st.sampled_from([-1, 10**30, 10**400, 1e308, "\ud800", [], {}, [[[]]], "", "sha256:", "../x"])


@given(path=places, value=values)
@example(path=[0, 0, 9, 0], value=10**400)
@example(path=[5], value="\ud800")
def test_a_manifest_with_any_value_at_any_place_is_read_or_refused(manifest_document, path, value):
    data = json.dumps(altered(manifest_document, path, value)).encode()
    with contextlib.suppress(EdgectlError):
        # What is accepted can be written again, and sent.
        manifest = from_bytes(Manifest, data, what="manifest")
        assert canonical_bytes(manifest)
        assert manifest.name.encode() is not None


@pytest.mark.parametrize("depth", [1, 50, 150, 240, 300, 1000, 100_000])
def test_a_program_of_any_depth_is_read_or_refused(manifest_document, depth):
    opened = "".join(f'{{"op":"repeat","id":"r{i}","times":1,"each":{{}},"steps":[' for i in range(depth))
    deep_step = f'{opened}{{"op":"noise","id":"n","output":"x"}}{"]}" * depth}'
    data = json.dumps(manifest_document).replace('"steps": [', f'"steps": [{deep_step}, ').encode()
    with pytest.raises(EdgectlError):
        from_bytes(Manifest, data, what="manifest")


def test_a_document_that_is_too_long_is_refused_before_it_is_parsed(monkeypatch):
    monkeypatch.setattr("edgectl_protos.codec.document.MAX_BYTES", 10)
    with pytest.raises(DocumentError, match="has 11 bytes; at most 10 are read"):
        from_bytes(Manifest, b"{" * 11, what="manifest")
