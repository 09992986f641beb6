"""A real builder in the state BUILDING, as far as a machine without a GPU goes: the engine is built, kept and found
again; that it does not load is named.
"""

from __future__ import annotations

import functools
from pathlib import Path

import onnx
import pytest

from edgectl_converters.toolchain import Toolchains
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.bundle import BuildRecipe
from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import ToolchainError
from edgectl_protos.worker.derived import STAMP_NAME, Stamp
from edgectl_testkit import builder_worker
from edgectl_testkit.bundles import conv_graph, tiny_bundle, tiny_graph
from edgectl_testkit.raw_client import RawClient
from edgectl_testkit.serve import serve

CACHE = Path(__file__).resolve().parents[3] / ".cache" / "tests"
RECIPE = BuildRecipe("tensorrt_rtx", {"capability": "8.6"})


@functools.cache
def python() -> str:
    try:
        return str(Toolchains(CACHE, CACHE / "config").get("tensorrt_rtx", print).python)
    except ToolchainError as exc:
        pytest.skip(exc.message)


@pytest.fixture
def agent():
    """An agent whose interpreter has the builder."""
    worker = str(Path(builder_worker.__file__).resolve())
    return {"interpreter": python(), "worker_arguments": (worker,)}


def bundle(folder, name="tiny", **changes):
    return tiny_bundle(folder / name, name=name, runtime="tensorrt_rtx", recipe=RECIPE, **changes)[0]


def told(client, release, deployment):
    client.stage(release, deployment)
    client.start(deployment)
    return list(client.watch(deployment))


def test_an_engine_is_built_kept_and_refused_without_a_driver(agent, tmp_path):
    state = tmp_path / "state"
    with serve(state, **agent) as address, RawClient(address) as client:
        client.stage(bundle(tmp_path), "d-1")
        client.start("d-1")
        seen = []
        for event in client.watch("d-1"):
            seen.append(event)
            if event.state is State.PARITY:
                # What was built is here for as long as a release needs it.
                (key,) = (state / "derived").iterdir()
                stamp = from_bytes(Stamp, (key / STAMP_NAME).read_bytes(), what=STAMP_NAME)
                size = (key / "model.engine").stat().st_size
        assert [event.state for event in seen[-3:]] == [State.BUILDING, State.PARITY, State.FAILED]
        assert seen[-2].detail.startswith("built 'act' with tensorrt_rtx (version 1.7.1.116, sm 8.6, driver 550.54) in")
        assert seen[-1].failure.reason == "runtime_missing"
        assert "no NVIDIA driver" in seen[-1].failure.message
        assert stamp.bound_to == {"version": "1.7.1.116", "sm": "8.6", "driver": "550.54"}
        assert (stamp.entry, stamp.files[0].size_bytes) == ("model.engine", size)
        # The next attempt need not build it again.
        assert list((state / "derived").iterdir()) == [key]


def test_an_operator_that_the_builder_does_not_know_is_named_and_nothing_is_left(agent, tmp_path):
    model = onnx.load_from_string(tiny_graph())
    model.graph.node[3].op_type = "Frobnicate"
    with serve(tmp_path / "state", **agent) as address, RawClient(address) as client:
        events = told(client, bundle(tmp_path, graph=model.SerializeToString()), "d-1")
    assert events[-1].failure.reason == "operator_unsupported"
    assert "Frobnicate" in events[-1].failure.message
    assert list((tmp_path / "state" / "derived").iterdir()) == []


def test_a_scheme_that_the_graph_does_not_have_is_refused_while_building(agent, tmp_path):
    with serve(tmp_path / "state", **agent) as address, RawClient(address) as client:
        events = told(client, bundle(tmp_path, graph=conv_graph(), scheme="fp16"), "d-1")
    assert events[-1].failure.reason == "precision_refused"
    assert "fp16 was asked for" in events[-1].failure.message
