from __future__ import annotations

import sys

import pytest

from edgectl_converters.bundle import read_manifest
from edgectl_converters.gates import DeviceWorker, capture, prove
from edgectl_protos.codec.document import canonical_bytes
from edgectl_protos.domain.deployment import Failure, ParityFigure
from edgectl_protos.domain.device import ComponentFacts, RuntimeFacts
from edgectl_protos.domain.errors import NonFiniteError, OperatorError, ParityError, PrecisionError, WorkerError
from edgectl_protos.worker.messages import Capture, CaptureReply, Loaded, ParityReply, ProbeReply
from edgectl_testkit.bundles import tiny_bundle

WORKER = """
import os, sys
from pathlib import Path
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.worker.framing import read_frame, write_frame
from edgectl_protos.worker.messages import MESSAGES

requests, replies = os.fdopen(0, "rb"), os.fdopen(int(sys.argv[sys.argv.index("--reply-fd") + 1]), "wb")
while (request := read_frame(requests)) is not None:
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
        self.says(Load=loaded(), Parity=ParityReply((figure(),)))

    def says(self, **answers):
        for request, answer in answers.items():
            for old in self.folder.glob(f"{request}.*"):
                old.unlink()
            (self.folder / f"{request}.{type(answer).__name__}").write_bytes(canonical_bytes(answer))

    @property
    def worker(self):
        command = (sys.executable, str(self.folder / "worker.py"), str(self.folder))
        return DeviceWorker(command, {}, 1, 30.0)

    def prove(self):
        return prove(self.worker, self.release, self.folder / "log", self.manifest, lambda text: None)


def loaded(precision="fp32"):
    return Loaded((ComponentFacts("act", "reference", "1", "fp32", precision, "cpu"),), 0.1, 0.1)


def figure(passed=True, error=1.23456e-6, cosine=0.99999999):
    return ParityFigure("action", 3, 0.1, error, cosine, passed)


@pytest.fixture
def answers(tmp_path):
    return Answers(tmp_path)


def test_what_the_worker_measured_becomes_gates_in_figures_that_are_the_same_everywhere(answers):
    gates = answers.prove()
    assert [(gate.gate, gate.subject, gate.value, gate.passed, gate.pending) for gate in gates] == [
        ("precision", "act", 1.0, True, False),
        ("parity.max_abs_of_range", "action", 1.23e-6, True, False),
        ("parity.cosine", "action", 1.0, True, False),
    ]
    assert "read back from reference" in gates[0].note


def test_another_precision_than_asked_for_is_refused_with_what_it_is(answers):
    answers.says(Load=loaded("bf16"))
    with pytest.raises(PrecisionError, match="act: reference computes in bf16, fp32 was asked for"):
        answers.prove()


def test_parity_that_failed_is_refused_with_both_figures(answers):
    answers.says(Parity=ParityReply((figure(passed=False, error=0.5, cosine=0.1),)))
    with pytest.raises(ParityError, match=r"action differs by 5\.00e-01 .*1e-04.*0\.100000"):
        answers.prove()


def test_nothing_compared_proves_nothing(answers):
    answers.says(Parity=ParityReply(()))
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
        worker = DeviceWorker(command, {}, 1, 30.0)
        gates = prove(worker, answers.release, answers.folder / "log", answers.manifest, lambda text: None)
        assert pending(gates)


def test_a_worker_that_dies_is_an_error_and_no_pending_gate(answers):
    for file in answers.folder.glob("Parity.*"):
        file.unlink()
    with pytest.raises(WorkerError, match="died during Parity"):
        answers.prove()


def test_what_enters_components_is_captured_in_one_worker(answers):
    answers.says(Capture=CaptureReply(5))
    requests = tuple(Capture(name, "in.npz", f"{name}.npz", 8) for name in ("vision", "prefix"))
    said = []
    found = capture(answers.worker, answers.release, answers.folder / "log", requests, said.append)
    assert found == {"vision": 5, "prefix": 5}
    assert said == ["capturing what enters vision", "capturing what enters prefix"]
