"""Operators that a runtime was seen not to know, by checkpoint and scheme: a way that was tried and did not lead there
is not offered again, until the tool, or edgectl's code for it, is another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgectl_converters.assignment import Assignment
from edgectl_converters.card import CheckpointCard
from edgectl_converters.plugins import module_of
from edgectl_converters.steps import key_of
from edgectl_converters.targets.registry import TARGETS, target
from edgectl_converters.workshop import Workshop
from edgectl_protos.codec.document import to_document
from edgectl_protos.domain.errors import OperatorError, ToolchainError

__all__ = ["Refused", "keep_refusal", "known_refusals"]


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a runtime does not take a checkpoint."""

    message: str


@dataclass(frozen=True, slots=True)
class _SomeRefused:
    """That there are refusals of a checkpoint: to look for each takes all locks, and there are seldom any."""


def keep_refusal(card: CheckpointCard, assignment: Assignment, workshop: Workshop, error: OperatorError) -> None:
    """Remember why a conversion to one runtime in one scheme was refused; of a mixture nobody knows whose it is."""
    runtime, scheme = assignment.runtime, assignment.scheme
    if runtime.named or scheme.named:
        return
    names = {"kind": "refused", "subject": card.name, "tool": str(assignment)}
    refused, some = Refused(error.message), _SomeRefused()
    key = _key(card, scheme.default, _tool(runtime.default, workshop))
    workshop.steps.make(key, Refused, lambda _: refused, weight=0, **names)
    workshop.steps.make(_some_key(card), _SomeRefused, lambda _: some, weight=0, **names)


def known_refusals(card: CheckpointCard, workshop: Workshop) -> Mapping[tuple[str, str], str]:
    """What is remembered, by runtime and scheme."""
    found: dict[tuple[str, str], str] = {}
    if workshop.steps.find(_some_key(card), _SomeRefused) is None:
        return found
    for runtime in TARGETS:
        try:
            tool = _tool(runtime, workshop)
        except ToolchainError:
            # Without its packages nothing was tried with them.
            continue
        for scheme in target(runtime).schemes:
            step = workshop.steps.find(_key(card, scheme, tool), Refused)
            if step is not None:
                found[runtime, scheme] = step.report.message
    return found


def _some_key(card: CheckpointCard) -> str:
    return key_of(step="some refused", checkpoint=str(card.digest), declared=to_document(card.declared))


def _key(card: CheckpointCard, scheme: str, tool: Mapping[str, str]) -> str:
    return key_of(
        step="refused", checkpoint=str(card.digest), declared=to_document(card.declared), scheme=scheme, **tool
    )


def _tool(runtime: str, workshop: Workshop) -> Mapping[str, str]:
    """What refused: a runtime's builder, edgectl's code for it, and the lock of its packages."""
    chosen = target(runtime)
    return {
        "runtime": runtime,
        "code": workshop.code.digest(module_of(chosen)),
        "lock": workshop.toolchains.lock_of(chosen.toolchain, chosen.packages),
    }
