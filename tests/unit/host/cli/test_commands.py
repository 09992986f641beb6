"""Commands end to end over devices in memory: what is printed, what is kept, and the exit code."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from dataclasses import replace

import pytest
from onnx import TensorProto, helper

from edgectl_host.fleet.registry import Home, Registered, Registry
from edgectl_host.workflows.connections import LAST_WORD_S
from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import ParityError, SourceError
from edgectl_testkit.bundles import tiny_bundle, tiny_graph
from edgectl_testkit.fake_device import FakeClient
from edgectl_testkit.runs import with_misses


def lines(text: str) -> list[str]:
    return text.rstrip("\n").split("\n")


# --- deploy


def test_deploy_on_one_device_prints_the_verdict_first(cli, bundle):
    result = cli("deploy", bundle)
    assert result.code == 0
    assert lines(result.out)[0].startswith("PASS  2,100 ticks at 30 Hz · ")
    assert max(map(len, lines(result.out))) <= 100
    assert "installed on local (6." in lines(result.out)[-1]
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
    header, *rows = lines(result.out)[:4]
    assert header.split() == ["verdict", "device", "board", "tick", "age", "misses", "replan", "runs", "on"]
    assert [row.split()[:2] for row in rows] == [["PASS", "nuc-1"], ["FAILED", "nuc-2"], ["PASS", "pi-1"]]
    assert "stand-in for" in rows[2]
    assert "raspberry-pi-5" in lines(result.out)[4]
    assert max(map(len, lines(result.out))) <= 100
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
    assert max(map(len, lines(result.out))) <= 100
    plan = cli("deploy", bundle, "--fleet", "all", "--dry-run", "--json").document
    assert [row["failure"] is None for row in plan["devices"]] == [True, False, True]
    assert plan["devices"][2]["stand_in_for"] == "raspberry-pi-5"
    assert plan["devices"][0]["send_bytes"] > 0


def test_no_profile_installs_only(cli, bundle):
    result = cli("deploy", bundle, "--no-profile")
    assert result.code == 0
    assert lines(result.out) == [lines(result.out)[-1]]
    assert "run" not in cli.fakes["local"].calls


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


def interrupt():
    """Ctrl-C, while a run measures that would go on for ever."""
    signal.raise_signal(signal.SIGINT)
    return asyncio.Event().wait()


def test_an_interrupt_half_way_is_130_and_the_second_run_goes_on(cli, bundle):
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


def test_a_second_interrupt_ends_it_at_once_whatever_the_device_does(cli, bundle, monkeypatch):
    async def deaf(client, run_id):
        signal.raise_signal(signal.SIGINT)
        await asyncio.Event().wait()

    monkeypatch.setattr(FakeClient, "cancel_run", deaf)
    cli.fakes["local"].on_run = interrupt
    begun = time.perf_counter()
    result = cli("deploy", bundle)
    assert (result.code, result.out) == (130, "")
    assert time.perf_counter() - begun < LAST_WORD_S / 2


# --- profile, rollback, status


def test_profile_measures_what_is_installed(cli, bundle):
    cli("deploy", bundle, "--no-profile")
    result = cli("profile", "--mode", "closed", "--measure", "1s")
    assert result.code == 0
    assert result.out.startswith("CAPACITY  2,100 ticks closed")
    assert "checkpoint   sha256:" in result.out


def test_profile_of_nothing_says_so(cli):
    result = cli("profile")
    assert result.code == 57
    assert "edgectl deploy" in result.err


def test_profile_of_a_fleet_is_a_table_and_partial(cli, bundle):
    cli("deploy", bundle, "--fleet", "all", "--no-profile")
    cli.fakes["pi-1"].fails_run = SourceError("the video ended")
    result = cli("profile", "--fleet", "all")
    assert result.code == 4
    assert "pi-1: error[source_failed]: the video ended" in result.out
    assert max(map(len, lines(result.out))) <= 100
    document = cli("profile", "--fleet", "all", "--json").document
    assert [device["outcome"] for device in document["devices"]] == ["pass", "pass", None]


def test_a_run_that_ended_while_this_host_was_away_is_fetched_afterwards(cli, bundle):
    cli("deploy", bundle, "--no-profile")
    fake = cli.fakes["local"]
    fake.on_run = lambda: setattr(fake, "gone", True)
    lost = cli("profile", "--patience", "0s")
    assert lost.code == 51
    assert "goes on there" in lost.err
    assert lost.err.endswith("hint: when it answers again, fetch the run: edgectl runs --fleet local\n")
    assert cli("runs", "--json").document["runs"] == []
    fake.gone = False
    (run_id,) = fake.runs
    found = cli("runs", "--fleet", "local")
    assert found.code == 0
    assert f"local: fetched run {run_id}" in found.out
    assert "PASS" in found.out
    again = cli("runs", "--fleet", "local", "--json").document
    assert [row["id"] for row in again["runs"]] == [run_id]
    assert again["devices"][0]["fetched"] == []
    assert cli("report", run_id).out.startswith("PASS")


def test_runs_of_devices_that_do_not_answer_are_told_beside_the_others(cli, bundle):
    cli("deploy", bundle, "--fleet", "nucs")
    cli.fakes["nuc-2"].gone = True
    result = cli("runs", "--fleet", "nucs")
    assert result.code == 4
    assert "nuc-2: error[agent_unreachable]: " in result.out


def test_a_run_is_ended_by_its_id_and_the_one_that_waited_is_told(cli, bundle):
    cli("deploy", bundle, "--no-profile")
    cli("profile")
    (run_id,) = cli.fakes["local"].runs
    result = cli("runs", "cancel", run_id, "--fleet", "local")
    assert result.code == 0
    assert result.out.startswith(f"local: run {run_id} of ada@")
    assert " is done, begun " in result.out
    assert cli("runs", "cancel", "nothere").code == 56
    refused = cli("runs", "cancel", run_id, "--fleet", "nucs")
    assert refused.code == 2
    assert "nucs has 2 devices; a run is on one" in refused.err


def test_profile_fetches_samples_when_asked(cli, bundle, home):
    cli("deploy", bundle, "--no-profile")
    document = cli("profile", "--samples", "--json").document
    path = document["devices"][0]["run"]["samples_path"]
    assert path.startswith(str(home.samples_dir))


def test_rollback_says_what_runs_again(cli, tmp_path):
    for name in ("one", "two"):
        cli("deploy", tiny_bundle(tmp_path / name, name=name)[0], "--no-profile")
    result = cli("rollback")
    assert result.code == 0
    assert result.out.startswith("local  runs one ")
    assert cli("rollback").code == 57


def test_rollback_of_a_fleet_is_partial_when_one_cannot(cli, tmp_path):
    for name in ("one", "two"):
        cli("deploy", tiny_bundle(tmp_path / name, name=name)[0], "--no-profile", "--fleet", "nuc-1")
    result = cli("rollback", "--fleet", "nucs")
    assert result.code == 4
    assert "nuc-2: error[wrong_state]: " in result.out


def test_status_shows_each_device_and_who_does_not_answer(cli, bundle):
    cli("deploy", bundle, "--no-profile", "--fleet", "nucs")
    cli.fakes["pi-1"].gone = True
    result = cli("status", "--fleet", "all")
    assert result.code == 4
    assert "current   tiny " in result.out
    assert "pi-1: error[agent_unreachable]: " in result.out
    assert max(map(len, lines(result.out))) <= 100
    assert [device["failure"] is None for device in cli("status", "--fleet", "all", "--json").document] == [
        True, True, False,
    ]  # fmt: skip


def test_status_shows_a_failed_deployment_beside_what_still_runs(cli, tmp_path):
    cli("deploy", tiny_bundle(tmp_path / "one", name="one")[0], "--no-profile")
    cli.fakes["local"].fails_at = (State.PARITY, ParityError("differs"))
    cli("deploy", tiny_bundle(tmp_path / "two", name="two")[0], "--no-profile")
    out = cli("status").out
    assert "current          one " in out
    assert "last deployment  failed · two" in out


# --- compare


@pytest.fixture
def other(tmp_path):
    return tiny_bundle(tmp_path / "other", name="other")[0]


def test_compare_answers_first_and_its_exit_code_is_for_machines(cli, bundle, other):
    result = cli("compare", bundle, other)
    assert result.code == 0
    assert lines(result.out)[0].startswith("PASS  B against A on local: p50 the same, 1.00× (")
    assert "5 blocks each, in turns, 4.00 s at 30 Hz" in result.out
    assert "other reference fp32 stays installed on local; back: edgectl rollback" in result.out
    assert max(map(len, lines(result.out))) <= 100
    fake = cli.fakes["local"]
    fake.pace[fake.current] = 1.5
    slower = cli("compare", "previous", "installed", "--blocks", 6, "--measure", "1s", "--json")
    assert slower.code == 1
    assert slower.document["outcome"] == "fail"
    p50 = slower.document["ratios"][0]
    assert (p50["statistic"], p50["change"]) == ("p50", "slower")
    assert p50["low"] <= p50["ratio"] <= p50["high"]
    assert [len(slower.document[side]["blocks"]) for side in ("a", "b")] == [6, 6]


def test_compare_says_when_the_machine_did_not_stay_as_it_was(cli, bundle, other):
    count = iter(range(10))
    cli.fakes["local"].summary = lambda summary: replace(summary, threads=1 + next(count) // 5)
    result = cli("compare", bundle, other)
    assert result.code == 3
    assert "INCONCLUSIVE" in lines(result.out)[0]
    assert "no evidence: threads: 1, then 2" in result.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a",), "two are compared, not a"),
        (("a", "b", "c"), "two are compared, not a, b, c"),
        (("installed", "previous", "--fleet", "all"), "all has 3 devices"),
    ],
)
def test_compare_takes_two_on_one_device(cli, arguments, message):
    result = cli("compare", *arguments)
    assert result.code == 2
    assert message in result.err


# --- runs and reports


def test_runs_are_listed_shown_and_reported(cli, bundle):
    assert "no run is recorded yet" in cli("runs").out
    cli("deploy", bundle, "--fleet", "pi-1")
    table = cli("runs").out
    assert "PASS" in table
    assert "stand-in for raspberry-pi-5" in table
    run_id = cli("runs", "--json").document["runs"][0]["id"]
    cli.wiring.config = replace(cli.wiring.config, columns=80)
    narrow = cli("runs").out
    # An id that is cut off cannot be typed.
    assert run_id in narrow
    assert max(map(len, lines(narrow))) <= 80
    cli.wiring.config = replace(cli.wiring.config, columns=None)
    shown = cli("runs", "show", run_id[:6])
    assert shown.out.startswith("PASS  2,100 ticks")
    assert shown.out == cli("report", run_id).out == cli("report").out
    assert cli("report", "--format", "markdown").out.startswith("**PASS** 2,100 ticks")
    assert cli("report", "--format", "json").document == cli("runs", "show", "last", "--json").document


def test_an_unknown_run_is_refused(cli):
    result = cli("report", "zzz", "--json")
    assert result.code == 64
    assert result.document["error"]["reason"] == "runs_database"


# --- checkpoints


@pytest.fixture
def graph(tmp_path):
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny_graph())
    return path


def test_init_prints_a_loop_that_convert_takes(cli, graph, tmp_path):
    result = cli("init", graph)
    assert result.out.startswith("loop: v1\n")
    assert cli("init", graph, "-o", tmp_path / "loop.yaml").out == ""
    assert (tmp_path / "loop.yaml").read_text() == result.out
    again = cli("init", graph, "-o", tmp_path / "loop.yaml")
    assert again.code == 2
    assert "exists already" in again.err
    assert cli("init", graph, "--json").document["loop"]["rate_hz"] == 30.0


def test_inspect_shows_the_ways_to_a_board(cli, graph):
    result = cli("inspect", graph, "--board", "raspberry-pi-5")
    assert "ways to raspberry-pi-5" in result.out
    document = cli("inspect", graph, "--json").document
    assert document["source"] == "onnx"
    assert document["toolchain"]["name"] == "host"
    assert document["ways"][0]["routes"][0]["assignment"]["scheme"] == "fp32"
    assert cli("inspect", graph, "--board", "raspberry").code == 17


def test_inspect_shows_every_way_to_several_boards_with_the_reasons(cli, graph):
    result = cli("inspect", graph, "--for", "rpi5,pixel-9")
    assert result.code == 0, result.err
    assert result.out.index("ways to raspberry-pi-5") < result.out.index("ways to pixel-9")
    assert "is built from pt2" in result.out
    assert "does not list it" in " ".join(result.out.split())
    assert max(map(len, lines(result.out))) <= 100
    first, second = cli("inspect", graph, "--for", "rpi5,pixel-9", "--json").document["ways"]
    assert (first["board"], second["board"]) == ("raspberry-pi-5", "pixel-9")
    refused = {(way["assignment"]["runtime"], way["reason"]) for way in second["rejected"]}
    assert ("openvino", "no kernels there: the board pixel-9 does not list it") in refused


def test_a_size_that_a_graph_leaves_open_is_an_option(cli, tmp_path):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, "size"]) for name in ("x", "y")]
    made = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", values[:1], values[1:])
    graph = tmp_path / "open.onnx"
    graph.write_bytes(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    )
    refused = cli("inspect", graph)
    assert refused.code == 10
    assert "--shape x=1x3x16" in refused.err
    document = cli("inspect", graph, "--shape", "x=1x3x7", "--json").document
    assert document["declared"]["shapes"] == {"x": [1, 3, 7]}
    assert document["policy"]["observations"][0]["shape"] == [3, 7]


def test_a_truncated_graph_is_refused_with_its_reason(cli, tmp_path):
    graph = tmp_path / "tiny.onnx"
    graph.write_bytes(tiny_graph()[:200])
    result = cli("inspect", graph)
    assert result.code == 12
    assert "error[checkpoint_corrupt]" in result.err


def test_toolchains_are_listed_without_making_any(cli, home):
    chains = cli("toolchain", "list", "--json").document
    assert chains[0]["name"] == "host"
    assert all(chain["name"] and chain["origin"] for chain in chains)
    other = chains[1]["name"]
    assert cli("toolchain", "use", other, "--python", "/nope").code == 2
    result = cli("toolchain", "use", other, "--python", shutil.which("true"))
    assert result.code == 21
    assert "hint: " in result.err
    assert cli("toolchain", "forget", other).out == f"{other}: there was none of your own\n"
    assert not (home.cache_dir / "toolchains").exists()


@pytest.mark.parametrize("action", [("use", "nothing", "--python", "/bin/true"), ("make", "nothing")])
def test_a_toolchain_that_is_not_known_is_refused_with_those_that_are(cli, action):
    result = cli("toolchain", *action)
    assert result.code == 21
    assert "host" in result.err


def test_a_toolchain_is_chosen_by_its_python(cli):
    assert "--python" in cli("toolchain", "use", "host").err


# --- conversions


def test_the_plan_for_several_boards_has_each_conversion_once(cli, graph):
    result = cli("convert", graph, "--for", "rpi5,rk3588", "--dry-run")
    assert result.code == 0, result.err
    assert result.out.count("onnxrt fp32") >= 1
    assert "floors: known from the first export on" in result.out
    assert len(cli("convert", graph, "--for", "rpi5,rk3588", "--dry-run", "--json").document) == 1


def test_an_unknown_board_among_several_is_refused(cli, graph):
    result = cli("convert", graph, "--for", "rpi5,toaster")
    assert result.code == 17
    assert "toaster" in result.err


@pytest.mark.slow
def test_several_boards_are_converted_past_one_that_cannot_be(cli, graph, home, monkeypatch):
    monkeypatch.setenv("EDGECTL_HOME", str(home.cache_dir.parent))
    wanted = ("convert", graph, "--for", "rpi5,pixel-9,rk3588", "--runtime", "reference")
    result = cli(*wanted)
    assert result.code == 4
    assert lines(result.out)[0] == "2 of 3 boards, 1 bundles"
    assert "does not list it" in result.out
    rows = cli(*wanted, "--json").document
    assert [bool(row["release"]) for row in rows] == [True, False, True]
    assert rows[0]["release"] == rows[2]["release"]
    assert rows[0]["estimated_memory_bytes"] == 0
    assert rows[1]["failure"]["reason"] == "no_route"
    floors = cli(*wanted, "--dry-run", "--json").document[0]["floors"]
    assert floors["raspberry-pi-5"][0]["work"]["port_bytes"] > 0
    # What one board gets is what all get.
    one = cli("convert", graph, "--for", "rpi5", "--runtime", "reference", "--json").document
    assert (one["release"], one["cached"]) == (rows[0]["release"], True)


def test_the_plan_of_a_conversion_shows_its_steps_and_changes_nothing(cli, graph, home):
    result = cli("convert", graph, "--dry-run")
    assert result.code == 0, result.err
    assert lines(result.out)[1].split()[:4] == ["step", "of", "tool", "toolchain"]
    assert max(map(len, lines(result.out))) <= 100
    plan = cli("convert", graph, "--dry-run", "--json").document[0]
    assert plan["cached"] is False
    assert plan["assignment"]["scheme"] == "fp32"
    kinds = [step["kind"] for step in plan["steps"]]
    assert kinds.index("build") < kinds.index("bundle")
    assert not any(step["cached"] for step in plan["steps"])


def test_a_deploy_s_dry_run_shows_the_conversion_too(cli, graph):
    document = cli("deploy", graph, "--dry-run", "--json").document
    assert document["conversions"][0]["steps"]
    assert document["devices"][0]["assignment"]["scheme"] == "fp32"
    assert "steps to do" in cli("deploy", graph, "--dry-run").out


def test_the_cache_of_a_fresh_home_is_empty(cli):
    assert cli("cache").code == 0
    assert "empty" in cli("cache").out
    assert cli("cache", "--json").document["entries"] == []
    assert cli("cache", "trim", "--older-than", "30d", "--yes", "--json").document["removed"] == []


@pytest.mark.parametrize("options", [(), ("--older-than", "30"), ("--keep", "10"), ("--keep", "lots")])
def test_trimming_needs_to_be_told_what_to_keep(cli, options):
    result = cli("cache", "trim", *options, "--yes")
    assert result.code == 2
    assert "hint: " in result.err


# --- doctor and the embedded agent


def test_doctor_shows_what_is_here_and_starts_nothing(cli):
    result = cli("doctor")
    assert "local agent" in result.out
    assert "not running" in result.out
    assert "fleet.yaml·3devices" in "".join(result.out.split())
    assert max(map(len, lines(result.out))) <= 100
    assert {check["health"] for check in cli("doctor", "--json").document} <= {"ok", "absent", "problem"}


def test_doctor_knows_the_devices_that_were_added_too(cli, home):
    place = Home("nuc-9", (), "/opt/edgectl", "/var/lib/edgectl", "/run/edgectl/agent.sock", "system")
    Registry(home.config_dir).put(Registered("nuc-9", ("tls:nuc-9",), "ab" * 16, "generic-x86_64", place))
    with open("fleet.yaml", "a") as file:
        file.write("  everywhere: [nuc-1, nuc-9]\n")
    (fleet,) = (found for found in cli("doctor", "--json").document if found["subject"] == "fleet")
    assert (fleet["health"], fleet["detail"].split(" · ")[1]) == ("ok", "4 devices")


def test_doctor_tells_a_broken_fleet_file(cli):
    with open("fleet.yaml", "a") as file:
        file.write("device: {}\n")
    result = cli("doctor")
    assert result.code == 1
    assert "unknown key; known: devices, groups" in " ".join(result.out.split())


def test_the_agent_is_stopped_or_looked_for_without_starting_it(cli):
    assert "not running" in cli("agent", "status").out
    assert cli("agent", "stop", "--json").document["running"] is False


# --- demo


def test_demo_of_a_bundle_is_one_row_with_nothing_to_compare_it_with(cli, bundle):
    result = cli("demo", "--policy", bundle)
    assert result.code == 0
    assert lines(result.out)[1].split()[:4] == ["PASS", "reference", "fp32", "10.0"]
    assert "there is nothing to compare it with" in result.out
    assert "5 blocks of 2.50 s each, in turns, at 30 Hz" in result.out
    document = cli("demo", "--policy", bundle, "--measure", "10s", "--json").document
    (row,) = document["rows"]
    assert (document["fastest"], row["name"], row["outcome"]) == ("reference fp32", "reference fp32", "pass")
    assert [block["summary"]["loop"]["measure_s"] for block in row["blocks"]] == [2.0] * 5
    assert row["block_medians_s"] == pytest.approx([0.01] * 5, rel=0.01)


def test_a_demo_in_which_none_holds_fails(cli, bundle):
    cli.fakes["local"].summary = lambda summary: with_misses(summary, 199)
    result = cli("demo", "--policy", bundle)
    assert result.code == 1
    assert "none of them holds its deadlines here" in result.out
