"""llama-bench, the profiler of llama.cpp itself: built from the sources of the binding in use, and run in blocks.

`PYTHON llama_bench.py PROGRAM MODEL THREADS DEPTH TOKENS` prints `ready`, then answers each line `N` on standard input
with a JSON list of the seconds a decoded token took in each of N repetitions, after DEPTH tokens of prompt.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["build"]

_OFF = ("BUILD_SERVER", "BUILD_TESTS", "BUILD_EXAMPLES", "CURL", "OPENSSL")


def build(python: Path, version: str, folder: Path, note: Callable[[str], None]) -> Path:
    """The program, compiled once from the source distribution of this version, for this processor as the binding is."""
    program = folder / f"llama-bench-{version}"
    if program.exists():
        return program
    note("compiling llama-bench")
    work = folder / "llama.cpp"
    shutil.rmtree(work, ignore_errors=True)
    wanted = ["--no-deps", "--no-binary", "llama-cpp-python", f"llama-cpp-python=={version}"]
    subprocess.run([str(python), "-m", "pip", "download", "-q", *wanted, "-d", str(work)], check=True)
    with tarfile.open(next(work.glob("*.tar.gz"))) as packed:
        packed.extractall(work, filter="data")
    source = next(work.glob("*/vendor/llama.cpp"))
    options = [f"-DLLAMA_{name}=OFF" for name in _OFF] + ["-DLLAMA_BUILD_TOOLS=ON", "-DBUILD_SHARED_LIBS=OFF"]
    make = ["cmake", "-S", str(source), "-B", str(work / "build"), "-DCMAKE_BUILD_TYPE=Release", *options]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    make = ["cmake", "--build", str(work / "build"), "--target", "llama-bench", "-j", "2"]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    shutil.copy2(work / "build" / "bin" / "llama-bench", program)
    shutil.rmtree(work)
    return program


def main() -> None:
    """Answer each line `N` with the seconds a token of N repetitions took."""
    program, model, threads, depth, tokens = sys.argv[1:]
    command = [program, "-m", model, "-t", threads, "-p", "0", "-n", tokens, "-d", depth, "-o", "json"]
    print("ready", flush=True)
    for line in sys.stdin:
        done = subprocess.run([*command, "-r", line.strip()], capture_output=True, text=True, check=True)
        (row,) = json.loads(done.stdout)
        print(json.dumps([nanoseconds / 1e9 / int(tokens) for nanoseconds in row["samples_ns"]]), flush=True)


if __name__ == "__main__":
    main()
