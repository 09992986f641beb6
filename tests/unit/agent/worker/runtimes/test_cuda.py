"""The driver's versions from recorded texts, and its calls on a double."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from edgectl_agent.worker.runtimes.cuda import Cuda, driver_version, l4t_version
from edgectl_protos.domain.errors import DeviceError, RuntimeMissingError
from edgectl_testkit.engine_doubles import FakeDriver

# Both files as NVIDIA writes them, typed from its documentation.
TEGRA = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025"
    "\n"
    "# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"
)
JETSON = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  (buildbrain@mobile-u64)\n"
    "GCC version:  collect2: error: ld returned 1 exit status\n"
)
PC = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\n"


def test_the_versions_of_board_and_driver_are_read():
    assert l4t_version(TEGRA) == "36.4.3"
    assert driver_version(JETSON) == "540.4.0"
    assert driver_version(PC) == "550.54.14"
    assert (l4t_version("Ubuntu"), driver_version("")) == ("", "")


def test_what_an_engine_is_bound_to_is_all_that_the_machine_says(tmp_path: Path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    cuda = Cuda(FakeDriver())
    assert cuda.facts(tmp_path) == {"sm": "8.7", "gpu": "Double of a GPU", "driver": "CUDA 12.6"}
    (tmp_path / "etc/nv_tegra_release").write_text(TEGRA)
    (tmp_path / "proc/driver/nvidia/version").write_text(JETSON)
    assert cuda.facts(tmp_path) == {"sm": "8.7", "gpu": "Double of a GPU", "l4t": "36.4.3", "driver": "540.4.0"}


def test_a_machine_without_a_driver_is_named():
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    with pytest.raises(RuntimeMissingError, match=r"no NVIDIA driver \(libcuda\.so\.1"):
        Cuda.open(missing)


def test_a_gpu_without_memory_is_named():
    with pytest.raises(DeviceError, match=r"no memory left \(cuMemAlloc_v2: out of memory\)"):
        Cuda(FakeDriver(memory_bytes=10)).allocate(11)


def test_what_is_put_into_a_stream_can_be_captured_and_launched_again():
    driver = FakeDriver()
    cuda = Cuda(driver)
    stream = cuda.make_stream()
    device, here, there = cuda.allocate(4), cuda.allocate_host(4), cuda.allocate_host(4)

    def both() -> None:
        cuda.copy_in(device, here, 4, stream)
        cuda.copy_out(there, device, 4, stream)

    captured = cuda.capture(stream, both)
    for text in (b"once", b"more"):
        ctypes.memmove(here, text, 4)
        cuda.launch(captured, stream)
        cuda.wait(stream)
        assert ctypes.string_at(there, 4) == text
    cuda.destroy_captured(captured)
    cuda.free(device)
    for address in (here, there):
        cuda.free_host(address)
    assert not driver.blocks
    assert not driver.captured


def test_a_stream_that_cannot_be_captured_says_so():
    cuda = Cuda(FakeDriver(captures=False))
    with pytest.raises(DeviceError, match="refused cuStreamBeginCapture_v2: invalid argument"):
        cuda.capture(cuda.make_stream(), lambda: None)
