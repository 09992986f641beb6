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
from edgectl_converters.toolchain import HOST
from edgectl_converters.workshop import Workshop
from edgectl_protos.codec.document import to_document
from edgectl_protos.domain.errors import OperatorError, ToolchainError

__all__ = ["Refused", "keep_refusal", "known_refusals"]


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a runtime does not take a checkpoint."""

    message: str


def keep_refusal(card: CheckpointCard, assignment: Assignment, workshop: Workshop, error: OperatorError) -> None:
    """Remember why a conversion to one runtime in one scheme was refused; of a mixture nobody knows whose it is."""
    runtime, scheme = assignment.runtime, assignment.scheme
    if runtime.named or scheme.named:
        return
    workshop.steps.make(
        _key(card, runtime.default, scheme.default, workshop),
        Refused,
        lambda _: Refused(error.message),
        kind="refused",
        subject=card.name,
        tool=str(assignment),
        weight=0,
    )


def known_refusals(card: CheckpointCard, workshop: Workshop) -> Mapping[tuple[str, str], str]:
    """What is remembered, by runtime and scheme."""
    found = {}
    for runtime in TARGETS:
        for scheme in target(runtime).schemes:
            try:
                step = workshop.steps.find(_key(card, runtime, scheme, workshop), Refused)
            except ToolchainError:
                # Without its packages nothing was tried with them.
                break
            if step is not None:
                found[runtime, scheme] = step.report.message
    return found


def _key(card: CheckpointCard, runtime: str, scheme: str, workshop: Workshop) -> str:
    chosen = target(runtime)
    chains = workshop.toolchains
    return key_of(
        step="refused",
        checkpoint=str(card.digest),
        declared=to_document(card.declared),
        runtime=runtime,
        scheme=scheme,
        code=workshop.code.digest(module_of(chosen)),
        lock=chains.host(chosen.packages).lock if chosen.toolchain == HOST else chains.lock_of(chosen.toolchain),
    )
