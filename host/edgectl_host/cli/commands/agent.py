"""`edgectl agent`: the embedded agent of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgectl_host.cli.loop import run_workflow
from edgectl_host.cli.options import json_option
from edgectl_host.cli.wiring import Wiring

if TYPE_CHECKING:
    from edgectl_host.transport.local import AgentStatus, LocalAgent


@click.group("agent")
def command() -> None:
    """The embedded agent of this machine; --fleet local starts it by itself, and it keeps running."""


@command.command("start")
@json_option
@click.pass_obj
def start(wiring: Wiring, json_mode: bool) -> None:
    """Start it, if it does not run."""
    agent = wiring.local_agent()
    with wiring.console(json_mode=json_mode).busy("agent", "starting"):
        status = run_workflow(_started(agent))
    _show(wiring, status, json_mode)


@command.command("stop")
@json_option
@click.pass_obj
def stop(wiring: Wiring, json_mode: bool) -> None:
    """End it. What is installed stays, and runs again at the next start."""
    agent = wiring.local_agent()
    with wiring.console(json_mode=json_mode).busy("agent", "ending"):
        status = run_workflow(_stopped(agent))
    _show(wiring, status, json_mode)


@command.command("status")
@json_option
@click.pass_obj
def status(wiring: Wiring, json_mode: bool) -> None:
    """Whether it runs, and where its state and log are."""
    _show(wiring, run_workflow(wiring.local_agent().status()), json_mode)


async def _started(agent: LocalAgent) -> AgentStatus:
    await (await agent.ensure_running()).close()
    return await agent.status()


async def _stopped(agent: LocalAgent) -> AgentStatus:
    await agent.stop()
    return await agent.status()


def _show(wiring: Wiring, status: AgentStatus, json_mode: bool) -> None:
    from edgectl_host.cli.render.doctor import human_agent, json_agent

    console = wiring.console(json_mode=json_mode)
    console.show(human_agent(status))
    console.show_json(json_agent(status))
