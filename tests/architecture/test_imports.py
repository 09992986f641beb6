"""Who may import whom, checked on the real processes and not only on the import graph."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# grpc itself looks for the last two and goes on without them.
DAEMON_MAY_LOAD = {"edgectl_agent", "edgectl_protos", "grpc", "google", "blake3", "grpc_tools", "typing_extensions"}


def loaded_after(statement: str) -> set[str]:
    """Names of the modules that a bare process holds after the statement."""
    code = f"{statement}\nimport sys; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_arrows_of_the_house_hold():
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_daemon_loads_the_standard_library_grpc_protobuf_blake3_and_the_protocol_only():
    bare = {name.split(".")[0] for name in loaded_after("pass")}
    roots = {name.split(".")[0] for name in loaded_after("import edgectl_agent.app")}
    # Names without a spec of their own are C accelerators that the allowed packages register.
    extensions = {"_upb", "_cffi_backend", "cython_runtime", "_cython_3_2_4"}
    foreign = {
        name
        for name in roots - bare - DAEMON_MAY_LOAD - extensions
        if name not in sys.stdlib_module_names and not name.startswith("_cython")
    }
    assert foreign == set()


def test_help_imports_nothing_heavy():
    loaded = loaded_after("import edgectl_host.__main__, edgectl_host.cli")
    heavy = {
        "numpy",
        "onnx",
        "onnxruntime",
        "openvino",
        "nncf",
        "grpc",
        "sqlalchemy",
        "rich",
        "msgspec",
        "yaml",
    }
    assert not {name.split(".")[0] for name in loaded} & heavy


def test_importing_the_protocol_package_imports_nothing_else():
    assert not [name for name in loaded_after("import edgectl_protos") if name.startswith(("grpc", "google."))]


def test_the_rooms_themselves_are_no_packages():
    for room in ("protos", "device_profiles", "converters", "agent", "host", "packaging", "tests"):
        assert not (ROOT / room / "__init__.py").exists()
