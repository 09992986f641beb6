"""Where a release comes from: each step of its conversion, with the tool, its options and the lock it ran under."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgectl_converters.job import Build, Job
from edgectl_converters.sources.base import Export
from edgectl_converters.targets.base import Built
from edgectl_converters.toolchain import Toolchains
from edgectl_protos.domain.bundle import Provenance, ToolRun

__all__ = ["provenance_of"]


def provenance_of(
    job: Job, export: Export, builds: Sequence[Build], built: Mapping[str, Built], toolchains: Toolchains
) -> Provenance:
    """Of a release of these builds; `built` says with which settings, by component."""
    lock = toolchains.lock_of
    chain = job.export_toolchain
    options = export.versions | ({"notes": "; ".join(export.notes)} if export.notes else {})
    tools = [ToolRun("export", job.source.name, options, chain, lock(chain))]
    tools += [
        ToolRun(chosen.name, chosen.name, {}, chosen.toolchain, lock(chosen.toolchain, chosen.packages))
        for chosen, _ in job.passes
    ]
    for build in builds:
        options = {"graph": f"{job.card.schemes[0]} as it is"} if job.card.schemes else {}
        options |= {"scheme": build.scheme, "variant": build.variant, **built[build.component].settings}
        name, chain, packages = build.target.name, build.target.toolchain, build.target.packages
        tools.append(ToolRun(f"build {build.component}", name, options, chain, lock(chain, packages)))
    return Provenance(job.card.digest, job.card.source, tuple(tools))
