"""The database of runs: recorded once, listed, and read back as they were.

Opened on first use; the tables are made then. Whatever the database answers leaves here as RunsError.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, insert, make_url, select
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from edgectl_host.components import precisions_word, runtimes_word
from edgectl_host.runs import schema
from edgectl_host.runs.record import RunRecord
from edgectl_protos.codec.document import from_bytes, to_document
from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.bundle import Manifest
from edgectl_protos.domain.deployment import Deployment
from edgectl_protos.domain.errors import EdgectlError, RunsError
from edgectl_protos.domain.run import RunSummary
from edgectl_protos.domain.verdict import Verdict

__all__ = ["RunRow", "RunStore"]

T = TypeVar("T")
_LOCK_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class RunRow:
    """One line of `edgectl runs`."""

    id: str
    device: str
    board: str
    stand_in: bool
    name: str
    runtime: str
    precision: str
    mode: str
    outcome: str
    started_s: float
    release: str


_ROW = [schema.runs.c[name] for name in RunRow.__dataclass_fields__]


class RunStore:
    """Runs of all devices, on this host."""

    def __init__(self, url: str, *, lock_timeout_s: float = _LOCK_TIMEOUT_S) -> None:
        self._url = url
        self._lock_timeout_s = lock_timeout_s
        self._opened: Engine | None = None

    def close(self) -> None:
        """Release the connections."""
        if self._opened is not None:
            self._opened.dispose()

    def add_release(self, digest: Digest, manifest: Manifest) -> None:
        """Remember a release; the same one twice is no error."""
        with self._begin() as connection:
            known = select(schema.releases.c.digest).where(schema.releases.c.digest == str(digest))
            if connection.execute(known).first() is None:
                values = {"digest": str(digest), "name": manifest.name, "manifest": _dump(manifest)}
                connection.execute(insert(schema.releases).values(values))

    def add(self, record: RunRecord) -> None:
        """Record a run.

        Raises:
            RunsError: the database cannot be written, or has this run already.
        """
        summary = record.summary
        if record.manifest is not None:
            self.add_release(summary.release, record.manifest)
        values = {
            "id": summary.run_id,
            "device": record.device,
            "board": summary.facts.stand_in_for or summary.facts.board,
            "stand_in": bool(summary.facts.stand_in_for),
            "name": summary.name,
            "runtime": runtimes_word(summary.components),
            "precision": precisions_word(summary.components),
            "mode": summary.loop.mode.value,
            "outcome": record.outcome,
            "started_s": summary.started_s,
            "release": str(summary.release),
            "summary": _dump(summary),
            "verdict": _dump(record.verdict) if record.verdict else None,
            "deployment": _dump(record.deployment) if record.deployment else None,
            "samples_path": record.samples_path,
        }
        with self._begin() as connection:
            connection.execute(insert(schema.runs).values(values))

    def list(self, *, limit: int = 20, device: str | None = None) -> tuple[RunRow, ...]:
        """Runs, newest first."""
        query = select(*_ROW).order_by(schema.runs.c.started_s.desc(), schema.runs.c.id).limit(limit)
        if device is not None:
            query = query.where(schema.runs.c.device == device)
        with self._begin() as connection:
            return tuple(RunRow(*row) for row in connection.execute(query))

    def get(self, run: str) -> RunRecord:
        """The run of this id, of an unambiguous beginning of it, or the `last` one.

        Raises:
            RunsError: there is none, there are several, or its record is damaged.
        """
        with self._begin() as connection:
            run_id = self._resolve(connection, run)
            row = connection.execute(select(schema.runs).where(schema.runs.c.id == run_id)).one()
            release = schema.releases.c
            found = select(release.manifest).where(release.digest == row.release)
            manifest = connection.execute(found).scalar_one_or_none()
        return RunRecord(
            device=row.device,
            summary=_load(RunSummary, row.summary, run_id),
            verdict=_load(Verdict, row.verdict, run_id) if row.verdict else None,
            deployment=_load(Deployment, row.deployment, run_id) if row.deployment else None,
            manifest=_load(Manifest, manifest, run_id) if manifest else None,
            samples_path=row.samples_path,
        )

    def has(self, run_id: str) -> bool:
        """Whether a run of exactly this id is recorded."""
        query = select(schema.runs.c.id).where(schema.runs.c.id == run_id)
        with self._begin() as connection:
            return connection.execute(query).first() is not None

    def release(self, digest: Digest) -> Manifest | None:
        """The manifest of a release that this host has deployed."""
        query = select(schema.releases.c.manifest).where(schema.releases.c.digest == str(digest))
        with self._begin() as connection:
            text = connection.execute(query).scalar_one_or_none()
        return _load(Manifest, text, digest.short) if text else None

    def _resolve(self, connection: Connection, run: str) -> str:
        ids = schema.runs.c.id
        query = select(ids).order_by(schema.runs.c.started_s.desc(), ids).limit(3)
        if run != "last":
            query = query.where(ids.startswith(run, autoescape=True))
        found: Sequence[str] = connection.execute(query).scalars().all()
        if run in found or (run == "last" and found):
            return run if run in found else found[0]
        if len(found) == 1:
            return found[0]
        if found:
            raise RunsError(f"run {run!r} could be {', '.join(found)}", hint="give more of the id: edgectl runs")
        what = "no run is recorded yet" if run == "last" else f"no run {run!r} is recorded"
        raise RunsError(what, hint="list them: edgectl runs; measure one: edgectl profile")

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        """A transaction; every failure of the database is ours."""
        try:
            with self._engine().begin() as connection:
                yield connection
        except IntegrityError as exc:
            raise RunsError(f"{self._where}: recorded already: {exc.orig}") from exc
        except OSError as exc:
            raise RunsError(f"{self._where}: {exc}", hint="choose another place: export EDGECTL_HOME=DIR") from exc
        except SQLAlchemyError as exc:
            cause = getattr(exc, "orig", None) or exc
            raise RunsError(
                f"{self._where}: {cause}",
                hint="another edgectl may hold it: try again; if it is damaged, move it away and go on",
            ) from exc

    def _engine(self) -> Engine:
        if self._opened is None:
            url = make_url(self._url)
            options: dict[str, Any] = {}
            if url.get_backend_name() == "sqlite":
                options["connect_args"] = {"timeout": self._lock_timeout_s}
                if url.database:
                    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            engine = create_engine(url, **options)
            try:
                self._make_tables(engine)
            except (OperationalError, IntegrityError):
                # Another edgectl made them between our look and our hand; the second look sees them.
                self._make_tables(engine)
            self._opened = engine
        return self._opened

    def _make_tables(self, engine: Engine) -> None:
        schema.metadata.create_all(engine)
        self._check_version(engine)

    def _check_version(self, engine: Engine) -> None:
        with engine.begin() as connection:
            found = connection.execute(select(schema.versions.c.version)).scalars().all()
            if not found:
                connection.execute(insert(schema.versions).values(version=schema.SCHEMA_VERSION))
            elif max(found) != schema.SCHEMA_VERSION:
                raise RunsError(
                    f"{self._where} has schema {max(found)}, this edgectl knows {schema.SCHEMA_VERSION}",
                    hint=f"use the edgectl that wrote it, or move it away: {self._move}",
                )

    @property
    def _move(self) -> str:
        """The command that puts an old database aside."""
        database = make_url(self._url).database
        return f"mv {database} {database}.old" if database else "name another database"

    @property
    def _where(self) -> str:
        url = make_url(self._url)
        return f"runs database {url.database or url.render_as_string(hide_password=True)}"


def _dump(value: Any) -> str:
    return json.dumps(to_document(value), allow_nan=False)


def _load(cls: type[T], text: str, run_id: str) -> T:
    try:
        # A run of a newer agent is kept with the words that it came with.
        return from_bytes(cls, text.encode(), what=cls.__name__, lenient=True)
    except EdgectlError as exc:
        raise RunsError(f"the record of {run_id} cannot be read: {exc.message}") from exc
