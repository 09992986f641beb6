"""Trust: what was issued, what became of a revocation or a renewal, and audit logs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from edgectl_host.cli.render.layout import facts_table, human_failures, rows_table
from edgectl_host.trust.authority import Authority, Grant
from edgectl_host.trust.folder import Credentials, TrustFolder
from edgectl_host.trust.invitation import Enrolled
from edgectl_host.trust.register import Holding, Member, members_of
from edgectl_host.trust.upkeep import Kept
from edgectl_host.workflows.ask import Answer
from edgectl_host.workflows.trust import Log
from edgectl_protos.codec.document import to_document
from edgectl_protos.domain.address import DEFAULT_PORT, TlsAddress
from edgectl_protos.domain.trust import ReleaseKey, Role

__all__ = [
    "human_enrolled",
    "human_grant",
    "human_logs",
    "human_own",
    "human_release_key",
    "human_renewed",
    "human_revoked",
    "human_trust",
    "json_enrolled",
    "json_grant",
    "json_logs",
    "json_own",
    "json_release_key",
    "json_revoked",
    "json_told",
    "json_trust",
]


def human_own(folder: TrustFolder, authority: Authority | None) -> RenderableType:
    """This host's place in its fleet."""
    own = folder.credentials()
    rows = [("this host", f"{own.name}, {own.role.value}, until {_day(own.expires_s)}"), ("folder", str(folder.path))]
    if authority is not None:
        key = "under a passphrase" if authority.encrypted else "without a passphrase"
        rows += [
            ("authority", f"{authority.fingerprint}, its key {key}"),
            ("release key", _key_words(authority.releases.current)),
        ]
    return facts_table(rows)


def json_own(folder: TrustFolder, authority: Authority | None) -> dict[str, Any]:
    """This host's place in its fleet; no private key."""
    own = folder.credentials()
    return {
        "own": {"name": own.name, "role": own.role.value, "expires_s": own.expires_s},
        "folder": str(folder.path),
        "authority": None
        if authority is None
        else {
            "fingerprint": authority.fingerprint,
            "encrypted": authority.encrypted,
            "release_key": to_document(authority.releases.current),
        },
    }


def human_trust(folder: TrustFolder, authority: Authority | None) -> RenderableType:
    """This host, and a row for each member of the fleet."""
    own = human_own(folder, authority)
    if authority is None:
        return Group(own, Text(), Text("what was issued is known to the host that has the authority"))
    now_s = time.time()
    table = rows_table(
        ("name", "role", "issued", "until", "now", "certificates", "device"),
        [_row(member, now_s) for member in members_of(authority.register.all(), now_s)],
    )
    return Group(own, Text(), table)


def _row(member: Member, now_s: float) -> tuple[str, ...]:
    own = member.holding
    count = f"{member.issued}, {member.revoked} revoked" if member.revoked else str(member.issued)
    return own.name, own.role, _day(own.issued_s), _day(own.expires_s), _standing(own, now_s), count, own.identity


def json_trust(folder: TrustFolder, authority: Authority | None) -> dict[str, Any]:
    """This host, and one object for each certificate."""
    holdings = authority.register.all() if authority is not None else ()
    return {
        **json_own(folder, authority),
        "revocation_epoch": authority.epoch() if authority is not None else None,
        "issued": [to_document(each) for each in holdings],
    }


def human_grant(grant: Grant, path: Path) -> RenderableType:
    """What to do with the file."""
    own = grant.own
    return Text(
        f"{own.name}, {own.role.value}, until {_day(own.expires_s)}: {path}\n"
        f"it holds a private key; its operator takes it over by: edgectl trust join {path.name}"
    )


def json_grant(grant: Grant, path: Path) -> dict[str, Any]:
    """What was granted; no private key."""
    own = grant.own
    return {"name": own.name, "role": own.role.value, "expires_s": own.expires_s, "file": str(path)}


def human_revoked(name: str, revoked: Sequence[Holding], told: Sequence[Answer[Kept]]) -> RenderableType:
    """What is worth nothing any more, and who knows it."""
    count = "1 certificate is" if len(revoked) == 1 else f"{len(revoked)} certificates are"
    parts: list[RenderableType] = [Text(f"{name}: {count} worth nothing any more")]
    if any(not each.is_device and Role(each.role).may(Role.DEPLOY) for each in revoked):
        parts.append(Text("it had the key that signs releases; replace it: edgectl trust rotate-key"))
    return Group(*parts, *_told(told))


def json_revoked(name: str, revoked: Sequence[Holding], told: Sequence[Answer[Kept]]) -> dict[str, Any]:
    """The same."""
    return {"name": name, "revoked": [to_document(each) for each in revoked], "devices": json_told(told)}


def human_renewed(own: Credentials, told: Sequence[Answer[Kept]]) -> RenderableType:
    """This host, and a line for each device."""
    return Group(Text(f"{own.name}, this host: until {_day(own.expires_s)}"), *_told(told))


def _told(told: Sequence[Answer[Kept]]) -> list[RenderableType]:
    """A line for each device, and what went wrong."""
    lines: list[RenderableType] = []
    for answer in told:
        if answer.value is not None:
            flags = (("revocations", answer.value.revoked), ("certificate", answer.value.renewed))
            done = [word for word, flag in flags if flag]
            lines.append(Text(f"{answer.device.name}: {'new ' + ' and '.join(done) if done else 'up to date'}"))
    return [*lines, *_failures(told)]


def _failures(answers: Sequence[Answer[Any]]) -> list[RenderableType]:
    failed = human_failures([(answer.device.name, answer.failure) for answer in answers])
    return [failed] if failed else []


def json_told(told: Sequence[Answer[Kept]]) -> list[dict[str, Any]]:
    """One object for each device."""
    return [
        {"device": answer.device.name, "kept": to_document(answer.value), "failure": to_document(answer.failure)}
        for answer in told
    ]


def human_release_key(key: ReleaseKey) -> RenderableType:
    """The key in use."""
    return Text(
        f"release key {_key_words(key)}; operators who deploy need it too: edgectl trust issue NAME --role deploy"
    )


def json_release_key(key: ReleaseKey) -> dict[str, Any]:
    """The key in use."""
    document: dict[str, Any] = to_document(key)
    return document


def human_logs(logs: Sequence[Answer[Log]], last: int) -> RenderableType:
    """The newest lines of each device."""
    parts: list[RenderableType] = []
    for answer in logs:
        if answer.value is None:
            continue
        entries = answer.value.entries
        shown = entries[-last:]
        parts.append(Text(f"{answer.device.name}: {len(entries)} lines, whole; the last {len(shown)}", style="bold"))
        parts.append(
            rows_table(
                ("", "when", "who", "what"),
                [
                    (
                        str(entry.number),
                        _moment(entry.at_s),
                        f"{entry.caller} {entry.role}".strip() or "-",
                        f"{entry.event}\n{entry.detail}".strip(),
                    )
                    for entry in shown
                ],
                right=("",),
            )
        )
    return Group(*parts, *_failures(logs))


def json_logs(logs: Sequence[Answer[Log]]) -> list[dict[str, Any]]:
    """Every line of each device."""
    return [
        {
            "device": answer.device.name,
            "identity": answer.value.trust.identity if answer.value else None,
            "entries": to_document(answer.value.entries) if answer.value else None,
            "failure": to_document(answer.failure),
        }
        for answer in logs
    ]


def human_enrolled(enrolled: Enrolled) -> RenderableType:
    """The device that came."""
    issued = enrolled.issued
    return Text(
        f"{issued.name} is enrolled: device {issued.identity}, from {enrolled.peer}\n"
        f"there: edgectl-agent run --state-dir DIR --listen tls:0.0.0.0:{DEFAULT_PORT}\n"
        "here, in fleet.yaml:\n\n"
        "devices:\n"
        f"  {issued.name}:\n"
        f'    address: "{_address(enrolled)}"\n'
        f'    identity: "{issued.identity}"'
    )


def json_enrolled(enrolled: Enrolled) -> dict[str, Any]:
    """The device that came."""
    issued = enrolled.issued
    return {"name": issued.name, "identity": issued.identity, "address": str(_address(enrolled))}


def _address(enrolled: Enrolled) -> TlsAddress:
    """Where the device will listen, as far as can be told."""
    return TlsAddress(enrolled.peer)


def _standing(holding: Holding, now_s: float) -> str:
    if holding.revoked_s:
        return f"revoked {_day(holding.revoked_s)}"
    return "holds" if holding.holds(now_s) else "over"


def _key_words(key: ReleaseKey) -> str:
    return f"{key.public[:16]}…, generation {key.generation}"


def _day(at_s: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(at_s))


def _moment(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s))
