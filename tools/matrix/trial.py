"""Takes a subject one way, as a user would: deployed on this machine where that goes, else converted for every board
that has the way. What is kept is what the commands' JSON says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from record import Entry
from subjects import Subject

from edgectl_converters.bundle import read_manifest
from edgectl_host.workflows.proof import Proof, proof_of
from edgectl_profiles.library import load, names
from edgectl_protos.domain.bundle import Manifest

_MEASURE = "1s"
_TIMEOUT_S = 1800
_RAN = (0, 1, 3)
"""Exit codes of a deploy that ran: whether it holds its rate here is not the question."""


class Trials:
    """Runs edgectl with a home of its own; `board` is the kind that this machine is."""

    def __init__(self, home: Path, board: str) -> None:
        self._environment = {**os.environ, "EDGECTL_HOME": str(home)}
        self._board = board

    def close(self) -> None:
        """End the home's agent."""
        self._edgectl("agent", "stop", "--json")

    def run(self, subject: Subject, runtime: str, scheme: str) -> list[Entry]:
        """What this way proves, board by board."""
        boards = [name for name in names() if _lists(name, runtime, scheme)]
        wanted = [str(subject.path), *subject.arguments, "--runtime", runtime, "--scheme", scheme]
        found = []
        if self._board in boards:
            here = self._deployed(subject, runtime, scheme, wanted)
            if here.word != "refused":
                boards.remove(self._board)
                found.append(here)
        return [*found, *self._converted(subject, runtime, scheme, wanted, boards)]

    def _deployed(self, subject: Subject, runtime: str, scheme: str, wanted: Sequence[str]) -> Entry:
        code, document = self._edgectl("deploy", *wanted, "--measure", _MEASURE, "--json")
        if code not in _RAN or "devices" not in document or not document["devices"][0]["run"]:
            return _refused(subject, self._board, runtime, scheme, document)
        device = document["devices"][0]
        deployment, run = device["deployment"], device["run"]
        components = deployment["components"]
        simulated = any(component.get("simulated") for component in components)
        word = "emulated" if simulated else "hardware" if load(device["board"]).cpu else "native"
        figures = deployment["parity"]["figures"] if deployment["parity"] else []
        shares = [figure["value"] / figure["limit"] for figure in figures if figure.get("limit")]
        return Entry(
            subject=subject.name,
            board=device["board"],
            runtime=runtime,
            scheme=scheme,
            word=word,
            precision=" ".join(dict.fromkeys(component["precision"] for component in components)),
            parity=_rounded(max(shares)) if shares else None,
            size_bytes=_artifact_bytes(Path(device["bundle"])),
            memory_bytes=run["summary"]["peak_rss_bytes"],
            release=run["summary"]["release"],
            run=run["summary"]["run_id"],
            reason="",
            date=_today(),
        )

    def _converted(
        self, subject: Subject, runtime: str, scheme: str, wanted: Sequence[str], boards: Sequence[str]
    ) -> list[Entry]:
        if not boards:
            return []
        _, document = self._edgectl("convert", *wanted, "--for", ",".join(boards), "--json")
        if isinstance(document, dict):
            # One board: the bundle, or the error.
            failed = document.get("error")
            document = [{"board": load(boards[0]).board, "bundle": document.get("bundle"), "failure": failed}]
        return [
            _built(subject, row["board"], runtime, scheme, Path(row["bundle"]))
            if row["bundle"]
            else _refused(subject, row["board"], runtime, scheme, {"error": row["failure"] or {}})
            for row in document
        ]

    def _edgectl(self, *arguments: str) -> tuple[int, Any]:
        command = [str(Path(sys.executable).with_name("edgectl")), *arguments]
        try:
            done = subprocess.run(
                command, env=self._environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return 1, {"error": {"reason": "timed_out", "message": f"no answer within {_TIMEOUT_S} s"}}
        try:
            return done.returncode, json.loads(done.stdout)
        except ValueError:
            return done.returncode, {"error": {"reason": "internal", "message": done.stderr.strip()[-200:]}}


def _lists(board: str, runtime: str, scheme: str) -> bool:
    entry = load(board).runtime(runtime)
    return entry is not None and scheme in entry.schemes


def _built(subject: Subject, board: str, runtime: str, scheme: str, bundle: Path) -> Entry:
    """What a conversion proves: not that it runs on the board, also where it ran on this kind of processor."""
    manifest, _ = read_manifest(bundle)
    proof = proof_of(manifest, board)
    judged = [gate for gate in manifest.gates if gate.gate.startswith("parity.") and gate.limit and not gate.pending]
    read_back = [gate.note.split(" ", 1)[0] for gate in manifest.gates if gate.gate == "precision" and not gate.pending]
    return Entry(
        subject=subject.name,
        board=board,
        runtime=runtime,
        scheme=scheme,
        word=(Proof.BUILT if proof is Proof.NATIVE else proof).value,
        precision=" ".join(dict.fromkeys(read_back)),
        parity=_rounded(max(gate.value / gate.limit for gate in judged)) if judged else None,
        size_bytes=_artifacts(manifest),
        memory_bytes=0,
        release=_release(bundle),
        run="",
        reason=next((gate.note for gate in manifest.gates if gate.pending), ""),
        date=_today(),
    )


def _refused(subject: Subject, board: str, runtime: str, scheme: str, document: Any) -> Entry:
    failure = document.get("error") or next((row["failure"] for row in document.get("devices", ())), None) or {}
    reason = f"{failure.get('reason', 'internal')}: {failure.get('message', 'no answer')}"
    return Entry(subject.name, board, runtime, scheme, "refused", "", None, 0, 0, "", "", reason, _today())


def _release(bundle: Path) -> str:
    import hashlib

    return f"sha256:{hashlib.sha256(read_manifest(bundle)[1]).hexdigest()}"


def _artifact_bytes(bundle: Path) -> int:
    return _artifacts(read_manifest(bundle)[0])


def _artifacts(manifest: Manifest) -> int:
    """Bytes of what runtimes open; footage and golden cases are no part of it."""
    return sum(file.size_bytes for component in manifest.components for file in manifest.files_of(component))


def _rounded(share: float) -> float:
    return float(f"{share:.3g}")


def _today() -> str:
    return time.strftime("%Y-%m-%d")
