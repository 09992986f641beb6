"""Graphs in the worker of another interpreter, which here is the same Python again."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from dataclasses import replace

import numpy as np
import pytest

from edgectl_agent.worker import shared_memory
from edgectl_agent.worker.runtimes.registry import create
from edgectl_agent.worker.runtimes.remote import RemoteRuntime
from edgectl_agent.worker.shared_memory import make_memory, map_memory
from edgectl_protos.domain.artifact import DType, TensorSpec
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BundleError,
    DiskFullError,
    RuntimeMissingError,
    ShapeError,
    StateError,
    WorkerError,
)
from edgectl_testkit.bundles import tiny_component


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Shared memory and temporary files, where nobody else's are."""
    folders = tmp_path / "shm", tmp_path / "tmp"
    for folder in folders:
        folder.mkdir()
    monkeypatch.setattr(shared_memory, "_IN_MEMORY", folders[0])
    monkeypatch.setattr(tempfile, "tempdir", str(folders[1]))
    return folders


@pytest.fixture
def runtime(places):
    made = create("reference", sys.executable)
    yield made
    made.close()
    assert [os.listdir(folder) for folder in places] == [[], []]


@pytest.fixture
def component(release):
    return release.manifest.components[0]


@pytest.fixture
def graph(runtime, release, component):
    return runtime.load(release.artifact(component), component, 1)


def inputs(seed=0):
    random = np.random.default_rng(seed)
    return {spec.name: random.standard_normal(spec.shape).astype(spec.dtype.value) for spec in tiny_component().inputs}


def process_of(runtime):
    process = runtime._process
    assert process is not None
    return process


def test_its_numbers_are_those_of_the_runtime_itself(graph, release, component):
    here = create("reference").load(release.artifact(component), component, 1)
    for seed in range(3):
        given = inputs(seed)
        np.testing.assert_array_equal(graph.infer(given)["action"], here.infer(given)["action"])


def test_facts_are_those_that_the_other_worker_read_back(graph):
    import onnx

    assert (graph.facts.precision, graph.facts.provider) == ("fp32", "reference")
    assert graph.facts.version == onnx.__version__


def test_an_input_that_changes_in_place_is_seen(graph):
    given = inputs()
    first = graph.infer(given)["action"].copy()
    given["state"] += 2
    assert (graph.infer(given)["action"] != first).all()


def test_outputs_are_the_same_arrays_at_every_call(graph):
    assert graph.infer(inputs(0))["action"] is graph.infer(inputs(1))["action"]


def test_a_fork_has_buffers_of_its_own_in_the_same_process(runtime, graph):
    pid = process_of(runtime).pid
    fork = graph.fork()
    mine = graph.infer(inputs(0))["action"]
    kept = mine.copy()
    assert (fork.infer(inputs(1))["action"] != kept).any()
    np.testing.assert_array_equal(mine, kept)
    assert process_of(runtime).pid == pid
    graph.close()
    with pytest.raises(StateError):
        fork.infer(inputs())


def test_a_wrong_input_is_refused_before_it_is_sent(graph):
    with pytest.raises(ShapeError, match=r"'state' takes float32\[1, 3\]"):
        graph.infer(inputs() | {"state": np.zeros((1, 4), np.float32)})


def test_what_the_other_worker_refuses_is_raised_here(runtime, release, component):
    release.artifact(component).write_bytes(b"no graph")
    with pytest.raises(BundleCorruptError, match=r"model\.onnx is no ONNX graph"):
        runtime.load(release.artifact(component), component, 1)


def test_a_child_that_is_killed_fails_the_call_and_no_more(runtime, graph, release, component):
    graph.infer(inputs())
    os.kill(process_of(runtime).pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match="died during InferGraph"):
        graph.infer(inputs())
    again = runtime.load(release.artifact(component), component, 1)
    assert again.infer(inputs())["action"].shape == (1, 4, 2)


def test_closing_the_last_graph_ends_the_child(runtime, release, component):
    first, second = (runtime.load(release.artifact(component), component, 1) for _ in range(2))
    process = process_of(runtime)
    first.close()
    assert process.alive
    second.infer(inputs())
    second.close()
    assert not process.alive


def test_closing_the_runtime_ends_the_child_and_leaves_no_files(runtime, graph, places):
    process = process_of(runtime)
    # The memory has no name once both sides have mapped it.
    assert os.listdir(places[0]) == []
    runtime.close()
    runtime.close()
    assert not process.alive
    assert os.listdir(places[1]) == []


def test_it_is_probed_in_the_other_interpreter(runtime):
    facts = runtime.probe()
    assert (facts.name, facts.problem, facts.precisions) == ("reference", "", ("fp32",))
    assert runtime.import_library() == facts.version


def test_what_it_builds_is_bound_to_is_asked_of_the_other_interpreter(runtime):
    with pytest.raises(RuntimeMissingError, match="reference builds nothing on the device"):
        runtime.bound_to()


def test_an_interpreter_that_is_none_is_a_missing_runtime(places):
    runtime = RemoteRuntime("reference", "/nowhere/python")
    assert "no worker could be started with /nowhere/python" in runtime.probe().problem
    with pytest.raises(RuntimeMissingError, match="/nowhere/python"):
        runtime.import_library()
    assert os.listdir(places[1]) == []


def test_a_runtime_that_the_other_interpreter_does_not_know_is_missing(places):
    runtime = RemoteRuntime("abacus", sys.executable)
    try:
        with pytest.raises(RuntimeMissingError, match="does not know it") as caught:
            runtime.import_library()
        assert "pip install 'edgectl-agent[abacus]'" in caught.value.hint
    finally:
        runtime.close()


# --- the memory ------------------------------------------------------------------------------------------------------


def test_both_sides_see_one_memory_and_every_tensor_is_aligned(places):
    component = tiny_component()
    path = make_memory(component)
    (inputs_here, outputs_here), (inputs_there, outputs_there) = (map_memory(path, component) for _ in range(2))
    path.unlink()
    for at, (name, array) in enumerate((inputs_here | outputs_here).items()):
        array.fill(at + 1)
        assert array.ctypes.data % 64 == 0
        assert ((inputs_there | outputs_there)[name] == at + 1).all()
    assert [array.shape for array in inputs_here.values()] == [spec.shape for spec in component.inputs]


def test_a_free_dimension_cannot_be_shared(places):
    component = replace(tiny_component(), outputs=(TensorSpec("action", DType.FLOAT32, (1, -1, 2)),))
    with pytest.raises(BundleError, match="'action' has a free dimension"):
        make_memory(component)


def test_where_memory_has_no_room_the_disk_is_taken(places, monkeypatch):
    reserve, tried = os.posix_fallocate, []

    def full(handle, offset, size):
        tried.append(size)
        if len(tried) == 1:
            raise OSError(28, "No space left on device")
        reserve(handle, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", full)
    path = make_memory(tiny_component())
    assert (path.parent, os.listdir(places[0])) == (places[1], [])


def test_a_machine_without_room_says_so_and_keeps_no_file(places, monkeypatch):
    def full(handle, offset, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskFullError, match="no room for the tensors of 'act'"):
        make_memory(tiny_component())
    assert [os.listdir(folder) for folder in places] == [[], []]
