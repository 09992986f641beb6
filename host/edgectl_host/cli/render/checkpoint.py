"""Checkpoints, conversions and toolchains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgectl_converters.card import CheckpointCard
from edgectl_converters.route import RoutePlan
from edgectl_converters.toolchain import Toolchain
from edgectl_host.cli.render.layout import facts_table, rows_table
from edgectl_host.quantities import bytes_words
from edgectl_host.workflows.release import Release
from edgectl_protos.codec.document import to_document
from edgectl_protos.domain.loop import Feature

__all__ = [
    "human_card",
    "human_release",
    "human_toolchains",
    "json_card",
    "json_release",
    "json_toolchains",
]


def human_card(card: CheckpointCard, plan: RoutePlan) -> RenderableType:
    """What a checkpoint is, what it needs, and the ways to a board."""
    policy = card.policy
    rows = [
        ("format", f"{card.format} · policy {policy.type}"),
        ("weights", f"{card.parameters / 1e6:.1f} M parameters · {bytes_words(card.size_bytes)}"),
        *(("observation", _feature_words(feature)) for feature in policy.observations),
        ("action", f"{_feature_words(policy.action)}, {policy.n_action_steps} of {policy.chunk_size} a chunk"),
        ("processing", _processing_words(card)),
        ("exported by", "this environment" if card.toolchain == "host" else f"toolchain {card.toolchain}"),
        ("digest", str(card.digest)),
        *(("note", note) for note in card.notes),
    ]
    ways = rows_table(
        ("way", "runtime", "precision", "proof", "on disk", "in memory", "notes"),
        [
            *(
                (
                    str(index),
                    route.runtime,
                    route.precision.value,
                    route.proof,
                    bytes_words(route.disk_bytes),
                    bytes_words(route.memory_bytes),
                    "; ".join(route.notes),
                )
                for index, route in enumerate(plan.routes, 1)
            ),
            *(("–", r.runtime, r.precision.value, "", "", "", f"no: {r.reason}") for r in plan.rejected),
        ],
        right=("on disk", "in memory"),
    )
    title = Text.assemble((card.name, "bold"), f"  {card.path}")
    return Group(title, facts_table(rows), Text(), Text(f"ways to {plan.board}"), ways)


def json_card(card: CheckpointCard, plan: RoutePlan) -> dict[str, Any]:
    """The card and the ways."""
    return {
        "name": card.name,
        "path": str(card.path),
        "format": card.format,
        "parameters": card.parameters,
        "size_bytes": card.size_bytes,
        "toolchain": card.toolchain,
        "digest": str(card.digest),
        "notes": list(card.notes),
        "policy": to_document(card.policy),
        "ways": to_document(plan),
    }


def human_release(release: Release) -> RenderableType:
    """A conversion, with the figures of its gates."""
    done = "converted before" if release.cached else f"converted in {release.seconds:.1f} s"
    manifest = release.manifest
    title = Text.assemble(
        (f"{manifest.name} {release.digest.short}", "bold"), f"  {release.target} · {done} · ", str(release.directory)
    )
    gates = rows_table(
        ("gate", "of", "measured", "limit", "", "note"),
        [
            (
                gate.gate,
                gate.subject,
                f"{gate.value:.3g}",
                f"{gate.limit:.3g}",
                Text("passed", style="green") if gate.passed else Text("FAILED", style="red"),
                gate.note,
            )
            for gate in manifest.gates
        ],
        right=("measured", "limit"),
    )
    rows = [("release", str(release.digest)), ("size", bytes_words(manifest.size_bytes))]
    rows += [
        (step.name, f"{step.tool} · {_words(step.options)} · {step.toolchain}") for step in manifest.provenance.steps
    ]
    return Group(title, facts_table(rows), Text(), gates)


def json_release(release: Release) -> dict[str, Any]:
    """A conversion."""
    return {
        "release": str(release.digest),
        "bundle": str(release.directory),
        "cached": release.cached,
        "seconds": release.seconds,
        "manifest": to_document(release.manifest),
    }


def human_toolchains(toolchains: Sequence[Toolchain]) -> RenderableType:
    """One row each."""
    return rows_table(
        ("toolchain", "origin", "lock", "versions"),
        [(chain.name, chain.origin, chain.lock[:12] or "–", _words(chain.versions) or "–") for chain in toolchains],
        wraps=("origin",),
    )


def json_toolchains(toolchains: Sequence[Toolchain]) -> list[dict[str, Any]]:
    """One object each."""
    return [
        {
            "name": chain.name,
            "origin": chain.origin,
            "python": str(chain.python) if chain.lock else None,
            "lock": chain.lock or None,
            "versions": chain.versions,
        }
        for chain in toolchains
    ]


def _feature_words(feature: Feature) -> str:
    shape = "×".join(str(size) for size in feature.shape)
    return f"{feature.name} · {feature.kind.value.lower()} {feature.dtype.value} {shape}"


def _processing_words(card: CheckpointCard) -> str:
    steps = [f"{step.feature} {step.mode}" for step in (*card.policy.pre, *card.policy.post)]
    return ", ".join(steps) or "none"


def _words(options: dict[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in options.items())
