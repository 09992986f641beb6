"""The record of what really ran where: `docs/proofs.json`, from which the README's support matrix is written.

An entry is made from the JSON of a deploy or a conversion, and from nothing else. The newest entry of a way stands.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgectl_profiles.library import load, names

__all__ = ["WORDS", "Proof", "built", "keep", "ran", "read"]

WORDS = ("hardware", "native", "emulated", "built", "planned")
"""How far a way has been proved, best first."""


@dataclass(frozen=True, slots=True, order=True)
class Proof:
    """One way that was gone. `run` is empty for an artifact that was only built."""

    board: str
    runtime: str
    scheme: str
    policy: str
    word: str
    release: str
    run: str
    date: str

    @property
    def way(self) -> tuple[str, str, str, str]:
        """What it proves."""
        return self.board, self.runtime, self.scheme, self.policy


def ran(device: dict[str, Any]) -> list[Proof]:
    """What a deploy proved on a device, from its entry in `edgectl deploy --json`.

    The board is the one that the device's own facts fit. `hardware` is a board that is recognised by its processor; any
    computer of an architecture is `native`. A stand-in proves nothing about the board it stands for.
    """
    summary = device["run"]["summary"]
    board = device["board"]
    if device["stand_in_for"] or summary["facts"]["stand_in_for"]:
        return []
    word = "hardware" if load(board).cpu else "native"
    return [
        Proof(
            board,
            runtime,
            scheme,
            _policy(device["run"]["manifest"]),
            word,
            summary["release"],
            summary["run_id"],
            _today(),
        )
        for runtime, scheme in _ways(device["run"]["manifest"])
    ]


def built(board: str, conversion: dict[str, Any]) -> list[Proof]:
    """What `edgectl convert --board BOARD --json` proved: an artifact was written, and its gates passed."""
    manifest = conversion["manifest"]
    return [
        Proof(board, runtime, scheme, _policy(manifest), "built", conversion["release"], "", _today())
        for runtime, scheme in _ways(manifest)
    ]


def read(path: Path) -> list[Proof]:
    """All entries; those of boards that are no more are left out."""
    entries = json.loads(path.read_text()) if path.exists() else []
    return [proof for proof in (Proof(**entry) for entry in entries) if proof.board in names()]


def keep(path: Path, proofs: list[Proof]) -> None:
    """With EDGECTL_WRITE_DOCS set, put entries into the record; else assert that it knows them, as good or better."""
    known = {proof.way: proof for proof in read(path)}
    if not os.environ.get("EDGECTL_WRITE_DOCS"):
        for proof in proofs:
            stands = known.get(proof.way)
            assert stands is not None, f"{proof.way} is not in {path.name}: EDGECTL_WRITE_DOCS=1 pytest records it"
            assert WORDS.index(stands.word) <= WORDS.index(proof.word), f"{proof.way} is {proof.word} by now"
        return
    for proof in proofs:
        stands = known.get(proof.way)
        if stands is None or WORDS.index(proof.word) <= WORDS.index(stands.word):
            known[proof.way] = proof
    lines = ",\n".join(f"  {json.dumps(asdict(proof))}" for proof in sorted(known.values()))
    path.write_text(f"[\n{lines}\n]\n")


def _ways(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted({(component["runtime"], component["scheme"]) for component in manifest["components"]})


def _policy(manifest: dict[str, Any]) -> str:
    return f"{manifest['policy']['type']} ({manifest['provenance']['source']})"


def _today() -> str:
    return time.strftime("%Y-%m-%d")
