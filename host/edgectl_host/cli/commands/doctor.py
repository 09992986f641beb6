"""`edgectl doctor`: what is here, what is missing, and the command that helps."""

from __future__ import annotations

import click

from edgectl_host.cli.loop import run_workflow
from edgectl_host.cli.options import json_option
from edgectl_host.cli.wiring import Wiring


@click.command("doctor")
@click.option("--measure", is_flag=True, help="Measure this machine's rates, which floors are computed from.")
@json_option
@click.pass_obj
def command(wiring: Wiring, measure: bool, json_mode: bool) -> None:
    """What is here, what is missing, and the command that helps. Without --measure it starts nothing."""
    from edgectl_host.cli.render.doctor import agent_finding, human_findings, json_findings
    from edgectl_host.workflows import doctor
    from edgectl_host.workflows.toolchains import list_toolchains

    console = wiring.console(json_mode=json_mode)
    config = wiring.config
    if measure:
        with console.progress() as progress:
            wiring.measure_rates(run_workflow(wiring.local_facts()), progress)
    with console.busy("doctor", "looking"):
        findings = [
            doctor.check_python(),
            *doctor.check_extras(),
            *doctor.check_toolchains(list_toolchains(wiring.toolchains())),
            agent_finding(run_workflow(wiring.local_agent().status())),
            doctor.check_board(wiring.generic_board()),
            doctor.check_rates(wiring.rates().here()),
            doctor.check_disk(config.cache_dir),
            doctor.check_fleet(wiring.inventory),
            doctor.check_runs(lambda: len(wiring.runs().list(limit=100)), config.runs_database),
        ]
    console.show(human_findings(findings))
    console.show_json(json_findings(findings))
    problem = any(finding.health is doctor.Health.PROBLEM for finding in findings)
    click.get_current_context().exit(1 if problem else 0)
