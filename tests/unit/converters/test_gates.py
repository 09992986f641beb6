from __future__ import annotations

import os
import sys
import threading

import pytest

from edgectl_converters.bundle import read_manifest
from edgectl_converters.gates import HostWorker, capture, prove, trace
from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.device import ComponentFacts, RuntimeFacts
from edgectl_protos.domain.errors import (
    CancelledError,
    NonFiniteError,
    OperatorError,
    ParityError,
    PrecisionError,
    RuntimeMissingError,
    WorkerError,
)
from edgectl_protos.domain.parity import ParityFigure, ParityReport
from edgectl_protos.worker.messages import (
    Capture,
    CaptureReply,
    Loaded,
    ParityReply,
    Probe,
    ProbeReply,
    TraceReply,
    Unloaded,
)
from edgectl_testkit.bundles import tiny_bundle

WORKER = """
import os, sys
from pathlib import Path
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.worker.framing import read_frame, write_frame
from edgectl_protos.worker.messages import MESSAGES

requests, replies = os.fdopen(0, "rb"), os.fdopen(int(sys.argv[sys.argv.index("--reply-fd") + 1]), "wb")
with open(Path(sys.argv[1]) / "asked", "a") as asked:
    asked.write(f"start\\n")
while (request := read_frame(requests)) is not None:
    with open(Path(sys.argv[1]) / "asked", "a") as asked:
        asked.write(f"{type(request).__name__}\\n")
    file = next(Path(sys.argv[1]).glob(f"{type(request).__name__}.*"), None)
    if file is None:
        sys.exit(7)
    write_frame(replies, from_bytes(MESSAGES[file.suffix[1:]], file.read_bytes(), what="answer"))
"""


class Answers:
    """A worker that says what a test writes down."""

    def __init__(self, folder):
        self.folder = folder
        self.release, _ = tiny_bundle(folder / "bundle")
        self.manifest, _ = read_manifest(self.release)
        (folder / "worker.py").write_text(WORKER)
        self.says(Load=loaded(), Parity=ParityReply(report(figure())))
        self.worker = self.of(sys.executable, str(folder / "worker.py"), str(folder))

    def of(self, *command):
        return HostWorker(command, {}, self.folder / "log", threads=1, timeout_s=30.0)

    @property
    def asked(self):
        return (self.folder / "asked").read_text().split()

    def says(self, **answers):
        for request, answer in answers.items():
            for old in self.folder.glob(f"{request}.*"):
                old.unlink()
            (self.folder / f"{request}.{type(answer).__name__}").write_bytes(canonical_bytes(answer))

    def prove(self, worker=None):
        with worker or self.worker as running:
            return prove(running, self.release, self.manifest, {}, lambda text: None)


def loaded(precision="fp32"):
    return Loaded((ComponentFacts("act", "reference", "1", "fp32", precision, "cpu"),), 0.1, 0.1)


def figure(error=1.23456e-6, limit=5e-3, subject="executed", at="shoulder"):
    return ParityFigure(subject, "rmse", error, limit, at)


def report(*figures):
    return ParityReport(3, figures)


@pytest.fixture
def answers(tmp_path):
    return Answers(tmp_path)


def test_what_the_worker_measured_becomes_gates_in_figures_that_are_the_same_everywhere(answers):
    shown = figure(limit=None, subject="rest of the chunk")
    answers.says(Parity=ParityReply(report(figure(), shown, figure(error=0.0, limit=0.0, subject="call", at=""))))
    gates = answers.prove()
    assert [(gate.gate, gate.subject, gate.value, gate.limit, gate.passed, gate.pending) for gate in gates] == [
        ("precision", "act", 1.0, 1.0, True, False),
        ("parity.rmse", "executed", 1.23e-6, 5e-3, True, False),
        ("parity.rmse", "call", 0.0, 0.0, True, False),
    ]
    assert "read back from reference" in gates[0].note
    assert gates[1].note == "shoulder"


def test_what_ran_on_a_simulator_says_so(answers):
    facts = ComponentFacts("act", "reference", "1", "fp32", "fp32", "the simulator", simulated=True)
    answers.says(Load=Loaded((facts,), 0.1, 0.1), Parity=ParityReply(report(figure())))
    assert answers.prove()[0].note == "fp32 read back from reference, simulated"


def test_another_precision_than_asked_for_is_refused_with_what_it_is(answers):
    answers.says(Load=loaded("bf16"))
    with pytest.raises(PrecisionError, match="act: reference computes in bf16, fp32 was asked for"):
        answers.prove()


def test_parity_that_failed_is_refused_with_where_it_was_and_how_many_more(answers):
    over = figure(error=0.5, at="gripper")
    answers.says(Parity=ParityReply(report(figure(), over)))
    with pytest.raises(ParityError, match=r"^executed: rmse \S+ in gripper \(limit 0\.005\)$") as caught:
        answers.prove()
    assert "nothing was written" in caught.value.hint
    answers.says(Parity=ParityReply(report(over, figure(), over, over)))
    with pytest.raises(ParityError, match=r"in gripper \(limit 0\.005\) \(and 2 more\)$"):
        answers.prove()


@pytest.mark.parametrize("nothing", [None, ParityReport(3, ())])
def test_nothing_compared_proves_nothing(answers, nothing):
    answers.says(Parity=ParityReply(nothing))
    with pytest.raises(ParityError, match="no golden cases"):
        answers.prove()


@pytest.mark.parametrize("error", [OperatorError, NonFiniteError])
def test_the_workers_own_refusal_fails_the_conversion(answers, error):
    answers.says(Parity=Failure(error.reason, "no such thing"))
    with pytest.raises(error, match="no such thing"):
        answers.prove()


def pending(gates):
    return [gate for gate in gates if gate.pending and not gate.passed and "pending on the device" in gate.note]


def test_a_runtime_that_the_host_lacks_leaves_the_gate_to_the_device(answers):
    answers.says(Load=Failure("runtime_missing", "tensorrt cannot be imported"))
    gates = answers.prove()
    assert len(pending(gates)) == len(gates) == 2
    assert "tensorrt" in gates[0].note


@pytest.mark.parametrize(("offered", "left"), [(("fp16",), True), (("fp32",), False)])
def test_kernels_that_the_host_lacks_leave_the_gate_to_the_device(answers, offered, left):
    answers.says(Load=Failure("precision_refused", "no kernels"))
    answers.says(Probe=ProbeReply((RuntimeFacts("reference", "1", ("cpu",), offered),)))
    if left:
        assert "reference has no fp32 kernels on this host" in pending(answers.prove())[0].note
    else:
        with pytest.raises(PrecisionError, match="no kernels"):
            answers.prove()


def test_an_interpreter_without_the_agent_leaves_the_gate_to_the_device(answers):
    for command in ((), (sys.executable, "-m", "edgectl_absent_agent")):
        assert pending(answers.prove(answers.of(*command)))


def test_a_worker_that_dies_is_an_error_and_no_pending_gate(answers):
    for file in answers.folder.glob("Parity.*"):
        file.unlink()
    with pytest.raises(WorkerError, match="died during Parity"):
        answers.prove()


def test_what_enters_components_is_captured(answers):
    answers.says(Capture=CaptureReply(5))
    requests = tuple(Capture(name, "in.npz", f"{name}.npz", 8) for name in ("vision", "prefix"))
    said = []
    with answers.worker as worker:
        assert capture(worker, answers.release, requests, said.append) == {"vision": 5, "prefix": 5}
    assert said == ["capturing what enters vision", "capturing what enters prefix"]


def test_what_an_oracle_measured_comes_back_also_where_it_failed(answers):
    answers.says(Trace=TraceReply(report(figure(error=9.0))))
    with answers.worker as worker:
        assert trace(worker, answers.release, answers.folder / "trace.npz").failures == (figure(error=9.0),)


def test_an_oracle_that_this_host_cannot_run_is_said(answers):
    with answers.of() as worker, pytest.raises(RuntimeMissingError, match="no worker is at hand"):
        trace(worker, answers.release, answers.folder / "trace.npz")


# --- the process -----------------------------------------------------------------------------------------------------


def test_one_process_serves_a_conversion(answers):
    answers.says(Trace=TraceReply(report(figure())), Capture=CaptureReply(5), Unload=Unloaded())
    with answers.worker as worker:
        trace(worker, answers.release, answers.folder / "trace.npz")
        capture(worker, answers.release, (Capture("act", "in.npz", "out.npz", 8),), lambda text: None)
        worker.unload()
        prove(worker, answers.release, answers.manifest, {}, lambda text: None)
    assert answers.asked == ["start", "Load", "Trace", "Load", "Capture", "Unload", "Load", "Parity"]


def test_nothing_is_started_before_it_is_needed(answers):
    with answers.worker as worker:
        worker.unload()
    assert not (answers.folder / "asked").exists()


def test_after_a_worker_that_died_another_is_started(answers):
    with answers.worker as worker:
        with pytest.raises(WorkerError, match="died during Probe"):
            worker.ask(Probe(), ProbeReply)
        assert worker.load(answers.release, {}) == loaded()
    assert answers.asked == ["start", "Probe", "start", "Load"]


def test_a_user_who_gives_up_leaves_no_process(answers):
    running = []

    def give_up(text):
        running.append(worker._process)
        if text.startswith("checking"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), answers.worker as worker:
        prove(worker, answers.release, answers.manifest, {}, give_up)
    assert not running[-1].alive


def test_a_worker_that_was_killed_on_purpose_says_so_now_and_later(answers, tmp_path):
    pipe = tmp_path / "Probe.ProbeReply"
    os.mkfifo(pipe)

    def kill():
        # The worker has opened its answer, and waits for it.
        with pipe.open("wb"):
            answers.worker.kill()

    killing = threading.Thread(target=kill, daemon=True)
    killing.start()
    with answers.worker as worker, pytest.raises(CancelledError):
        worker.ask(Probe(), ProbeReply)
    killing.join()
    with pytest.raises(CancelledError, match="the conversion was interrupted"):
        answers.worker.ask(Probe(), ProbeReply)
    assert answers.asked == ["start", "Probe"]
