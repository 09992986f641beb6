"""Builds an engine from a strongly typed ONNX graph with the builder of the library that will run it.

Facts: precision is what the graph says (types, casts, Q/DQ): the flags that once asked for it are gone or do nothing,
but TF32 is on unless it is switched off, and fp32 is then none; the parser names the operator that it does not know;
the builder logs each layer with its types when it is asked for detail, the only way to read them back on a machine that
cannot load the engine; without a GPU it builds for a compute capability that it is told.

Options of the recipe: `profile` (shapes of inputs that are free in the graph, JSON: {"x": [1, 3]}), `workspace_mib`,
`timing_cache` (1), `optimisation_level`, `capability` (8.6, several with spaces; none: this machine's GPU).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgectl_agent.worker.runtimes.base import sentence
from edgectl_agent.worker.runtimes.engine_layers import check_precision, parse_layers
from edgectl_protos.codec.onnx_files import check_onnx_files
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.errors import BuildError, BundleCorruptError, BundleError, EdgectlError, OperatorError
from edgectl_protos.worker.messages import Built

__all__ = ["ENTRY", "Log", "build_engine", "make_log"]

ENTRY = "model.engine"
_OPTIONS = frozenset({"profile", "workspace_mib", "timing_cache", "optimisation_level", "capability"})
_NO_MEMORY = ("out of memory", "outofmemory", "could not be allocated", "insufficient workspace", "memory allocation")
_NOT_READ = ("MODEL_DESERIALIZE_FAILED",)
_REPORT_S = 0.5
_KEPT_ERRORS = 3


class Log:
    """What a library said: its first errors, and the layers of engines that it described."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.layers: list[str] = []

    def take(self, text: str, *, error: bool) -> None:
        """One message, which may have several lines."""
        if error and len(self.errors) < _KEPT_ERRORS:
            self.errors.append(text)
        elif ", LayerType: " in text:
            self.layers.append(text)

    @property
    def why(self) -> str:
        """Its errors, as one line."""
        return sentence(ValueError("; ".join(self.errors) or "it gave no reason"))


def make_log(library: Any) -> tuple[Log, Any]:
    """A log, and the library's own logger that fills it."""
    log = Log()

    class Logger(library.ILogger):  # type: ignore[misc]
        """Hands everything on."""

        def __init__(self) -> None:
            library.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            """One message. Nothing may leave it: it is called by the library's own threads."""
            log.take(text, error=severity.value <= library.ILogger.Severity.ERROR.value)

    return log, Logger()


def build_engine(
    library: Any,
    artifact: Path,
    component: Component,
    out: Path,
    cache: Path,
    progress: Callable[[float], None],
    *,
    name: str,
) -> Built:
    """Write `model.engine` into `out`.

    Raises:
        BundleError: the recipe has an option that no builder of ours takes, or a value that is none.
        BundleCorruptError: the graph cannot be read.
        OperatorError: the parser does not know an operator, or does not take it as it is.
        PrecisionError: layers compute in another precision than the component's scheme.
        BuildError: the builder failed.
    """
    assert component.recipe is not None, "only what has a recipe is built"
    options = component.recipe.options
    if unknown := sorted(set(options) - _OPTIONS):
        raise BundleError(f"component {component.name!r}: its recipe sets {unknown[0]}, which {name} does not take")
    log, logger = make_log(library)
    builder = library.Builder(logger)
    typed = getattr(library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = library.OnnxParser(network, logger)
    if not artifact.is_file():
        raise BundleCorruptError(f"{artifact.name} is not in the release")
    check_onnx_files(artifact)
    if not parser.parse_from_file(str(artifact)):
        raise _parse_error(parser, log, artifact, name)
    config = builder.create_builder_config()
    config.clear_flag(library.BuilderFlag.TF32)
    config.profiling_verbosity = library.ProfilingVerbosity.DETAILED
    config.progress_monitor = _monitor(library, progress)
    if "workspace_mib" in options:
        config.set_memory_pool_limit(library.MemoryPoolType.WORKSPACE, _number(options, "workspace_mib") << 20)
    if "optimisation_level" in options:
        config.builder_optimization_level = _number(options, "optimisation_level")
    capabilities = options.get("capability", "").split()
    for at, capability in enumerate(capabilities):
        config.num_compute_capabilities = len(capabilities)
        config.set_compute_capability(_capability(library, capability, name), at)
    _add_profile(builder, network, config, options.get("profile", ""))
    timings = cache / f"{name}-{library.__version__}.timings" if options.get("timing_cache") == "1" else None
    if timings is not None:
        config.set_timing_cache(config.create_timing_cache(_read(timings)), False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _build_error(log, component, name)
    (out / ENTRY).write_bytes(memoryview(plan))
    if timings is not None and (found := config.get_timing_cache()) is not None:
        _replace(timings, memoryview(found.serialize()))
        for other in cache.glob(f"{name}-*.timings"):
            if other != timings:
                # Of a version that is gone.
                other.unlink()
    layers = parse_layers("\n".join(log.layers))
    if not layers and not capabilities:
        # Not every version logs them; the engine that was built for this GPU says them when it is loaded.
        return Built(ENTRY)
    return Built(ENTRY, check_precision(layers, component))


def _add_profile(builder: Any, network: Any, config: Any, text: str) -> None:
    """Fix what the graph leaves free: one profile with one shape of each input."""
    shapes = _shapes(text)
    inputs = [network.get_input(at) for at in range(network.num_inputs)]
    free = [one for one in inputs if -1 in tuple(one.shape)]
    if not free:
        return
    profile = builder.create_optimization_profile()
    for one in free:
        if one.name not in shapes:
            raise BundleError(
                f"the shape of input {one.name!r} is free, {list(one.shape)}, and the recipe does not fix it",
                hint="convert the checkpoint again: edgectl convert",
            )
        shape = shapes[one.name]
        profile.set_shape(one.name, shape, shape, shape)
    config.add_optimization_profile(profile)


def _shapes(text: str) -> dict[str, tuple[int, ...]]:
    try:
        return {str(name): tuple(int(size) for size in shape) for name, shape in json.loads(text or "{}").items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as exc:
        raise BundleError(f"the recipe's profile says no shapes: {text[:80]!r}") from exc


def _monitor(library: Any, progress: Callable[[float], None]) -> Any:
    """Tells how far the outermost phase is, at most twice a second."""
    lock = threading.Lock()

    class Monitor(library.IProgressMonitor):  # type: ignore[misc]
        """Phases stand in each other; a step of an inner one is a part of a step of the outer one."""

        def __init__(self) -> None:
            library.IProgressMonitor.__init__(self)
            self._phases: dict[str, tuple[str | None, int, int]] = {}
            self._told_s = 0.0

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            """A phase of so many steps begins inside another one."""
            with lock:
                self._phases[phase] = (parent, max(1, steps), 0)

        def phase_finish(self, phase: str) -> None:
            """It ended, perhaps before its last step."""
            with lock:
                self._phases.pop(phase, None)

        def step_complete(self, phase: str, step: int) -> bool:
            """Go on."""
            with lock:
                if phase in self._phases:
                    parent, steps, _ = self._phases[phase]
                    self._phases[phase] = (parent, steps, step + 1)
                now_s = time.monotonic()
                if now_s - self._told_s >= _REPORT_S:
                    self._told_s = now_s
                    progress(self._share())
            return True

        def _share(self) -> float:
            share, inside = 0.0, list(self._phases.values())
            for _, steps, done in reversed(inside):
                share = min(1.0, (done + share) / steps)
            return share

    return Monitor()


def _parse_error(parser: Any, log: Log, artifact: Path, name: str) -> EdgectlError:
    for at in range(parser.num_errors):
        error = parser.get_error(at)
        operator, node = error.node_operator(), error.node_name()
        if operator:
            why = sentence(ValueError(error.desc()))
            return OperatorError(
                f"{name} does not know the operator {operator} as it stands in the graph (node {node!r}): {why}",
                hint="another runtime may: edgectl convert --runtime NAME",
            )
        if error.code().name not in _NOT_READ:
            return BuildError(f"{name} does not take {artifact.name}: {sentence(ValueError(error.desc()))}")
    return BundleCorruptError(f"{artifact.name} is not a graph that {name} can read: {log.why}")


def _build_error(log: Log, component: Component, name: str) -> BuildError:
    if any(word in log.why.lower() for word in _NO_MEMORY):
        return BuildError(
            f"{name} had no memory left while building {component.name!r}: {log.why}",
            hint="free memory on the device, or give the builder a larger workspace in its recipe",
        )
    return BuildError(f"{name} could not build {component.name!r}: {log.why}")


def _capability(library: Any, text: str, name: str) -> Any:
    wanted = f"SM{text.replace('.', '')}"
    found = getattr(library.ComputeCapability, wanted, None)
    if found is None:
        known = [word for word in dir(library.ComputeCapability) if word.startswith("SM")]
        raise BuildError(
            f"{name} {library.__version__} builds nothing for compute capability {text}; it builds for "
            f"{', '.join(f'{word[2:-1]}.{word[-1]}' for word in known)}",
            hint="is that the board's? edgectl boards",
        )
    return found


def _number(options: dict[str, str], key: str) -> int:
    if not options[key].isdecimal():
        raise BundleError(f"the recipe says {key} {options[key]!r}, which is no number")
    return int(options[key])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _replace(path: Path, data: memoryview) -> None:
    aside = path.with_name(f"{path.name}.new")
    aside.write_bytes(data)
    aside.replace(path)
