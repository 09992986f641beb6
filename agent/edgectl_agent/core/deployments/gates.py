"""What a release must fulfil on this device, as pure rules: runtimes, recipes, loop, precision, parity."""

from __future__ import annotations

from edgectl_protos.codec.document import from_bytes
from edgectl_protos.domain.artifact import precision_of
from edgectl_protos.domain.bundle import Component, Manifest
from edgectl_protos.domain.device import ComponentFacts, RuntimeFacts
from edgectl_protos.domain.errors import ParityError, PrecisionError, RuntimeMissingError
from edgectl_protos.domain.loop import LoopSpec, check_fits
from edgectl_protos.domain.parity import ParityReport

__all__ = ["check_loaded", "check_loop", "check_parity", "check_recipes", "check_runtimes"]


def check_runtimes(components: tuple[Component, ...], runtimes: tuple[RuntimeFacts, ...]) -> None:
    """Refuse a release before its first byte is sent.

    Raises:
        RuntimeMissingError: a runtime is not here, does not work, or has no kernels for the precision of a component.
    """
    found = {runtime.name: runtime for runtime in runtimes}
    for component in components:
        runtime = found.get(component.runtime)
        if runtime is None:
            raise RuntimeMissingError(
                f"the device has no runtime {component.runtime!r} for component {component.name!r}; "
                f"it has: {', '.join(sorted(found)) or 'none'}",
                hint=f"install it there: pip install 'edgectl-agent[{component.runtime}]', and restart the agent",
            )
        if runtime.problem:
            raise RuntimeMissingError(
                f"the device's runtime {component.runtime!r}, which component {component.name!r} needs, "
                f"cannot be used: {runtime.problem}",
                hint=f"mend it there: pip install 'edgectl-agent[{component.runtime}]', and restart the agent",
            )
        precision = precision_of(component.scheme)
        if precision not in runtime.precisions:
            raise RuntimeMissingError(
                f"component {component.name!r} is {component.scheme}: {component.runtime} has no {precision} kernels "
                f"on this processor; it has: {', '.join(runtime.precisions) or 'none'}",
                hint="convert with a scheme that it has: edgectl convert --scheme",
            )


def check_recipes(components: tuple[Component, ...]) -> None:
    """Refuse a release of which a part is still to be built here by another builder than its own runtime's.

    Raises:
        RuntimeMissingError: which component, and which builder.
    """
    for component in components:
        recipe = component.recipe
        if recipe is not None and recipe.builder != component.runtime:
            raise RuntimeMissingError(
                f"component {component.name!r} must be built on the device by {recipe.builder!r}, which this agent "
                f"cannot run; the component's runtime is {component.runtime}",
                hint="convert for a runtime whose artifact the host can write: edgectl convert --target",
            )


def check_loop(manifest: Manifest, data: bytes) -> LoopSpec:
    """The release's loop, if it fits its policy.

    Raises:
        DocumentError: the bytes are no loop.
        LoopSpecError: it cannot run this policy.
    """
    spec = from_bytes(LoopSpec, data, what=manifest.loop)
    check_fits(spec, manifest.policy)
    return spec


def check_loaded(components: tuple[Component, ...], loaded: tuple[ComponentFacts, ...]) -> None:
    """Refuse a worker that loaded something else than the release.

    Raises:
        PrecisionError: a component was not loaded, or by another runtime, or its precision is not that of its scheme.
    """
    facts = {found.name: found for found in loaded}
    for component in components:
        found = facts.pop(component.name, None)
        if found is None:
            raise PrecisionError(f"component {component.name!r} was not loaded")
        if found.runtime != component.runtime:
            raise PrecisionError(
                f"component {component.name!r}: {component.runtime} was asked for, {found.runtime} was loaded"
            )
        asked = precision_of(component.scheme)
        if found.precision != asked:
            raise PrecisionError(
                f"component {component.name!r}: {asked} was asked for ({component.scheme}), {found.runtime} "
                f"{found.runtime_version} on {found.provider} computes in {found.precision or 'an unknown precision'}",
                hint="convert with the scheme that the device uses: edgectl convert --scheme",
            )
    if facts:
        raise PrecisionError(f"{', '.join(sorted(facts))} was loaded, which the release does not have")


def check_parity(manifest: Manifest, report: ParityReport | None) -> None:
    """Refuse numbers that are not the golden ones.

    Raises:
        ParityError: a figure is over its limit, or nothing was compared although there are golden cases.
    """
    golden = manifest.golden
    if golden is None:
        return
    judged = [figure for figure in report.figures if figure.limit is not None] if report else []
    if report is None or report.cases != golden.count or not judged:
        raise ParityError(f"the release has {golden.count} golden cases; the worker compared nothing with them")
    if failures := report.failures:
        more = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
        raise ParityError(
            f"{failures[0]}{more}, over {report.cases} cases against {golden.reference}",
            hint="convert at a higher precision, or with more calibration data: edgectl convert --scheme fp32",
        )
