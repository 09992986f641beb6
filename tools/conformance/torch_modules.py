"""The second part: small torch modules through edgectl, for each runtime that reads `.pt2` or the ONNX made of it.

Toolchains are the user's own; none is made, and a runtime whose toolchain is not there is left out, which is said. A
process of a toolchain stays for all modules, and what the runtimes share, such as an export, is made once.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from bare import RUNTIMES
from bare_modules import agree
from in_process import borderless
from trial import Outcome, Trial, Verdict, Way, bare_outcome, conversion_outcome

from edgectl_converters.assignment import Assignment, BoardOption
from edgectl_converters.conversion import run_conversion
from edgectl_converters.plan import ConvertRequest
from edgectl_converters.process import ToolchainProcess
from edgectl_converters.targets.registry import target
from edgectl_converters.toolchain import HOST, Toolchain, Toolchains
from edgectl_converters.workshop import Workshop
from edgectl_protos.domain.errors import ToolchainError

__all__ = ["MODULE_RUNTIMES", "TorchModule", "begin", "lacking", "write_modules"]

MODULE_RUNTIMES = (*sorted(RUNTIMES), "aoti", "coreml", "executorch", "litert")
"""Those that this host can build for, and all but Core ML run."""

_BOARD = (BoardOption("coreml", "deployment_target", "ios18"),)
"""What a target has to know of the board."""

_TOOL = Path(__file__).parent
_RUN = ToolchainProcess.run


@dataclass(frozen=True, slots=True)
class TorchModule:
    """A module by its name; its files are in `folder`. Its kind is one that edgectl must get right."""

    name: str
    folder: Path
    ruled_out: str = ""


def lacking(runtime: str, toolchains: Toolchains) -> str:
    """The toolchain that the runtime needs and that is not made; empty if all are there."""
    chosen = target(runtime)
    for name in ("torch", chosen.toolchain, chosen.home):
        try:
            if not toolchains.find(name).lock:
                return name
        except ToolchainError:
            return name
    return ""


def write_modules(
    folder: Path, pattern: str, every: int, runtimes: Collection[str], chain: Toolchain, log: Path
) -> list[TorchModule]:
    """Have torch write what these runtimes need; `CalledProcessError` where it cannot."""
    command = [str(chain.python), str(_TOOL / "export_modules.py"), str(folder), pattern, str(every)]
    command += ["onnx"] if set(runtimes) & set(RUNTIMES) else []
    with log.open("ab") as file:
        made = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=file, check=True, text=True, env=_environment(chain)
        )
    return [TorchModule(name, folder) for name in made.stdout.split()]


def begin(cache: Path, toolchains: Toolchains) -> Callable[[TorchModule, Trial], Outcome]:
    """What tries them, in a process that does nothing else. Steps are kept in `cache`."""
    os.environ.update(toolchains.host().environment())
    shop = Workshop(cache, toolchains, threads=1)
    kept: dict[str, ToolchainProcess] = {}
    bare: dict[str, _Bare] = {}

    def attempt(module: TorchModule, trial: Trial) -> Outcome:
        if trial.way is not Way.BARE:
            request = ConvertRequest(module.folder / f"{module.name}.pt2", _assignment(trial.runtime))
            with _keeping(kept):
                return conversion_outcome(lambda: run_conversion(request, shop, _quiet))
        if trial.runtime in RUNTIMES:
            return bare_outcome(lambda: _check_onnx(trial.runtime, module))
        if trial.runtime not in bare:
            bare[trial.runtime] = _Bare(trial.runtime, module.folder, toolchains.find(target(trial.runtime).toolchain))
        return bare[trial.runtime].ask(module.name)

    return attempt


@contextlib.contextmanager
def _keeping(kept: dict[str, ToolchainProcess]) -> Iterator[None]:
    """As `borderless` has it, but for steps in toolchains: those have a process each, which stays."""
    with borderless():
        here = ToolchainProcess.run

        def run(_: ToolchainProcess, toolchain: Toolchain, *rest: Any) -> Any:
            if toolchain.name == HOST:
                return here(_, toolchain, *rest)
            return _RUN(kept.setdefault(toolchain.name, ToolchainProcess()), toolchain, *rest)

        with patch.object(ToolchainProcess, "run", run):
            yield


class _Bare:
    """The process in which a runtime is used bare; one that dies costs the one module."""

    def __init__(self, runtime: str, folder: Path, chain: Toolchain) -> None:
        self._command = [str(chain.python), str(_TOOL / "bare_modules.py"), runtime, str(folder)]
        self._environment = _environment(chain) | {"TMPDIR": str(folder)}
        self._process: subprocess.Popen[str] | None = None

    def ask(self, name: str) -> Outcome:
        if self._process is None:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, text=True, env=self._environment)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{name}\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            ended = self.end()
            return Outcome(Verdict.CRASHED, "crashed", f"the process ended with {ended}")
        verdict, reason, message = json.loads(answer)
        return Outcome(Verdict(verdict), reason, message)

    def end(self) -> int | None:
        """Wait for its end; the status with which it ended."""
        process, self._process = self._process, None
        if process is None:
            return None
        with contextlib.suppress(BrokenPipeError):
            process.communicate()
        return process.returncode


def _check_onnx(runtime: str, module: TorchModule) -> None:
    graph, refused = (module.folder / f"{module.name}.{ending}" for ending in ("onnx", "onnx.refused"))
    if refused.exists():
        raise ValueError(refused.read_text())
    import onnx

    model = onnx.load(str(graph))
    run = RUNTIMES[runtime](model.SerializeToString())
    golden = dict(np.load(module.folder / f"{module.name}.golden.npz", allow_pickle=False))
    inputs = [key for key in golden if key.startswith("in.")]
    outputs = [key for key in golden if key.startswith("out.")]
    for case in range(len(golden[outputs[0]])):
        feeds = {
            value.name: golden[key][case].reshape([size.dim_value for size in value.type.tensor_type.shape.dim])
            for key, value in zip(inputs, model.graph.input, strict=True)
        }
        for key, found in zip(outputs, run(feeds), strict=True):
            agree(found, golden[key][case])


def _assignment(runtime: str) -> Assignment:
    options = tuple(option for option in _BOARD if option.runtime == runtime)
    return replace(Assignment.of(runtime, "fp32"), board=options)


def _environment(chain: Toolchain) -> dict[str, str]:
    return chain.environment() | {"OMP_NUM_THREADS": "1"}


def _quiet(_: Any) -> None:
    pass
