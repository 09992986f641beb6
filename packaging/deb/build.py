"""The Debian package of the agent: wheels for the Pythons of Debian and Ubuntu, of which the package's own script makes
an environment for the one that is there. No network is needed, and nothing of the system's Python is touched.

It is laid out as `edgectl device add` lays it out, so that `device add` finds it, and enrols it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

from packaging.utils import parse_wheel_filename
from packaging.version import Version

from edgectl_host.provision.steps import unit
from edgectl_host.provision.survey import script
from edgectl_protos.version import VERSION

PREFIX, STATE, SOCKET = "/opt/edgectl", "/var/lib/edgectl", "/run/edgectl/agent.sock"
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
OWN = ("edgectl-agent", "edgectl-protos")
BASE = (
    *("grpcio", "protobuf", "blake3", "typing-extensions", "numpy"),
    *("cryptography", "cffi", "pycparser", "pip"),
)
"""For the daemon, its enrolment and a worker; runtimes come by `edgectl device add`, or by pip."""

RUN = f"""#!/bin/sh
# Over the network it is reached once it is enrolled: edgectl-agent enrol.
set -- --listen unix:{SOCKET}
[ -e {STATE}/trust/identity.json ] && set -- "$@" --listen tls:0.0.0.0:7443
export PYTHONDONTWRITEBYTECODE=1
exec {PREFIX}/current/agent/bin/python -m edgectl_agent run --state-dir {STATE} "$@" \\
  --interpreters-file {PREFIX}/current/interpreters.json
"""

NO_INTERPRETERS = '{"interpreters": {}}\n'

CONTROL = """Package: edgectl-agent
Version: {version}
Architecture: {arch}
Maintainer: edgectl <edgectl@localhost>
Depends: python3 (>= 3.10), passwd, libc6 (>= 2.31), libstdc++6
Section: net
Priority: optional
Description: installs robot policies, proves them, and measures their loop
 The agent of edgectl: one small daemon per device. Hosts reach it over mutual
 TLS once it is enrolled, and on a unix socket before.
"""

CHOOSE = r"""
set -e
[ "$1" = configure ] || exit 0
minor=$(python3 -c 'import sys; print("%d%d" % sys.version_info[:2])')
wheels=
for wheel in "$prefix"/wheels/*.whl; do
  name=${wheel##*/}
  case "$name" in
    pip-*) installer=$name ;;
    *-"cp$minor-cp$minor"-* | *-abi3-* | *-py3-none-*) wheels="$wheels $name" ;;
  esac
done
python=/usr/bin/python3
version="$package-py$minor"
folder="$prefix/versions/$version/agent"
"""

FINISH = r"""
own_state
mkdir -p -m 750 /run/edgectl
ln -sf "$prefix/current/agent/bin/edgectl-agent" /usr/bin/edgectl-agent
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload && systemctl enable -q "$unit" && systemctl restart "$unit"
fi
"""

BEFORE_REMOVAL = r"""
[ -d /run/systemd/system ] && { systemctl stop "$unit"; systemctl disable -q "$unit"; }
[ "$1" = remove ] || exit 0
rm -rf "$prefix/versions" "$prefix/current"
rm -f /usr/bin/edgectl-agent
exit 0
"""

AFTER_REMOVAL = r"""
[ "$1" = purge ] || exit 0
rm -rf "$prefix" "$state" /run/edgectl
id edgectl-worker >/dev/null 2>&1 && userdel edgectl-worker
exit 0
"""


def main() -> int:
    """Build one package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", choices=sorted(DEBIAN), required=True)
    parser.add_argument("--wheels", type=Path, required=True, help="where the distributions' own wheels are")
    parser.add_argument("--wheelhouse", type=Path, required=True, help="those of others, for this architecture")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    print(build(options.arch, options.wheels, options.wheelhouse, options.out))
    return 0


def build(arch: str, wheels: Path, wheelhouse: Path, out: Path) -> Path:
    """The package, written to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    package = out.absolute() / f"edgectl-agent_{VERSION}_{DEBIAN[arch]}.deb"
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        root.chmod(0o755)
        kept = root / PREFIX[1:] / "wheels"
        kept.mkdir(parents=True)
        for path in (*chosen(wheels, OWN, Version(VERSION)), *chosen(wheelhouse, BASE)):
            shutil.copyfile(path, kept / path.name)
        service = root / "lib/systemd/system/edgectl-agent.service"
        service.parent.mkdir(parents=True)
        service.write_text(unit("system.service", prefix=PREFIX, hidden="yes"))
        licence = root / "usr/share/doc/edgectl-agent/copyright"
        licence.parent.mkdir(parents=True)
        shutil.copyfile(Path(__file__).parents[2] / "LICENSE", licence)
        information = root / "DEBIAN"
        information.mkdir()
        (information / "control").write_text(CONTROL.format(version=VERSION, arch=DEBIAN[arch]))
        for name, text in _scripts().items():
            (information / name).write_text(text)
            (information / name).chmod(0o755)
        command = ["dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(root), str(package)]
        # The same bytes from the same wheels.
        environment = {"SOURCE_DATE_EPOCH": "1767225600", "PATH": "/usr/bin:/bin"}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return package


def chosen(folder: Path, projects: Collection[str], version: Version | None = None) -> list[Path]:
    """The wheels of these projects, of one version or of whichever are there; each must have one."""
    found: dict[str, list[Path]] = {project: [] for project in projects}
    for path in sorted(folder.glob("*.whl")):
        project, of, *_ = parse_wheel_filename(path.name)
        if project in found and version in (None, of):
            found[project].append(path)
    missing = sorted(project for project, paths in found.items() if not paths)
    if missing:
        raise SystemExit(f"{folder} has no wheel of {', '.join(missing)}" + (f" {version}" if version else ""))
    return [path for paths in found.values() for path in paths]


def _scripts() -> dict[str, str]:
    """The package's own scripts, made of those with which `device add` does the same."""
    functions = script("functions", service="system", prefix=PREFIX, state=STATE, socket=SOCKET)
    # A step that is done ends its script: here it is a subshell.
    venv = f"({script('venv', options='')}) || exit 1\n"
    activate = f"({script('activate', run=RUN, interpreters=NO_INTERPRETERS, switch='yes')}) || exit 1\n"
    named = f"#!/bin/sh\npackage={VERSION}-deb\n{functions}"
    return {
        "postinst": f"{named}{CHOOSE}{venv}{activate}{FINISH}",
        "prerm": f"{named}{BEFORE_REMOVAL}",
        "postrm": f"{named}{AFTER_REMOVAL}",
    }


if __name__ == "__main__":
    sys.exit(main())
