"""Devices: what one would get, what came of adding it, and the list of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgectl_host.cli.render.layout import facts_table, rows_table
from edgectl_host.provision.plan import Plan
from edgectl_host.provision.survey import Survey
from edgectl_host.quantities import bytes_words
from edgectl_host.workflows.add_device import Added
from edgectl_host.workflows.ask import Answer
from edgectl_host.workflows.keep_device import Listed, Updated
from edgectl_protos.codec.document import to_document
from edgectl_protos.domain.device import DeviceFacts

__all__ = ["human_added", "human_devices", "human_plan", "human_updated", "json_added", "json_devices", "json_plan"]


def human_plan(survey: Survey, plan: Plan) -> RenderableType:
    """What would be put where."""
    size = bytes_words(sum(wheel.size_bytes for wheel in plan.all_wheels))
    rows = [
        *_machine_rows(survey, plan),
        ("agent", f"{plan.version} in {plan.home.prefix}, with {plan.python}"),
        ("state", plan.home.state_dir),
        ("service", f"{plan.home.service}: {plan.why}"),
        ("runtimes", _runtime_words(plan)),
        ("wheels", f"{len(plan.all_wheels)}, {size} at most"),
        ("dialled at", " · ".join(plan.addresses)),
    ]
    return Group(_title(plan), facts_table(rows))


def json_plan(survey: Survey, plan: Plan) -> dict[str, Any]:
    """The same as one object."""
    return {
        "name": plan.name,
        "board": plan.board,
        "survey": to_document(survey),
        "home": to_document(plan.home),
        "python": to_document(plan.python),
        "runtimes": list(plan.runtimes),
        "refused": dict(plan.refused),
        "version": plan.version,
        "wheels": [wheel.name for wheel in plan.all_wheels],
        "addresses": list(plan.addresses),
    }


def human_added(added: Added) -> RenderableType:
    """What it is, what it can run and what not, and what a person should know."""
    plan, facts = added.plan, added.facts
    rows = _machine_rows(added.survey, plan)
    rows.append(("agent", f"{plan.version} · {plan.home.service}: {plan.why}"))
    if facts is not None:
        runs = [f"{one.name} {one.version} ({' '.join(one.precisions)})" for one in facts.runtimes if not one.problem]
        rows.append(("runs", " · ".join(runs) or "nothing: no runtime works there"))
        asked = {*plan.runtimes, *plan.refused}
        broken = {one.name: one.problem for one in facts.runtimes if one.problem and one.name in asked}
    else:
        broken = {}
    rows += [("not", f"{name}: {why}") for name, why in {**plan.refused, **broken}.items()]
    total = sum(added.seconds.values())
    rows.append(("took", f"{total:.0f} s: " + ", ".join(f"{name} {s:.0f}" for name, s in added.seconds.items())))
    rows += [("note", note) for note in added.notes]
    state = ("online", "green") if added.hello else ("installed, not reached", "yellow")
    title = Text.assemble((plan.name, "bold"), "  ", (plan.board, "cyan"), "  ", state)
    return Group(title, facts_table(rows))


def json_added(added: Added) -> dict[str, Any]:
    """The same as one object."""
    return {
        **json_plan(added.survey, added.plan),
        "identity": added.registered.identity,
        "labels": dict(added.registered.labels),
        "hello": to_document(added.hello),
        "facts": to_document(added.facts),
        "notes": list(added.notes),
        "seconds": dict(added.seconds),
    }


def human_devices(answers: Sequence[Answer[Listed]]) -> RenderableType:
    """A line for each device; what does not answer says why."""
    if not answers:
        return Text("no devices: edgectl device add USER@HOST")
    rows: list[list[str | Text]] = []
    for answer in answers:
        listed = answer.value
        if listed is None:
            why = answer.failure.reason if answer.failure else ""
            rows.append([answer.device.name, answer.device.board, "", "", "", Text(f"offline: {why}", style="red")])
            continue
        facts = listed.facts
        rows.append(
            [
                answer.device.name,
                facts.stand_in_for or facts.board,
                _system_words(facts),
                _versions_words(facts),
                listed.hello.agent_version,
                Text("online", style="green"),
            ]
        )
    columns = ("device", "board", "system", "runtimes", "agent", "state")
    return rows_table(columns, [list(map(_cell, row)) for row in rows], wraps=("system", "runtimes"))


def json_devices(answers: Sequence[Answer[Listed]]) -> list[dict[str, Any]]:
    """One object for each device."""
    return [
        {
            "device": answer.device.name,
            "addresses": list(answer.device.addresses),
            "identity": answer.device.identity,
            "labels": dict(answer.device.labels),
            "online": answer.value is not None,
            "hello": to_document(answer.value.hello) if answer.value else None,
            "facts": to_document(answer.value.facts) if answer.value else None,
            "failure": to_document(answer.failure),
        }
        for answer in answers
    ]


def human_updated(updated: Updated) -> RenderableType:
    """Whether the new agent answers, or which one was put back."""
    if updated.back:
        return Text.assemble(
            (updated.name, "bold"),
            (f"  {updated.after} did not answer; {updated.before} was put back\n", "red"),
            f"its last words: {updated.back}",
        )
    if updated.before == updated.after:
        return Text.assemble((updated.name, "bold"), f"  has {updated.after} already")
    return Text.assemble((updated.name, "bold"), f"  {updated.before} → {updated.after}")


def _title(plan: Plan) -> Text:
    return Text.assemble((plan.name, "bold"), "  ", (plan.board, "cyan"), "  ", ("planned", "dim"))


def _machine_rows(survey: Survey, plan: Plan) -> list[tuple[str, str]]:
    words = [survey.board or survey.cpu, survey.arch, survey.os, str(survey.libc or ""), survey.jetpack_words]
    return [("machine", " · ".join(filter(None, words)))]


def _runtime_words(plan: Plan) -> str:
    seats = {seat.runtime: f" over {seat.python}" for seat in plan.seats}
    words = [f"{runtime}{seats.get(runtime, '')}" for runtime in plan.runtimes]
    words += [f"not {name}: {why}" for name, why in plan.refused.items()]
    return " · ".join(words) or "none"


def _system_words(facts: DeviceFacts) -> str:
    return facts.os.replace(" GNU/Linux", "").partition(" (")[0]


def _versions_words(facts: DeviceFacts) -> str:
    return " ".join(f"{one.name} {one.version}" for one in facts.runtimes if not one.problem) or "none works"


def _cell(value: str | Text) -> Text:
    return value if isinstance(value, Text) else Text(value)
