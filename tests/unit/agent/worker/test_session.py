"""A loaded release: what is loaded when, what a run reports of it, and what is given back."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from edgectl_agent.config import VERSION
from edgectl_agent.worker import session as session_module
from edgectl_agent.worker.process import usable_cores
from edgectl_agent.worker.runtimes.onnxrt import OnnxRuntime
from edgectl_agent.worker.session import Session
from edgectl_protos.domain.errors import BundleCorruptError, BundleError, ShapeError, SourceError
from edgectl_protos.domain.loop import LoopOverrides, SourceKind
from edgectl_protos.domain.run import RunPhase
from edgectl_protos.worker import messages
from edgectl_testkit.bundles import CAMERAS, COMPONENT, STATE, release_dir, tiny_bundle, tiny_golden, tiny_loop
from edgectl_testkit.runs import device_facts

STARTED_S = 0.25
"""Before the session, in its process."""


@pytest.fixture
def folder(tmp_path):
    bundle, _ = tiny_bundle(tmp_path / "bundle", runtime="onnxrt")
    return release_dir(bundle, tmp_path / "release")


@pytest.fixture
def load(folder):
    """A session of the release with this many threads."""
    made = []

    def make(threads=1, **options):
        made.append(Session(folder, threads, started_s=STARTED_S, **options))
        return made[-1]

    yield make
    for session in made:
        session.close()


@pytest.fixture
def loads(monkeypatch):
    """With how many threads each load was made."""
    seen, load = [], OnnxRuntime.load

    def noted(self, artifact, component, threads, **options):
        seen.append(threads)
        return load(self, artifact, component, threads, **options)

    monkeypatch.setattr(OnnxRuntime, "load", noted)
    return seen


def run(session, folder, report=lambda phase, share: None, **overrides):
    changes = {"measure_s": 0.05, "rate_hz": 200.0} | overrides
    request = messages.Run("r", "d", LoopOverrides(**changes), device_facts(), str(folder / "spool.npz"))
    return session.run(request, report)


# --- threads ---------------------------------------------------------------------------------------------------------


def test_threads_of_one_run_do_not_stay_for_the_next(load, loads, folder):
    session = load(2)
    assert [run(session, folder, **asked).threads for asked in ({"threads": 1}, {}, {})] == [1, 2, 2]
    # Loaded again for the run that asked and for the one after it, and not for the third.
    assert loads == [2, 1, 2]


def test_what_is_not_a_run_has_the_threads_of_the_release_too(load, loads, folder):
    session = load(2)
    run(session, folder, threads=1)
    assert session.smoke() == 3
    assert session.parity(lambda share: None).failures == ()
    assert loads == [2, 1, 2]


def test_zero_threads_are_all_cores(load, loads, folder):
    session = load(0)
    assert run(session, folder, threads=0).threads == usable_cores()
    assert loads == [usable_cores()]


def test_a_run_that_loads_again_says_so(load, folder):
    session, phases = load(2), []
    run(session, folder, lambda phase, share: phases.append(phase), threads=1)
    assert phases[0] is RunPhase.LOADING
    run(session, folder, lambda phase, share: phases.append(phase), threads=2)
    assert Counter(phases)[RunPhase.LOADING] == 2
    phases.clear()
    run(session, folder, lambda phase, share: phases.append(phase))
    assert RunPhase.LOADING not in phases


# --- the cold start --------------------------------------------------------------------------------------------------


def test_the_cold_start_is_the_sum_of_its_parts_and_belongs_to_the_first_run(load, folder):
    begun = time.perf_counter()
    session = load()
    session.smoke()
    first, second = (run(session, folder).cold_start for _ in range(2))
    whole_s = STARTED_S + time.perf_counter() - begun
    assert second is None
    assert first.import_s > STARTED_S
    assert first.import_s + first.load_s + first.first_inference_s < first.first_action_s < whole_s


# --- the machine -----------------------------------------------------------------------------------------------------


def test_a_run_says_what_the_machine_did_beside_it(load, folder):
    summary = run(load(), folder)
    assert summary.interference.involuntary_switches >= 0
    assert summary.interference.clock_step_s is not None
    assert summary.agent_version == VERSION


# --- what a run leaves -----------------------------------------------------------------------------------------------


def test_a_run_reports_its_steps_and_spools_its_stamps(load, folder):
    summary = run(load(), folder)
    assert [span.id for span in summary.spans] == [
        "dec",
        "norm.top",
        "norm.wrist",
        "norm.state",
        "act",
        "post",
        "merge",
        "pub",
    ]
    assert sum(span.share for span in summary.spans) <= 1.01
    with np.load(folder / "spool.npz", allow_pickle=False) as file:
        assert len(file["ticks"]) == summary.ticks
        assert list(file["site_steps"]) == ["norm.top", "norm.wrist", "norm.state", "act", "post", "dec"]
        assert set(file["spans"][:, 0]) == set(range(summary.inferences))


def test_a_source_that_cannot_be_opened_closes_those_that_were(load, folder, monkeypatch):
    closed, open_source = [], session_module.open_source

    def opened(spec, feature, release):
        source = open_source(spec, feature, release)
        monkeypatch.setattr(source, "close", lambda: closed.append(spec.feature))
        return source

    monkeypatch.setattr(session_module, "open_source", opened)
    session = load()
    loop = tiny_loop()
    broken = replace(loop.sources[2], kind=SourceKind.RECORDED, path="missing.npy")
    monkeypatch.setattr(
        session, "_release", replace(session._release, loop=replace(loop, sources=(*loop.sources[:2], broken)))
    )
    with pytest.raises(SourceError, match=r"missing\.npy"):
        session.smoke()
    assert closed == list(CAMERAS)


def test_a_release_whose_graph_is_damaged_leaves_nothing_running(load, folder, monkeypatch):
    closed = []
    monkeypatch.setattr(OnnxRuntime, "close", lambda self: closed.append(self.name))
    (folder / "components" / COMPONENT / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleCorruptError):
        load()
    assert closed == ["onnxrt"]


# --- capture ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def observed(tmp_path):
    """Five recorded observations."""
    path = tmp_path / "o.npz"
    np.savez(path, **{key[3:]: value for key, value in tiny_golden(5).items() if key.startswith("in.")})
    return path


def test_what_enters_a_component_is_captured_normalised_and_evenly_picked(load, observed, tmp_path):
    shares = []
    request = messages.Capture(COMPONENT, str(observed), str(tmp_path / "c.npz"), 3)
    assert load().capture(request, shares.append) == 3
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    with np.load(tmp_path / "c.npz", allow_pickle=False) as file:
        assert sorted(file.files) == ["state", "top", "wrist"]
        assert file["top"].shape == (3, 1, 3, 8, 10)
        wanted = (tiny_golden(5)[f"in.{STATE}"][[0, 2, 4], None] - 1) / 2
        np.testing.assert_allclose(file["state"], wanted, atol=1e-6)


def test_a_component_that_no_step_calls_has_nothing_to_capture(load, observed, tmp_path):
    request = messages.Capture("vision", str(observed), str(tmp_path / "c.npz"), 3)
    with pytest.raises(BundleError, match="no step of the program calls the component 'vision'"):
        load().capture(request, lambda share: None)


def test_an_observation_of_another_shape_is_refused(load, observed, tmp_path):
    with np.load(observed) as file:
        arrays = dict(file)
    np.savez(observed, **(arrays | {STATE: np.zeros((5, 4), np.float32)}))
    request = messages.Capture(COMPONENT, str(observed), str(tmp_path / "c.npz"), 3)
    with pytest.raises(ShapeError, match=r"state is float32\[3\].*got float32\[4\]"):
        load().capture(request, lambda share: None)


# --- another interpreter ---------------------------------------------------------------------------------------------


def test_a_release_whose_runtime_is_in_another_interpreter_runs_all_the_same(load, folder):
    session = load(1, interpreters={"onnxrt": sys.executable})
    (component,) = session.loaded.components
    assert (component.runtime, component.precision, component.provider) == ("onnxrt", "fp32", "CPUExecutionProvider")
    assert session.parity(lambda share: None).failures == ()
    assert run(session, folder).inferences > 0
