"""What a conversion takes of footage, and of a loop file."""

from dataclasses import replace

import numpy as np
import pytest

from edgectl_converters.bundle import blob_path
from edgectl_converters.loop_file import derive_loop, dump_loop
from edgectl_converters.observations.opened import open_footage
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.errors import EdgectlError, LoopSpecError, ShapeError, SourceError
from edgectl_protos.domain.loop import LoopSpec, SourceKind
from edgectl_testkit.lerobot_datasets import write_dataset
from edgectl_testkit.lerobot_dirs import CAMERAS, STATE


def write_footage(folder):
    folder.mkdir()
    for index, camera in enumerate(CAMERAS):
        frames = np.random.default_rng(index).integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)
        np.save(folder / f"{camera}.npy", frames)
    np.save(folder / f"{STATE}.npy", np.zeros((6, 3), np.float32))
    return folder


def test_footage_travels_in_the_bundle_and_the_loop_reads_it_there(bench):
    footage = write_footage(bench.folder / "footage")
    result = bench.convert(footage=footage)
    paths = {entry.path for entry in result.manifest.files}
    assert {f"{CAMERAS[0]}.npy", f"{STATE}.npy"} <= paths
    loop = loop_of(result)
    assert {source.kind for source in loop.sources} == {SourceKind.RECORDED}
    assert all(source.path in paths for source in loop.sources)


def loop_of(result):
    entry = result.manifest.file("loop.json")
    return from_bytes(LoopSpec, blob_path(result.bundle_dir, entry.digest).read_bytes(), what="loop.json")


def test_a_loop_file_is_what_runs(bench):
    policy = bench.convert().manifest.policy
    loop = replace(derive_loop(policy, rate_hz=7.0), name="mine")
    (bench.folder / "loop.yaml").write_text(dump_loop(loop))
    assert loop_of(bench.convert(loop_file=bench.folder / "loop.yaml")) == loop


def test_a_loop_file_that_reads_what_is_not_there_is_refused(bench):
    policy = bench.convert().manifest.policy
    loop = derive_loop(policy)
    source = replace(loop.sources[0], kind=SourceKind.VIDEO, path="missing.mp4")
    (bench.folder / "loop.yaml").write_text(dump_loop(replace(loop, sources=(source, *loop.sources[1:]))))
    with pytest.raises(EdgectlError, match=r"missing\.mp4"):
        bench.convert(loop_file=bench.folder / "loop.yaml")


def test_a_loop_file_with_a_mistake_is_refused_before_anything_runs(bench):
    (bench.folder / "loop.yaml").write_text("loop: v1\nname: x\n")
    with pytest.raises(LoopSpecError, match=r"loop\.yaml"):
        bench.convert(loop_file=bench.folder / "loop.yaml")
    assert bench.said == []


def test_a_camera_of_another_size_is_refused_before_it_is_installed(bench):
    footage = write_footage(bench.folder / "footage")
    np.save(footage / f"{CAMERAS[0]}.npy", np.zeros((6, 9, 10, 3), np.uint8))
    with pytest.raises(ShapeError, match=r"\[9, 10, 3\].*\[8, 10, 3\]"):
        bench.convert(footage=footage)
    # Refused before anything long was begun.
    assert "checking parity with the golden cases" not in bench.said


def test_frames_of_another_size_are_taken_where_the_loop_resizes_them(bench):
    footage = write_footage(bench.folder / "footage")
    np.save(footage / f"{CAMERAS[0]}.npy", np.full((6, 16, 20, 3), 9, np.uint8))
    loop = derive_loop(bench.convert().manifest.policy, footage)
    resized = replace(loop, sources=(replace(loop.sources[0], resize=True), *loop.sources[1:]))
    (bench.folder / "loop.yaml").write_text(dump_loop(resized))
    assert loop_of(bench.convert(footage=footage, loop_file=bench.folder / "loop.yaml")) == resized


def test_a_dataset_is_footage_and_travels_cut_to_what_the_loop_reads(bench):
    names = ("shoulder", "gripper")
    dataset = write_dataset(bench.folder / "set", "v3.0", [6, 6], names=names)
    policy = bench.convert().manifest.policy
    loop = derive_loop(policy, open_footage(policy, dataset, bench.shop()))
    loop = replace(loop, sources=tuple(replace(s, resize=s.feature in CAMERAS) for s in loop.sources))
    (bench.folder / "loop.yaml").write_text(dump_loop(loop))
    result = bench.convert(footage=dataset, loop_file=bench.folder / "loop.yaml")
    recordings = {f"{CAMERAS[0]}.mp4", f"{CAMERAS[1]}.npy", f"{STATE}.npy"}
    assert recordings <= {entry.path for entry in result.manifest.files}
    assert [one.name for one in result.manifest.policy.dimensions] == list(names)
    assert "shoulder" in {gate.note for gate in result.manifest.gates}
    assert {source.path for source in loop_of(result).sources} == recordings


def test_footage_of_another_robot_is_refused(bench):
    (bench.folder / "footage").mkdir()
    (bench.folder / "footage/camera.mp4").touch()
    with pytest.raises(SourceError, match=r"it has camera\.mp4; wanted observation\.images\.top\.mp4"):
        bench.convert(footage=bench.folder / "footage")
