"""AOTInductor packages: programs that torch compiled for one kind of processor.

Facts: its loader is torch's own, so it lives in an interpreter that has torch, of the same release as it was compiled
with: the package calls torch's functions by their binary layout. A package for other instructions dies with SIGILL
when it is run, so what it was compiled for is read from it before. It takes tensors in the order of its inputs, gives
new ones at each call, and its threads are torch's, one pool for the process. It names no ports and no precision but
what edgectl wrote into it; in which type its products compute shows in the source that lies in the package.
"""

from __future__ import annotations

import json
import platform
import re
import threading
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgectl_agent.worker.release import Array
from edgectl_agent.worker.runtimes.base import Graph, LoadedFacts, Runtime, check_names, fixed_outputs, sentence
from edgectl_protos.domain.bundle import Component
from edgectl_protos.domain.device import RuntimeFacts
from edgectl_protos.domain.errors import (
    BundleCorruptError,
    BundleError,
    DeviceError,
    EdgectlError,
    PrecisionError,
    RuntimeMissingError,
)

__all__ = ["AotiRuntime"]

_MAX_SOURCE_BYTES = 64 << 20
_CAPABILITIES = {"AVX2": "avx2", "AVX512": "avx512_f", "AVX512_VNNI": "avx512_vnni", "AVX512_BF16": "avx512_bf16"}
_CAPABILITIES |= {"AMX_TILE": "amx_tile", "AMX_FP16": "amx_fp16"}
"""Instructions that a package asks for, as torch's own look at the processor calls them."""
_HELD = re.compile(
    r"constants_info_\[(?P<at>\d+)\]\.dtype = cached_torch_dtype_(?P<dtype>\w+);"
    r".{0,400}?constants_info_\[(?P=at)\]\.data_size = (?P<size_bytes>\d+);",
    re.DOTALL,
)
_TYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


class AotiRuntime(Runtime):
    """Packages of one model, loaded by torch."""

    name = "aoti"

    def _import(self) -> str:
        import torch

        return str(torch.__version__).split("+", 1)[0]

    def _facts(self, version: str) -> RuntimeFacts:
        import torch

        return RuntimeFacts(self.name, version, ("CPU",), ("fp32", "bf16") if _has_bf16(torch) else ("fp32",))

    def _load(self, artifact: Path, component: Component, threads: int, alone: bool) -> Graph:
        import torch

        said, source = _read(artifact)
        _check_requirements(said, self._import(), artifact)
        for kind, specs in (("input", component.inputs), ("output", component.outputs)):
            names = said.get(f"edgectl.{kind}s", "").split("\t")
            check_names(kind, names, specs)
            if names != [spec.name for spec in specs]:
                raise BundleError(
                    f"the graph's {kind}s are {', '.join(names)}, in another order than the manifest says"
                )
        precision = _precision(source)
        if precision == "bf16" and not _has_bf16(torch):
            raise PrecisionError(
                "the package computes in bf16, and this processor has no bf16 kernels",
                hint="convert with another scheme: edgectl convert --scheme fp32",
            )
        torch.set_num_threads(threads)
        loader = torch._inductor.aoti_load_package(str(artifact), run_single_threaded=True).loader
        facts = LoadedFacts(precision, f"CPU {said.get('AOTI_CPU_ISA', '')}".strip(), self._import())
        return _Package(self.name, component, facts, loader, threading.Lock())

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError, ValueError, TypeError)

    def _load_error(self, error: BaseException, artifact: Path) -> EdgectlError:
        return BundleCorruptError(f"{artifact.name} is not a package that torch can load: {sentence(error)}")


class _Package(Graph):
    """A loaded package; forks run the same one, in turn, and have their own inputs and outputs."""

    def __init__(
        self, runtime: str, component: Component, facts: LoadedFacts, loader: Any, lock: threading.Lock
    ) -> None:
        super().__init__(runtime, component, facts)
        self._loader = loader
        self._lock = lock
        self._held: dict[str, Any] = {}
        self._order = [spec.name for spec in component.inputs]
        self._outputs = fixed_outputs(component) or {}

    def _fork(self) -> Graph:
        return _Package(self._runtime, self.component, self.facts, self._loader, self._lock)

    def _bind(self, name: str, array: Array) -> bool:
        import torch

        inner = array if array.flags.c_contiguous and array.flags.writeable else np.array(array, order="C")
        self._held[name] = torch.from_numpy(inner)
        return inner is array

    def _run(self) -> Mapping[str, Array]:
        with self._lock:
            found = self._loader.run([self._held[name] for name in self._order])
        for (name, array), tensor in zip(self._outputs.items(), found, strict=True):
            values = tensor.detach().numpy()
            if values.shape != array.shape or values.dtype != array.dtype:
                raise DeviceError(f"the package gives {list(values.shape)} for {name!r}, not {list(array.shape)}")
            np.copyto(array, values)
        return self._outputs

    def _close(self) -> None:
        self._held = {}
        self._loader = None

    def _vendor_errors(self) -> tuple[type[BaseException], ...]:
        return (RuntimeError, ValueError, TypeError)


def _read(artifact: Path) -> tuple[dict[str, str], str]:
    """What the package says about itself, and its source."""
    try:
        with zipfile.ZipFile(artifact) as archive:
            names = archive.namelist()
            said = next(name for name in names if name.endswith("wrapper_metadata.json"))
            source = next(name for name in names if name.endswith(".wrapper.cpp"))
            if max(archive.getinfo(name).file_size for name in (said, source)) > _MAX_SOURCE_BYTES:
                raise BundleCorruptError(f"{artifact.name} holds a source of more than {_MAX_SOURCE_BYTES} bytes")
            found = json.loads(archive.read(said))
            return {str(key): str(value) for key, value in found.items()}, archive.read(source).decode()
    except FileNotFoundError as exc:
        raise BundleCorruptError(f"{artifact.name} is not in the release") from exc
    except (OSError, ValueError, AttributeError, StopIteration, zipfile.BadZipFile) as exc:
        raise BundleCorruptError(f"{artifact.name} is not a package that torch can load: {sentence(exc)}") from exc


def _check_requirements(said: Mapping[str, str], version: str, artifact: Path) -> None:
    """Refuse what was compiled for another machine, other instructions, or another release of torch."""
    import torch

    machine = said.get("AOTI_MACHINE", "")
    there = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    lacking = [
        word
        for word in said.get("AOTI_CPU_ISA", "").split()
        if word in _CAPABILITIES and not there.get(_CAPABILITIES[word])
    ]
    if machine != platform.machine():
        problem = f"was compiled for {machine}, and this device is {platform.machine()}"
    elif lacking:
        problem = f"was compiled for {lacking[0]}, which this processor lacks"
    elif said.get("edgectl.torch", version) != version:
        problem = f"was compiled with torch {said['edgectl.torch']}, and torch {version} is installed here"
    else:
        return
    raise RuntimeMissingError(
        f"{artifact.name} {problem}", hint="convert it on a host of the same kind, with the torch of this device"
    )


def _has_bf16(torch: Any) -> bool:
    """Whether the processor computes in bf16; on x86 the library says so too where it would convert back and forth."""
    if platform.machine() == "x86_64":
        there = torch.cpu.get_capabilities()
        return bool(there.get("avx512_bf16") or there.get("amx_bf16"))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _precision(source: str) -> str:
    """In which type most of its weights are held, by bytes, and so multiplied; fp32 where it has none."""
    held: Counter[str] = Counter()
    for found in _HELD.finditer(source):
        if found["dtype"] in _TYPES:
            held[_TYPES[found["dtype"]]] += int(found["size_bytes"])
    return held.most_common(1)[0][0] if held else "fp32"
