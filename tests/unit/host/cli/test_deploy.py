"""`edgectl deploy` over devices in memory: what is printed, what is kept, and the exit code."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import ParityError
from edgectl_testkit.bundles import tiny_graph
from edgectl_testkit.fake_client import FakeClient
from edgectl_testkit.runs import with_misses


def test_deploy_on_one_device_prints_the_verdict_first(cli, bundle):
    result = cli("deploy", bundle)
    assert result.code == 0
    assert result.lines[0].startswith("PASS  2,100 ticks at 30 Hz · ")
    assert max(map(len, result.lines)) <= 100
    assert "installed on local (6." in result.lines[-1]
    assert "local: installed\n" in result.err
    assert cli.fakes["local"].deployments[0].owner.startswith("ada@")


def test_deploy_again_sends_nothing_and_runs_the_loop_again(cli, bundle):
    cli("deploy", bundle)
    received = cli.fakes["local"].received_bytes
    result = cli("deploy", bundle)
    assert "already installed on local: nothing was sent" in result.out
    assert cli.fakes["local"].received_bytes == received
    assert len(cli("runs", "--json").document["runs"]) == 2


def test_deploy_with_json_is_one_document_with_everything(cli, bundle):
    result = cli("deploy", bundle, "--json", "--measure", "3s", "--rate", "50Hz")
    device = result.document["devices"][0]
    assert (device["device"], device["outcome"], device["already_installed"]) == ("local", "pass", False)
    assert device["run"]["summary"]["loop"]["rate_hz"] == 50.0
    assert device["run"]["summary"]["loop"]["measure_s"] == 3.0
    assert device["run"]["manifest"]["name"] == "tiny"
    assert device["deployment"]["state"] == "committed"


@pytest.mark.parametrize(
    ("change", "code", "word"),
    [
        (lambda summary: with_misses(summary, 126), 1, "FAIL"),
        (lambda summary: with_misses(summary, 0, ticks=9), 3, "INCONCLUSIVE"),
    ],
)
def test_the_verdict_is_the_exit_code(cli, bundle, change, code, word):
    cli.fakes["local"].summary = change
    result = cli("deploy", bundle)
    assert result.code == code
    assert result.out.startswith(word)


def test_one_device_that_fails_ends_with_its_own_error(cli, bundle):
    cli.fakes["local"].fails_at = (State.PARITY, ParityError("action differs by 0.3", hint="look"))
    result = cli("deploy", bundle)
    assert result.code == 31
    assert result.out == ""
    assert "error[parity_failed]: action differs by 0.3 (not activated)\nhint: look\n" in result.err


def test_a_fleet_gets_a_row_each_and_partial_when_one_fails(cli, bundle):
    cli.fakes["nuc-2"].gone = True
    result = cli("deploy", bundle, "--fleet", "all")
    assert result.code == 4
    header, *rows = result.lines[:4]
    assert header.split() == ["verdict", "device", "board", "tick", "age", "misses", "replan", "runs", "on"]
    assert [row.split()[:2] for row in rows] == [["PASS", "nuc-1"], ["FAILED", "nuc-2"], ["PASS", "pi-1"]]
    assert "stand-in for" in rows[2]
    assert "raspberry-pi-5" in result.lines[4]
    assert max(map(len, result.lines)) <= 100
    assert "nuc-2: error[agent_unreachable]: the agent does not answer" in result.out
    assert "installed on nuc-1 (6." in result.out


def test_labels_and_limit_narrow_the_fleet(cli, bundle):
    result = cli("deploy", bundle, "--fleet", "all", "-l", "site=lab", "--limit", 1, "--json")
    assert [device["device"] for device in result.document["devices"]] == ["nuc-1"]


def test_dry_run_prints_the_plan_and_changes_nothing(cli, bundle):
    cli.fakes["nuc-2"].gone = True
    result = cli("deploy", bundle, "--fleet", "all", "--dry-run")
    assert result.code == 0
    assert "releases to make: reference fp32" in result.out
    assert "≤" in result.out
    assert all(not fake.deployments for fake in cli.fakes.values())
    assert max(map(len, result.lines)) <= 100
    plan = cli("deploy", bundle, "--fleet", "all", "--dry-run", "--json").document
    assert [row["failure"] is None for row in plan["devices"]] == [True, False, True]
    assert plan["devices"][2]["stand_in_for"] == "raspberry-pi-5"
    assert plan["devices"][0]["send_bytes"] > 0


def test_no_profile_installs_only(cli, bundle):
    result = cli("deploy", bundle, "--no-profile")
    assert result.code == 0
    assert result.lines == [result.lines[-1]]
    assert "create_run" not in cli.fakes["local"].calls


def test_an_unknown_fleet_is_refused_before_anything_is_read(cli, tmp_path):
    result = cli("deploy", tmp_path / "nothing", "--fleet", "nucz")
    assert result.code == 16
    assert "hint: did you mean --fleet nucs?" in result.err


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["/nothing/here"], 10, "checkpoint_invalid"),
        (["."], 11, "checkpoint_unknown"),
        (["BUNDLE", "--scheme", "int8"], 2, "usage"),
        (["BUNDLE", "--task", "push it"], 2, "usage"),
        (["GRAPH", "--scheme", "int 8"], 2, "usage"),
        (["GRAPH", "--scheme", "int8,bf16"], 2, "usage"),
        (["GRAPH", "--precision", "int8"], 2, "usage"),
        (["BUNDLE", "--measure", "20"], 2, "usage"),
        (["BUNDLE", "-l", "site="], 2, "usage"),
        (["BUNDLE", "-l", "a=b"], 16, "fleet_invalid"),
        (["BUNDLE", "--fleet-file", "nope.yaml"], 16, "fleet_invalid"),
        (["GRAPH", "--runtime", "tensorrt"], 20, "no_route"),
        (["GRAPH", "--scheme", "fp16"], 20, "no_route"),
    ],
)
def test_bad_arguments_have_a_reason_a_hint_and_a_code(cli, bundle, tmp_path, arguments, code, reason):
    graph = tmp_path / "tiny.onnx"
    graph.write_bytes(tiny_graph())
    names = {"BUNDLE": bundle, "GRAPH": graph}
    result = cli("deploy", *(names.get(argument, argument) for argument in arguments))
    assert result.code == code
    assert f"error[{reason}]: " in result.err
    assert "\nhint: " in result.err
    assert "Traceback" not in result.err
    assert not cli.fakes["local"].deployments


def test_a_component_that_the_policy_does_not_have_is_refused_with_those_that_it_has(cli, graph):
    result = cli("deploy", graph, "--scheme", "vision=int8")
    assert result.code == 2
    assert "no component 'vision'; it has: " in result.err


def test_a_bundle_with_a_flipped_bit_is_refused_before_any_device_is_asked(cli, bundle):
    blob = max((bundle / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    result = cli("deploy", bundle)
    assert result.code == 41
    assert cli.fakes["local"].calls == []


def test_a_bundle_with_a_path_that_leaves_it_is_refused(cli, bundle):
    manifest = bundle / "edgectl.bundle.json"
    document = json.loads(manifest.read_bytes())
    document["files"][0]["path"] = "../../etc/passwd"
    manifest.write_text(json.dumps(document))
    assert cli("deploy", bundle).code == 42


def test_a_run_that_cannot_be_kept_is_told_beside_its_figures(cli, bundle, home):
    cli("runs")
    (home.data_dir / "runs.db").write_bytes(b"no database" * 1000)
    result = cli("deploy", bundle)
    assert result.code == 64
    assert "error[runs_database]" in result.err


@pytest.fixture
def interruptible():
    """A shell starts its background jobs, and so perhaps these tests, with the interrupt ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt():
    """Ctrl-C, while a run measures that would go on for ever."""
    signal.raise_signal(signal.SIGINT)
    return asyncio.Event().wait()


def test_an_interrupt_half_way_is_130_and_the_second_run_goes_on(cli, bundle, interruptible):
    cli.fakes["local"].on_run = interrupt
    result = cli("deploy", bundle)
    assert (result.code, result.out) == (130, "")
    assert "interrupted" in result.err
    assert "Traceback" not in result.err
    assert cli.fakes["local"].open_clients == 0
    assert [going.run.failure.reason for going in cli.fakes["local"].runs.values()] == ["cancelled"]
    cli.fakes["local"].on_run = lambda: None
    again = cli("deploy", bundle)
    assert again.code == 0
    assert "already installed" in again.out


def test_a_second_interrupt_ends_it_at_once_whatever_the_device_does(cli, bundle, interruptible, monkeypatch):
    async def deaf(client, run_id):
        signal.raise_signal(signal.SIGINT)
        await asyncio.Event().wait()

    monkeypatch.setattr(FakeClient, "cancel_run", deaf)
    cli.fakes["local"].on_run = interrupt
    monkeypatch.setattr("edgectl_host.workflows.connections.LAST_WORD_S", 3600.0)
    result = cli("deploy", bundle)
    assert (result.code, result.out) == (130, "")


def test_a_deploy_s_dry_run_shows_the_conversion_too(cli, graph):
    document = cli("deploy", graph, "--dry-run", "--json").document
    assert document["conversions"][0]["steps"]
    assert document["devices"][0]["assignment"]["scheme"] == "fp32"
    assert "steps to do" in cli("deploy", graph, "--dry-run").out
