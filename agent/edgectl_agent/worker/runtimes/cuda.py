"""The few calls of NVIDIA's driver that an engine needs beside its runtime: memory, a stream, a graph of its work.

Through ctypes and the driver's own library, which is there wherever there is a driver: no package has to fit the
device's Python. Everything happens in the device's primary context, which the runtime uses too.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgectl_protos.domain.errors import DeviceError, RuntimeMissingError

__all__ = ["Cuda", "driver_version", "l4t_version"]

_LIBRARIES = ("libcuda.so.1", "libcuda.so")
_OUT_OF_MEMORY = 2
_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""
_CAPTURE_THREAD_LOCAL = 1

_L4T = re.compile(r"# R(?P<release>\d+) \(release\), REVISION: (?P<revision>[\d.]+)")
_DRIVER = re.compile(r"Kernel Module(?: for \S+)?\s+(?P<version>\d[\d.]*)")


def l4t_version(tegra_release: str) -> str:
    """The board support package that /etc/nv_tegra_release names, as 36.4.3; empty on other machines."""
    found = _L4T.search(tegra_release)
    return f"{found['release']}.{found['revision']}" if found else ""


def driver_version(text: str) -> str:
    """The kernel driver that /proc/driver/nvidia/version names; empty where there is none."""
    found = _DRIVER.search(text)
    return found["version"] if found else ""


class Cuda:
    """The first GPU of this machine, its primary context current in the thread that made it. Addresses are plain
    numbers.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        self._call("cuInit", 0)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._device = device
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._context = context
        self.use()

    def use(self) -> None:
        """Make its context that of this thread; costs less than a microsecond."""
        self._call("cuCtxSetCurrent", self._context)

    @classmethod
    def open(cls, load: Callable[[str], Any] = ctypes.CDLL) -> Cuda:
        """The GPU of this machine.

        Raises:
            RuntimeMissingError: there is no driver.
            DeviceError: there is no GPU, or it does not answer.
        """
        for name in _LIBRARIES:
            try:
                return cls(load(name))
            except OSError:
                continue
        raise RuntimeMissingError(
            f"this machine has no NVIDIA driver ({_LIBRARIES[0]} is not there)",
            hint="run it where there is an NVIDIA GPU, or convert for another runtime: edgectl convert --runtime",
        )

    @property
    def name(self) -> str:
        """What the driver calls the GPU."""
        text = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", text, len(text), self._device)
        return text.value.decode(errors="replace")

    @property
    def capability(self) -> tuple[int, int]:
        """Its compute capability."""
        return self._attribute(_MAJOR), self._attribute(_MINOR)

    def facts(self, root: Path = Path("/")) -> dict[str, str]:
        """What an engine that is built here is bound to, the runtime's version apart."""
        major, minor = self.capability
        facts = {
            "sm": f"{major}.{minor}",
            "gpu": self.name,
            "l4t": l4t_version(_read(root / "etc/nv_tegra_release")),
            "driver": driver_version(_read(root / "proc/driver/nvidia/version")) or self._driver_api(),
        }
        return {name: value for name, value in facts.items() if value}

    def allocate(self, size_bytes: int) -> int:
        """Memory of the GPU.

        Raises:
            DeviceError: it has none left.
        """
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(1, size_bytes)))
        return int(address.value)

    def allocate_host(self, size_bytes: int) -> int:
        """Memory of the host that the GPU reads and writes by itself.

        Raises:
            DeviceError: there is none left.
        """
        address = ctypes.c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(address), ctypes.c_size_t(max(1, size_bytes)), 0)
        return int(address.value or 0)

    def free(self, address: int) -> None:
        """Give back what `allocate` gave."""
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def free_host(self, address: int) -> None:
        """Give back what `allocate_host` gave."""
        self._call("cuMemFreeHost", ctypes.c_void_p(address))

    def make_stream(self) -> int:
        """A new stream."""
        stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(stream), 1)
        return int(stream.value or 0)

    def destroy_stream(self, stream: int) -> None:
        """End a stream."""
        self._call("cuStreamDestroy_v2", ctypes.c_void_p(stream))

    def copy_in(self, device: int, host: int, size_bytes: int, stream: int) -> None:
        """Copy from the host, in the stream's order."""
        self._call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(device), ctypes.c_void_p(host), *_of(size_bytes, stream))

    def copy_out(self, host: int, device: int, size_bytes: int, stream: int) -> None:
        """Copy to the host, in the stream's order."""
        self._call("cuMemcpyDtoHAsync_v2", ctypes.c_void_p(host), ctypes.c_uint64(device), *_of(size_bytes, stream))

    def wait(self, stream: int) -> None:
        """Until everything in the stream is done."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """What `work` puts into the stream, as one thing that is launched again and again.

        Raises:
            DeviceError: it cannot be captured.
        """
        graph, ready = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), _CAPTURE_THREAD_LOCAL)
        try:
            work()
        finally:
            # A capture that failed is ended too: the stream is of no use before.
            self._call("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        self._call("cuGraphInstantiateWithFlags", ctypes.byref(ready), graph, ctypes.c_uint64(0))
        self._call("cuGraphDestroy", graph)
        return int(ready.value or 0)

    def launch(self, captured: int, stream: int) -> None:
        """Put what was captured into the stream."""
        self._call("cuGraphLaunch", ctypes.c_void_p(captured), ctypes.c_void_p(stream))

    def destroy_captured(self, captured: int) -> None:
        """Drop what was captured."""
        self._call("cuGraphExecDestroy", ctypes.c_void_p(captured))

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), number, self._device)
        return value.value

    def _driver_api(self) -> str:
        version = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(version))
        return f"CUDA {version.value // 1000}.{version.value % 1000 // 10}"

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status == 0:
            return
        text = ctypes.c_char_p()
        self._library.cuGetErrorString(status, ctypes.byref(text))
        said = (text.value or b"unknown").decode(errors="replace")
        if status == _OUT_OF_MEMORY:
            raise DeviceError(f"the GPU has no memory left ({function}: {said})", hint="free memory on the device")
        raise DeviceError(f"the GPU driver refused {function}: {said} ({status})")


def _of(size_bytes: int, stream: int) -> tuple[Any, Any]:
    return ctypes.c_size_t(size_bytes), ctypes.c_void_p(stream)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
