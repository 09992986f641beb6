"""The demo: conversions side by side on one device."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from edgectl_converters.assignment import Assignment
from edgectl_host.workflows.demo import DEMO_SCHEMES, find_example, run_demo
from edgectl_host.workflows.plan import Way
from edgectl_host.workflows.progress import silent
from edgectl_host.workflows.rollout import Rollout
from edgectl_protos.domain.errors import ParityError, UnreachableError, UsageError
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.run import Misses, Percentiles
from edgectl_testkit.fake_device import FakeDevice

WAYS = tuple(Assignment.of(runtime, scheme) for runtime in ("onnxrt", "openvino") for scheme in DEMO_SCHEMES)


@dataclass
class FakeSubject:
    """A bundle for each assignment; some are refused."""

    make_bundle: object
    refused: tuple[Assignment, ...] = ()
    made: list[Assignment] = field(default_factory=list)
    name: str = "press_pad"

    def way(self, device, facts):
        return Way("generic-x86_64", WAYS[0])

    def ways(self, device, facts, schemes):
        assert (device.board, tuple(schemes)) == ("generic-x86_64", DEMO_SCHEMES)
        assert facts is not None
        return WAYS

    def bundle(self, assignment, progress):
        self.made.append(assignment)
        if assignment in self.refused:
            raise ParityError(f"{assignment} is 0.4 off", hint="more footage")
        return self.make_bundle(str(assignment).replace(" ", "-"))


@pytest.fixture
def demo(make_bundle, bench):
    def run(fake: FakeDevice, refused=(), progress=silent):
        subject = FakeSubject(make_bundle, refused)
        devices = bench(fake)

        def rollout(convert, progress):
            return Rollout(
                connect=devices.connect,
                convert=convert,
                owner="me",
                measuring=LoopOverrides(),
                remember=lambda digest, manifest: None,
                record=lambda record: None,
                progress=progress,
            )

        return run_demo(
            subject, devices.devices[0], connect=devices.connect, rollout=rollout, progress=progress
        ), subject

    return run


def test_every_way_is_converted_once_and_run(demo):
    result, subject = demo(FakeDevice("local"))
    assert subject.made == list(WAYS)
    assert [way for way, _ in result.rows] == list(WAYS)
    assert [row.record.outcome for _, row in result.rows] == ["pass"] * 4


def test_the_best_is_the_passing_one_with_the_lowest_p95(demo):
    fake = FakeDevice("local")
    p95 = iter((0.010, 0.004, 0.006, 0.002))

    def change(summary):
        figures = Percentiles(500, p50=0.001, p95=next(p95))
        misses = Misses(99, 0.2, 9, 0) if figures.p95 == 0.002 else summary.misses
        return replace(summary, response=figures, misses=misses)

    fake.summary = change
    result, _ = demo(fake)
    assert result.best == WAYS[1]


def test_a_way_that_is_refused_costs_its_own_row(demo):
    refused = WAYS[3]
    result, _ = demo(FakeDevice("local"), refused=(refused,))
    rows = dict(result.rows)
    assert rows[refused].failure.reason == "parity_failed"
    assert sum(row.record is not None for row in rows.values()) == 3


def test_the_second_time_the_installed_one_needs_no_install(demo):
    fake = FakeDevice("local")
    demo(fake)
    created = fake.calls.count("create")
    result, _ = demo(fake)
    assert fake.calls.count("create") - created == 3
    assert dict(result.rows)[WAYS[-1]].install.already


def test_updates_are_told_by_what_runs(demo):
    updates = []
    demo(FakeDevice("local"), progress=updates.append)
    assert {str(way) for way in WAYS} == {update.subject for update in updates}


def test_a_device_that_does_not_answer_ends_the_demo(demo):
    with pytest.raises(UnreachableError):
        demo(FakeDevice("local", gone=True))


def test_when_none_holds_there_is_no_best(demo):
    result, _ = demo(FakeDevice("local"), refused=WAYS)
    assert result.best is None


def test_the_example_is_found_below_the_first_folder_that_has_it(tmp_path):
    policy = tmp_path / "b" / "examples" / "press_pad" / "policy"
    policy.mkdir(parents=True)
    (policy / "config.json").touch()
    assert find_example((tmp_path / "a", tmp_path / "b")) == policy.parent
    with pytest.raises(UsageError, match="is not here") as info:
        find_example((tmp_path / "a",))
    assert "--policy DIR" in info.value.hint
