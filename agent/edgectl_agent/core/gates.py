"""What a release must fulfil on this device, as pure rules: runtime, precision, parity."""

from __future__ import annotations

import math

from edgectl_agent.frames import Loaded
from edgectl_protos.domain.bundle import Component, Golden, Manifest
from edgectl_protos.domain.deployment import ParityFigure
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import BundleError, ParityError, PrecisionError, RuntimeMissingError

__all__ = ["check_loaded", "check_parity", "check_runtimes", "only_component"]


def only_component(manifest: Manifest) -> Component:
    """The one graph of a release.

    Raises:
        BundleError: it has none, or several, which this version does not run.
    """
    if len(manifest.components) != 1:
        names = ", ".join(component.name for component in manifest.components) or "none"
        raise BundleError(
            f"release {manifest.name!r} has the components: {names}; this agent runs releases of one",
            hint="update the agent, or export the policy as one graph: edgectl convert",
        )
    return manifest.components[0]


def check_runtimes(component: Component, runtimes: tuple[RuntimeFacts, ...]) -> None:
    """Refuse a release before its first byte is sent.

    Raises:
        RuntimeMissingError: the runtime is not here, does not work, or has no kernels for the precision.
    """
    found = {runtime.name: runtime for runtime in runtimes}
    runtime = found.get(component.runtime)
    if runtime is None:
        raise RuntimeMissingError(
            f"the device has no runtime {component.runtime!r}; it has: {', '.join(sorted(found)) or 'none'}",
            hint=f"install it there: pip install 'edgectl-agent[{component.runtime}]', and restart the agent",
        )
    if runtime.problem:
        raise RuntimeMissingError(
            f"the device's runtime {component.runtime!r} cannot be used: {runtime.problem}",
            hint=f"mend it there: pip install 'edgectl-agent[{component.runtime}]', and restart the agent",
        )
    if component.precision not in runtime.precisions:
        able = ", ".join(precision.value for precision in runtime.precisions) or "none"
        raise RuntimeMissingError(
            f"{component.runtime} has no {component.precision.value} kernels on this processor; it has: {able}",
            hint="convert for a precision that it has: edgectl convert --precision",
        )


def check_loaded(component: Component, loaded: Loaded) -> None:
    """Refuse a runtime that took another precision than the release asks for.

    Raises:
        PrecisionError: asked and used differ, or another runtime answered.
    """
    if loaded.runtime != component.runtime:
        raise PrecisionError(f"{component.runtime} was asked for, {loaded.runtime} was loaded")
    if loaded.precision != component.precision.value:
        raise PrecisionError(
            f"{component.precision.value} was asked for, {loaded.runtime} {loaded.runtime_version} on "
            f"{loaded.provider} computes in {loaded.precision or 'an unknown precision'}",
            hint="convert for the precision that the device uses: edgectl convert --precision",
        )


def check_parity(golden: Golden | None, figures: tuple[ParityFigure, ...]) -> None:
    """Refuse numbers that are not the golden ones.

    Raises:
        ParityError: an output is over the limit, or nothing was compared although there are golden cases.
    """
    if golden is None:
        return
    if not figures:
        raise ParityError("the worker compared nothing although the release has golden cases")
    limit = golden.tolerance
    for figure in figures:
        finite = math.isfinite(figure.max_abs_of_range) and math.isfinite(figure.cosine)
        if figure.passed and finite:
            continue
        raise ParityError(
            f"{figure.output}: largest error {figure.max_abs_of_range:.2e} of the range "
            f"(allowed {limit.max_abs_of_range:.2e}), cosine {figure.cosine:.6f} "
            f"(at least {limit.min_cosine:.6f}), over {figure.cases} cases against {golden.reference}",
            hint="convert at a higher precision, or with more calibration data: edgectl convert --precision fp32",
        )
