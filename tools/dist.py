"""Everything that is handed out, in `dist/`: `make dist`.

The wheels of the five distributions (two builds give the same bytes), a wheelhouse for each architecture and Python of
what an agent needs there, for hosts without a network (`edgectl device add --wheelhouse`), and a Debian package of the
agent for each architecture.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from setup import DISTRIBUTIONS

from edgectl_host.provision.survey import Libc
from edgectl_host.provision.wheels import INSTALLER, Target, WheelStore, requirements_of

ROOT = Path(__file__).resolve().parent.parent
OLDEST_GLIBC = Libc("glibc", 2, 31)
"""That of JetPack 5 and Debian 11; newer systems load the same wheels."""


def main() -> int:
    """Build what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--arch", action="append", choices=("x86_64", "aarch64"), help="of wheelhouses; both")
    parser.add_argument("--python", action="append", help="of wheelhouses; 3.10, 3.11, 3.12 and 3.13")
    parser.add_argument("--extra", action="append", help="of the agent; onnxrt, language and video")
    parser.add_argument("--wheels-only", action="store_true", help="neither wheelhouses nor Debian packages")
    options = parser.parse_args()
    out: Path = options.out.absolute()
    wheels = build_wheels(out)
    print(*(f"{path.relative_to(out.parent)}  {path.stat().st_size / 1e3:.0f} kB" for path in wheels), sep="\n")
    if options.wheels_only:
        return 0
    extras = tuple(options.extra or ("onnxrt", "language", "video"))
    for arch in options.arch or ("x86_64", "aarch64"):
        pythons = options.python or ("3.10", "3.11", "3.12", "3.13")
        house = out / "wheelhouse" / arch
        count = fill_wheelhouse(house, arch, pythons, extras)
        size = sum(path.stat().st_size for path in house.iterdir())
        print(f"{house.relative_to(out.parent)}  {count} wheels, {size / 1e6:.0f} MB")
        if shutil.which("dpkg-deb"):
            script = ROOT / "packaging" / "deb" / "build.py"
            command = [sys.executable, script, "--arch", arch, "--wheels", out, "--wheelhouse", house, "--out", out]
            subprocess.run([str(word) for word in command], check=True)
    return 0


def build_wheels(out: Path, checkout: Path = ROOT) -> list[Path]:
    """The wheel of each distribution of a checkout; ends the process, with what was said, where one cannot be built."""
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("edgectl_*.whl"):
        old.unlink()
    for name in DISTRIBUTIONS:
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
        done = subprocess.run(command, cwd=checkout / name, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{name} has no wheel:\n{done.stdout}{done.stderr}")
    return sorted(out.glob("edgectl_*.whl"))


def fill_wheelhouse(house: Path, arch: str, pythons: Sequence[str], extras: Sequence[str]) -> int:
    """Fetch what an agent with these extras needs on each Python; how many wheels there are."""
    shutil.rmtree(house, ignore_errors=True)
    house.mkdir(parents=True)
    store = WheelStore(ROOT / ".cache" / "wheels")
    for python in pythons:
        target = Target(arch, OLDEST_GLIBC, python)
        for wheel in store.fetch(target, (INSTALLER, *requirements_of(("trust", "worker", *extras), target)), print):
            shutil.copyfile(store.path(wheel), house / wheel.name)
    return len(list(house.iterdir()))


if __name__ == "__main__":
    sys.exit(main())
