"""Tables of the runs database. Plain SQL types only: SQLite now, PostgreSQL later.

A run is its documents (summary, verdict, deployment, exactly as the domain writes them) and columns that listings need,
`runtime` and `precision` in words over all components; a release is stored once. `SCHEMA_VERSION` changes with the
tables and with documents that an older one cannot read.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

__all__ = ["SCHEMA_VERSION", "metadata", "releases", "runs", "versions"]

SCHEMA_VERSION = 3

metadata = MetaData()

versions = Table("edgectl_schema", metadata, Column("version", Integer, primary_key=True))

releases = Table(
    "releases",
    metadata,
    Column("digest", String(71), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("manifest", Text, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("device", String(200), nullable=False),
    Column("board", String(200), nullable=False),
    Column("stand_in", Boolean, nullable=False),
    Column("name", String(200), nullable=False),
    Column("runtime", String(200), nullable=False),
    Column("precision", String(200), nullable=False),
    Column("mode", String(16), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("started_s", Float, nullable=False),
    # No foreign key: a run of a release that another host installed is kept all the same.
    Column("release", String(71), nullable=False),
    Column("summary", Text, nullable=False),
    Column("verdict", Text, nullable=True),
    Column("deployment", Text, nullable=True),
    Column("samples_path", Text, nullable=True),
)

Index("runs_by_time", runs.c.started_s)
