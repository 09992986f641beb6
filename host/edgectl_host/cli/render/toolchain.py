"""Toolchains: which are ready, which would be made on first use, and what is wrong with others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from edgectl_converters.toolchain import Toolchain
from edgectl_host.cli.render.layout import rows_table
from edgectl_host.workflows.toolchains import Listed
from edgectl_protos.codec.document import to_document

__all__ = ["human_toolchains", "json_toolchain", "json_toolchains", "toolchain_words"]

_LOCK_LENGTH = 12


def human_toolchains(toolchains: Sequence[Listed]) -> RenderableType:
    """One row each."""
    return rows_table(("toolchain", "lock", "what it is"), [_row(listed) for listed in toolchains])


def json_toolchains(toolchains: Sequence[Listed]) -> list[dict[str, Any]]:
    """One object each."""
    return [json_toolchain(listed) for listed in toolchains]


def json_toolchain(listed: Listed) -> dict[str, Any]:
    """A toolchain; without a lock it would have to be made."""
    chain = listed.chain
    return {
        "name": listed.name,
        "origin": chain.origin if chain else None,
        "python": str(chain.python) if chain and chain.lock else None,
        "lock": chain.lock or None if chain else None,
        "versions": chain.versions if chain else {},
        "failure": to_document(listed.failure),
    }


def toolchain_words(listed: Listed) -> str:
    """A toolchain in a line."""
    if listed.failure is not None:
        return f"toolchain {listed.name} · cannot be used: {listed.failure.message}"
    return f"toolchain {listed.name} · {_chain_words(listed.chain)}"


def _row(listed: Listed) -> tuple[RenderableType, ...]:
    chain, failure = listed.chain, listed.failure
    if failure is not None:
        return (listed.name, "–", Text(f"{failure.message}\n→ {failure.hint}", style="red"))
    lock = chain.lock[:_LOCK_LENGTH] if chain else ""
    return (listed.name, lock or "–", _chain_words(chain))


def _chain_words(chain: Toolchain | None) -> str:
    if chain is None:
        return "not known"
    versions = ", ".join(f"{name} {number}" for name, number in chain.versions.items() if number)
    return f"{chain.origin} · {versions}" if versions else chain.origin
