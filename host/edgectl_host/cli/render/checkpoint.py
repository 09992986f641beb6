"""Checkpoints, and what conversions made of them."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgectl_host.cli.render.conversion import json_assignment, json_floors
from edgectl_host.cli.render.layout import facts_table, rows_table
from edgectl_host.cli.render.toolchain import json_toolchain, toolchain_words
from edgectl_host.quantities import bytes_words, time_words
from edgectl_host.workflows.bundle import Bundle
from edgectl_host.workflows.inspect import BoardWays, Inspection
from edgectl_profiles.schema import BoardProfile
from edgectl_protos.codec.document import to_document
from edgectl_protos.domain.artifact import TensorSpec
from edgectl_protos.domain.bundle import GateResult
from edgectl_protos.domain.policy import Feature, FeatureKind, Policy

__all__ = ["human_bundle", "human_card", "json_bundle", "json_card"]

_PARTIAL = "of rate and bandwidth one is not known"


def human_card(found: Inspection) -> RenderableType:
    """What a checkpoint is, what it needs, and the ways to boards."""
    card, policy = found.card, found.card.policy
    rows = [
        ("format", f"{card.source} · policy {policy.type}"),
        ("weights", f"{card.parameters / 1e6:.1f} M parameters · {bytes_words(card.size_bytes)}"),
        *(("observation", _feature_words(feature)) for feature in policy.observations),
        _action_row(policy),
        *(_history_row(policy)),
        ("components", " → ".join(card.components)),
        ("exported in", toolchain_words(found.toolchain)),
        ("digest", str(card.digest)),
        *(("note", note) for note in card.notes),
    ]
    title = Text.assemble((card.name, "bold"), f"  {card.path}")
    parts: list[RenderableType] = [title, facts_table(rows)]
    for ways in found.ways:
        parts += [Text(), _board_title(ways.board), _ways_table(ways)]
    return Group(*parts)


def json_card(found: Inspection) -> dict[str, Any]:
    """The card and the ways."""
    card = found.card
    return {
        "name": card.name,
        "path": str(card.path),
        "source": card.source,
        "parameters": card.parameters,
        "size_bytes": card.size_bytes,
        "components": list(card.components),
        "toolchain": json_toolchain(found.toolchain),
        "digest": str(card.digest),
        "notes": list(card.notes),
        "schemes": list(card.schemes),
        "declared": to_document(card.declared),
        "policy": to_document(card.policy),
        "ways": [_json_ways(ways) for ways in found.ways],
    }


def human_bundle(bundle: Bundle) -> RenderableType:
    """A conversion, with the figures of its gates."""
    done = "converted before" if bundle.cached else f"converted in {bundle.seconds:.1f} s"
    manifest = bundle.manifest
    title = Text.assemble((f"{manifest.name} {bundle.digest.short}", "bold"), f"  {bundle.assignment} · {done}")
    # In one piece, to be copied into the next command.
    place = Text(str(bundle.directory), no_wrap=True, overflow="ignore")
    gates = rows_table(
        ("gate", "of", "measured", "limit", "", "note"),
        [_gate_row(gate) for gate in manifest.gates],
        right=("measured", "limit"),
        wraps=("of",),
    )
    rows = [("release", str(bundle.digest)), ("size", bytes_words(manifest.size_bytes))]
    rows += [
        (
            f"component {component.name}" if len(manifest.components) > 1 else "component",
            f"{component.runtime} {component.scheme} · "
            f"{bytes_words(sum(entry.size_bytes for entry in manifest.files_of(component)))}",
        )
        for component in manifest.components
    ]
    rows += [("shapes", " · ".join(_port_words(spec) for c in manifest.components for spec in c.inputs))]
    if manifest.golden is not None:
        golden = manifest.golden
        rows += [("golden", f"{golden.count} cases, {golden.inputs_kind} inputs, by {golden.reference}")]
    rows += [
        (run.name, " · ".join(filter(None, (run.tool, _words(run.options), run.toolchain))))
        for run in manifest.provenance.tools
    ]
    return Group(title, place, facts_table(rows), Text(), gates)


def json_bundle(bundle: Bundle) -> dict[str, Any]:
    """A conversion."""
    return {
        "release": str(bundle.digest),
        "bundle": str(bundle.directory),
        "assignment": json_assignment(bundle.assignment),
        "cached": bundle.cached,
        "seconds": bundle.seconds,
        "manifest": to_document(bundle.manifest),
    }


def _board_title(board: BoardProfile) -> Text:
    """The board with its figures, as far as they are known."""
    figures = [f"{board.memory_gb:g} GB"] if board.memory_gb else []
    figures += [f"{board.memory_gb_per_s:g} GB/s"] if board.memory_gb_per_s else []
    figures += [
        f"{unit} {' '.join(f'{precision} {rate:g}' for precision, rate in rates.items())} T/s"
        for unit, rates in board.peaks.items()
    ]
    return Text.assemble("ways to ", (board.board, "bold"), f"  {' · '.join((board.title, *figures))}")


def _ways_table(ways: BoardWays) -> RenderableType:
    """The ways in their order, then those that do not lead there; several schemes of one runtime for one reason are one
    line.
    """
    rows: list[tuple[RenderableType, ...]] = [
        (
            str(index),
            str(route.assignment.runtime),
            str(route.assignment.scheme),
            bytes_words(route.disk_bytes),
            bytes_words(route.memory_bytes),
            time_words(ways.floor_s(route.assignment)),
            "; ".join((*route.notes, *([_PARTIAL] if ways.is_partial(route.assignment) else []))),
        )
        for index, route in enumerate(ways.plan.routes, 1)
    ]
    refused: dict[tuple[str, str], list[str]] = {}
    for other in ways.plan.rejected:
        refused.setdefault((str(other.assignment.runtime), other.reason), []).append(str(other.assignment.scheme))
    table = rows_table(
        ("way", "runtime", "scheme", "on disk", "in memory", "floor", "notes"),
        rows,
        right=("on disk", "in memory", "floor"),
    )
    if not refused:
        return table
    why = rows_table(
        ("no way", "scheme", "because"),
        [(runtime, " ".join(schemes), Text(reason, style="dim")) for (runtime, reason), schemes in refused.items()],
        wraps=("scheme",),
    )
    return Group(table, why) if rows else why


def _json_ways(ways: BoardWays) -> dict[str, Any]:
    return {
        "board": ways.board.board,
        "routes": [
            {
                "assignment": json_assignment(route.assignment),
                "disk_bytes": route.disk_bytes,
                "memory_bytes": route.memory_bytes,
                "floor_s": ways.floor_s(route.assignment),
                "floors": json_floors(ways.floors.get(route.assignment, ())),
                "notes": list(route.notes),
            }
            for route in ways.plan.routes
        ],
        "rejected": [
            {"assignment": json_assignment(other.assignment), "reason": other.reason} for other in ways.plan.rejected
        ],
    }


def _gate_row(gate: GateResult) -> tuple[RenderableType, ...]:
    if gate.pending:
        pending = Text("pending on the device", style="yellow")
        return (gate.gate, gate.subject, "–", f"{gate.limit:.3g}", pending, gate.note)
    word = Text("passed", style="green") if gate.passed else Text("FAILED", style="red")
    return (gate.gate, gate.subject, f"{gate.value:.3g}", f"{gate.limit:.3g}", word, gate.note)


def _history_row(policy: Policy) -> list[tuple[str, str]]:
    return [("history", f"{policy.history} observations, one a tick")] if policy.history > 1 else []


def _action_row(policy: Policy) -> tuple[str, str]:
    if policy.is_text:
        return "answer", f"{policy.action.name} · at most {policy.action.shape[0]}, greedy"
    return "action", f"{_feature_words(policy.action)}, {policy.n_action_steps} of {policy.chunk_size} a chunk"


def _feature_words(feature: Feature) -> str:
    if feature.kind is FeatureKind.LANGUAGE:
        return f"{feature.name} · an instruction: give it with --task TEXT"
    shape = "×".join(str(size) for size in feature.shape)
    return f"{feature.name} · {feature.kind.value.lower()} {feature.dtype.value} {shape}".rstrip()


def _port_words(spec: TensorSpec) -> str:
    return f"{spec.name} {'×'.join(map(str, spec.shape)) or 'scalar'}"


def _words(options: dict[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in options.items())
