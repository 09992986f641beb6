import io
from dataclasses import replace

import pytest

from edgectl_agent.worker import session as session_module
from edgectl_agent.worker.release import read_npz
from edgectl_agent.worker.runtimes.registry import RUNTIMES
from edgectl_agent.worker.serve import Answers, serve
from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.loop import LoopOverrides, Mode, OnEnd, SourceKind
from edgectl_protos.domain.run import RunPhase
from edgectl_protos.worker import messages
from edgectl_protos.worker.framing import read_frame, write_frame
from edgectl_testkit.bundles import (
    CAMERAS,
    COMPONENT,
    npz_bytes,
    release_dir,
    tiny_bundle,
    tiny_component,
    tiny_golden,
    tiny_loop,
)
from edgectl_testkit.runs import device_facts
from edgectl_testkit.video import write_video


@pytest.fixture
def sent():
    return []


@pytest.fixture
def worker(sent):
    answers = Answers(sent.append, started_s=0.25)
    yield answers
    answers.close()


@pytest.fixture
def folder(tmp_path):
    bundle, _ = tiny_bundle(tmp_path / "bundle", runtime="onnxrt")
    return release_dir(bundle, tmp_path / "release")


def run(folder, **overrides):
    changes = {"measure_s": 0.2, "rate_hz": 200.0} | overrides
    return messages.Run("r", "d", LoopOverrides(**changes), device_facts(), str(folder / "spool.npz"))


@pytest.mark.parametrize(
    "request_",
    [
        messages.Parity(),
        messages.Trace("t.npz"),
        messages.Smoke(),
        messages.Capture("act", "o.npz", "c.npz", 1),
        messages.InferGraph(0),
    ],
)
def test_nothing_can_be_asked_before_a_release_is_loaded(worker, request_):
    assert worker.answer(request_).reason == "wrong_state"


def test_a_runtime_that_builds_nothing_and_one_that_nobody_knows_are_named(worker, folder, monkeypatch):
    # It would be this process that offers itself to the kernel.
    monkeypatch.setattr("edgectl_agent.worker.serve.die_first", lambda: None)
    component = tiny_component(runtime="reference")
    request = messages.Build(component, str(folder / component.folder / "model.onnx"), str(folder), str(folder))
    for asked in (request, messages.BoundTo("reference")):
        assert "reference builds nothing on the device" in worker.answer(asked).message
    assert "knows no runtime 'abacus'" in worker.answer(messages.BoundTo("abacus")).message


def test_the_interpreters_of_a_load_are_those_that_its_runtimes_are_sought_in(worker, folder, tmp_path):
    failure = worker.answer(messages.Load(str(folder), 1, {"onnxrt": str(tmp_path / "no-python")}))
    assert failure.reason == "runtime_missing"
    assert "no-python" in failure.message


def test_a_failure_carries_reason_message_and_hint(worker, tmp_path):
    failure = worker.answer(messages.Load(str(tmp_path), 0))
    assert isinstance(failure, Failure)
    assert failure.reason == "not_found"
    assert "edgectl deploy" in failure.hint


def test_a_defect_is_answered_too_and_its_traceback_goes_to_the_log(worker, tmp_path, monkeypatch, caplog):
    def broken(folder):
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(session_module, "read_release", broken)
    failure = worker.answer(messages.Load(str(tmp_path), 0))
    assert (failure.reason, "ZeroDivisionError: of ours" in failure.message) == ("internal", True)
    assert "Traceback" in caplog.text


def test_a_reply_is_no_request(worker):
    assert worker.answer(messages.SmokeReply(3)).reason == "wrong_state"


def test_a_failed_load_leaves_nothing_loaded(worker, folder, tmp_path):
    assert isinstance(worker.answer(messages.Load(str(folder), 1)), messages.Loaded)
    worker.answer(messages.Load(str(tmp_path / "none"), 1))
    assert worker.answer(messages.Smoke()).reason == "wrong_state"


def test_what_was_loaded_is_read_back_from_the_runtime(worker, folder):
    loaded = worker.answer(messages.Load(str(folder), 1))
    (component,) = loaded.components
    assert (component.name, component.runtime, component.scheme) == (COMPONENT, "onnxrt", "fp32")
    assert (component.precision, component.provider) == ("fp32", "CPUExecutionProvider")
    assert loaded.import_s > 0.25
    assert loaded.load_s > 0


def test_parity_and_smoke_and_run_follow_a_load(worker, folder, sent):
    worker.answer(messages.Load(str(folder), 1))
    assert worker.answer(messages.Parity()).report.failures == ()
    assert worker.answer(messages.Smoke()) == messages.SmokeReply(3)
    summary = worker.answer(run(folder)).summary
    assert (summary.run_id, summary.deployment_id, summary.name) == ("r", "d", "tiny")
    assert summary.ticks + summary.misses.skipped == 40
    assert 0.2 <= summary.measured_s < 5
    assert summary.threads == 1
    assert summary.samples_bytes == (folder / "spool.npz").stat().st_size
    assert summary.loop.deadlines.tick_s == 1 / 200
    assert [(component.scheme, component.precision) for component in summary.components] == [("fp32", "fp32")]
    assert "act" in [span.id for span in summary.spans]
    assert summary.cpu_utilisation > 0
    assert summary.peak_rss_bytes > 10 << 20
    cold = summary.cold_start
    assert cold.first_action_s > cold.import_s + cold.load_s + cold.first_inference_s
    assert cold.import_s > 0.25
    phases = [progress.phase for progress in sent]
    assert phases[-2:] == [RunPhase.WARMING_UP, RunPhase.MEASURING]


def test_threads_are_those_asked_for_or_those_of_the_loop(worker, tmp_path):
    loop = replace(tiny_loop(), threads=1)
    bundle, _ = tiny_bundle(tmp_path / "b", runtime="onnxrt", loop=loop)
    folder = release_dir(bundle, tmp_path / "r")
    worker.answer(messages.Load(str(folder), 0))
    assert worker.answer(run(folder)).summary.threads == 1
    worker.answer(messages.Load(str(folder), 2))
    assert worker.answer(run(folder)).summary.threads == 2
    assert worker.answer(run(folder, threads=1)).summary.threads == 1


def test_threads_of_one_run_do_not_stay_for_the_next(worker, folder):
    worker.answer(messages.Load(str(folder), 2))
    assert worker.answer(run(folder, threads=1)).summary.threads == 1
    assert worker.answer(run(folder)).summary.threads == 2


def test_captured_calls_are_told_and_how_far_it_is_too(worker, folder, sent):
    worker.answer(messages.Load(str(folder), 1))
    golden = {key[3:]: value for key, value in tiny_golden(4).items() if key.startswith("in.")}
    (folder / "o.npz").write_bytes(npz_bytes(golden))
    request = messages.Capture(COMPONENT, str(folder / "o.npz"), str(folder / "c.npz"), 2)
    assert worker.answer(request) == messages.CaptureReply(2)
    assert [progress.progress for progress in sent] == [0.25, 0.5, 0.75, 1.0]


def test_what_an_oracle_does_is_written_where_it_was_asked_for(worker, folder, sent):
    worker.answer(messages.Load(str(folder), 1))
    reply = worker.answer(messages.Trace(str(folder / "trace.npz")))
    assert isinstance(reply, messages.TraceReply)
    assert (reply.report.cases, reply.report.failures) == (3, ())
    assert "0.out.action" in read_npz(folder / "trace.npz")
    assert [progress.phase for progress in sent] == [RunPhase.MEASURING] * len(sent)
    assert sent[-1].progress == 1.0


def test_a_trace_that_cannot_be_written_is_a_failure_and_no_defect(worker, folder):
    worker.answer(messages.Load(str(folder), 1))
    assert worker.answer(messages.Trace(str(folder / "absent" / "trace.npz"))).reason == "worker_crashed"


def test_an_unload_leaves_nothing_loaded_and_may_come_twice(worker, folder):
    worker.answer(messages.Load(str(folder), 1))
    for _ in range(2):
        assert worker.answer(messages.Unload()) == messages.Unloaded()
        assert worker.answer(messages.Smoke()).reason == "wrong_state"
    assert isinstance(worker.answer(messages.Load(str(folder), 1)), messages.Loaded)


def test_a_closed_run_reports_what_the_machine_can_do(worker, folder):
    worker.answer(messages.Load(str(folder), 1))
    summary = worker.answer(run(folder, mode=Mode.CLOSED)).summary
    assert summary.rates.command_hz > 200
    assert summary.loop.mode is Mode.CLOSED


def test_a_video_that_ends_in_the_middle_of_a_run_fails_it_and_not_the_worker(worker, tmp_path):
    loop = tiny_loop()
    video = replace(loop.sources[0], kind=SourceKind.VIDEO, path="v.mp4", on_end=OnEnd.FAIL, feature=CAMERAS[0])
    loop = replace(loop, sources=(video, *loop.sources[1:]))
    path = write_video(tmp_path / "v.mp4", list(range(20, 220, 20)), size=(8, 10))
    bundle, _ = tiny_bundle(tmp_path / "b", runtime="onnxrt", loop=loop, extra={"v.mp4": path.read_bytes()})
    folder = release_dir(bundle, tmp_path / "r")
    worker.answer(messages.Load(str(folder), 1))
    failure = worker.answer(run(folder))
    assert failure.reason == "source_failed"
    assert "ended at frame 10" in failure.message
    # Ten frames are enough for ten inferences, two ticks each: the warm-up did not use them up.
    assert isinstance(worker.answer(run(folder, measure_s=0.05)), messages.RunReply)
    assert isinstance(worker.answer(messages.Smoke()), messages.SmokeReply)


def test_a_loop_that_does_not_fit_the_policy_is_refused(worker, folder):
    loop = tiny_loop()
    (folder / "loop.json").write_bytes(canonical_bytes(replace(loop, sources=loop.sources[1:])))
    worker.answer(messages.Load(str(folder), 1))
    assert worker.answer(messages.Smoke()).reason == "loop_invalid"


def test_probe_answers_for_every_runtime(worker):
    names = [facts.name for facts in worker.answer(messages.Probe()).runtimes]
    assert names == list(RUNTIMES)


def test_requests_are_answered_in_turn_until_they_end(folder):
    asked, answered = io.BytesIO(), io.BytesIO()
    for request in (messages.Smoke(), messages.Load(str(folder), 1), messages.Smoke()):
        write_frame(asked, request)
    asked.seek(0)
    serve(asked, answered, started_s=0.0)
    answered.seek(0)
    replies = []
    while (reply := read_frame(answered)) is not None:
        replies.append(reply)
    assert [type(reply) for reply in replies] == [Failure, messages.Loaded, messages.SmokeReply]
