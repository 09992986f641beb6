"""The demo: targets side by side on one device."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from edgectl_host.workflows.demo import DEMO_TARGETS, find_example, run_demo
from edgectl_host.workflows.progress import silent
from edgectl_host.workflows.release import Target
from edgectl_host.workflows.rollout import Rollout
from edgectl_protos.domain.artifact import Precision
from edgectl_protos.domain.errors import ParityError, UnreachableError, UsageError
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.run import Misses, Percentiles
from edgectl_testkit.fake_device import FakeDevice


@dataclass
class FakeSubject:
    """A release for each target; some targets are refused."""

    make_release: object
    refused: tuple[Target, ...] = ()
    made: list[Target] = field(default_factory=list)
    name: str = "press_pad"

    def release(self, target, progress):
        self.made.append(target)
        if target in self.refused:
            raise ParityError(f"{target} is 0.4 off", hint="more footage")
        return self.make_release(str(target).replace(" ", "-"))


@pytest.fixture
def demo(make_release, bench):
    def run(fake: FakeDevice, refused=(), steps=silent):
        subject = FakeSubject(make_release, refused)
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

        return run_demo(subject, devices.devices[0], connect=devices.connect, rollout=rollout, progress=steps), subject

    return run


def test_every_target_is_converted_once_and_run(demo):
    result, subject = demo(FakeDevice("local"))
    assert subject.made == list(DEMO_TARGETS)
    assert [target for target, _ in result.rows] == list(DEMO_TARGETS)
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
    assert result.best == Target("onnxrt", Precision.INT8)


def test_a_target_that_is_refused_costs_its_own_row(demo):
    refused = Target("openvino", Precision.INT8)
    result, _ = demo(FakeDevice("local"), refused=(refused,))
    rows = dict(result.rows)
    assert rows[refused].failure.reason == "parity_failed"
    assert sum(row.record is not None for row in rows.values()) == 3


def test_the_second_time_the_installed_target_needs_no_install(demo):
    fake = FakeDevice("local")
    demo(fake)
    created = fake.calls.count("create")
    result, _ = demo(fake)
    assert fake.calls.count("create") - created == 3
    assert dict(result.rows)[DEMO_TARGETS[-1]].install.already


def test_steps_are_told_by_target(demo):
    steps = []
    demo(FakeDevice("local"), steps=steps.append)
    assert {str(target) for target in DEMO_TARGETS} == {step.subject for step in steps}


def test_a_device_that_does_not_answer_ends_the_demo(demo):
    with pytest.raises(UnreachableError):
        demo(FakeDevice("local", gone=True))


def test_when_none_holds_there_is_no_best(demo):
    result, _ = demo(FakeDevice("local"), refused=DEMO_TARGETS)
    assert result.best is None


def test_the_example_is_found_below_the_first_folder_that_has_it(tmp_path):
    policy = tmp_path / "b" / "examples" / "press_pad" / "policy"
    policy.mkdir(parents=True)
    (policy / "config.json").touch()
    assert find_example((tmp_path / "a", tmp_path / "b")) == policy.parent
    with pytest.raises(UsageError, match="is not here") as info:
        find_example((tmp_path / "a",))
    assert "--policy DIR" in info.value.hint
