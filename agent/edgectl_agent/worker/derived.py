"""Finds what this device built for a component: under the key of the device as it is now, or not at all."""

from __future__ import annotations

from pathlib import Path

from edgectl_agent.worker.release import Release
from edgectl_agent.worker.runtimes.base import Runtime
from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import safe_path
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import BundleCorruptError, DocumentError, RuntimeMissingError
from edgectl_protos.worker.derived import STAMP_NAME, Stamp, key_of, source_of

__all__ = ["artifact_of"]

_HINT = "deploy the release again, the device builds it: edgectl deploy"


def artifact_of(release: Release, component: Component, runtime: Runtime, derived_dir: str) -> Path:
    """What the component's runtime opens: a file of the release, or what was built from it here.

    Raises:
        RuntimeMissingError: it must be built by a device, and was not by this one as it is now.
        BundleCorruptError: what was built is not whole.
    """
    if component.recipe is None:
        return release.artifact(component)
    if not derived_dir:
        raise RuntimeMissingError(f"component {component.name!r} is built by the device that runs it")
    bound_to = runtime.bound_to()
    folder = Path(derived_dir) / key_of(source_of(component, release.manifest), bound_to).hex
    if not folder.is_dir():
        now = ", ".join(f"{name} {value}" for name, value in bound_to.items())
        raise RuntimeMissingError(
            f"component {component.name!r} is not built for this device as it is now ({component.runtime}: {now})",
            hint=_HINT,
        )
    try:
        stamp = from_bytes(Stamp, (folder / STAMP_NAME).read_bytes(), what=STAMP_NAME)
        for entry in stamp.files:
            if (folder / safe_path(entry.path)).stat().st_size != entry.size_bytes:
                raise BundleCorruptError(f"{entry.path}, which this device built, is cut off", hint=_HINT)
    except (OSError, DocumentError) as exc:
        raise BundleCorruptError(
            f"what this device built for {component.name!r} is not whole: {exc}", hint=_HINT
        ) from exc
    return folder / safe_path(stamp.entry) if stamp.entry else folder
