"""AOTInductor: a program compiled by torch for one kind of processor, what everyone compares with.

Facts: the package is bound to the version of torch and to the instructions that it was compiled for, and says neither
when it fails, so both go with it; compiling for `native` would take what this processor has beyond them. It needs a
C++ compiler, which torch looks for late. What autocast would do is written into the graph: products and convolutions
in bf16, all else in float32.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgectl_converters.targets.base import BuildRequest, Built, Target
from edgectl_converters.targets.torch_graphs import examples, fold_constants, read_module
from edgectl_converters.targets.torch_rewrites import in_half
from edgectl_protos.domain.bundle import GateResult
from edgectl_protos.domain.errors import OperatorError, ToolchainError

__all__ = ["AotiTarget"]

_ENTRY = "model.pt2"
_COMPILERS = ("g++", "clang++", "c++")
_LEVELS = {"AVX512": "x86-64-v4", "AVX2": "x86-64-v3"}
"""What gcc calls the instructions that torch vectorises for."""


class AotiTarget(Target):
    """AOTInductor on the CPU."""

    name = "aoti"
    toolchain = "torch"
    home = "torch"
    reads = ("pt2",)
    takes_bytes = False
    schemes = ("fp32", "bf16")
    packages = ("torch",)

    def build(self, request: BuildRequest, progress: Callable[[str], None]) -> Built:
        """Compile the program.

        Raises:
            ToolchainError: there is no C++ compiler.
            OperatorError: torch does not compile it.
        """
        compiler = _compiler()
        import torch

        capability = torch.backends.cpu.get_cpu_capability()
        module = read_module(Path(request.graph))
        if request.scheme == "bf16":
            in_half(module, torch.bfloat16)
            fold_constants(module)
        ports = {
            "edgectl.inputs": "\t".join(spec.name for spec in request.inputs),
            "edgectl.outputs": "\t".join(spec.name for spec in request.outputs),
            "edgectl.torch": str(torch.__version__).split("+")[0],
            "edgectl.precision": request.scheme,
        }
        settings: dict[str, Any] = {"aot_inductor.metadata": ports}
        level = _LEVELS.get(capability, "")
        if level:
            settings["cpp.march"] = level
        progress(f"compiling {request.component} with {Path(compiler).name} for {capability}")
        out = Path(request.out) / _ENTRY
        try:
            with torch.no_grad():
                program = torch.export.export(module, examples(request.inputs), strict=False)
                torch._inductor.aoti_compile_and_package(program, package_path=str(out), inductor_configs=settings)
        except Exception as exc:  # torch raises whatever its passes and the compiler do
            said = " ".join(str(exc).split())[:300]
            raise OperatorError(
                f"torch does not compile {request.component}: {type(exc).__name__}: {said}",
                hint="another runtime may take it: --runtime NAME",
            ) from exc
        found = torch._inductor.aoti_load_package(str(out)).loader.get_metadata()
        note = f"torch {ports['edgectl.torch']}, {found['AOTI_MACHINE']}, {found['AOTI_CPU_ISA']}"
        return Built(
            _ENTRY,
            settings={"compiler": Path(compiler).name, "march": level or "native"},
            gates=(GateResult("requires", request.component, 1.0, 1.0, True, note),),
        )


def _compiler() -> str:
    """The C++ compiler that torch will take.

    Raises:
        ToolchainError: there is none.
    """
    for name in (os.environ.get("CXX", ""), *_COMPILERS):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise ToolchainError(
        "compiling with torch needs a C++ compiler, and there is none on this host",
        hint="install one (apt install g++), or name it: CXX=PATH edgectl convert",
    )
