"""Kill a real agent at random instants of real installs: `python tools/kills.py [--kills 500] [--seed 1]`.

Each round starts a daemon in a process of its own, installs one of two releases over the other (or rolls back), and
ends the daemon with SIGKILL after a time drawn from the whole length of an install. Then an agent starts on what is
left: the installed release must be one of the two, whole, byte by byte; every deployment must rest or wait for its
host; now and then it must run; and at the end both releases must install. Prints how many rounds there were and what
was found in them; ends with 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/support"))

from edgectl_agent.app import Agent  # noqa: E402
from edgectl_protos.domain.bundle import MANIFEST_NAME  # noqa: E402
from edgectl_protos.domain.deployment import TERMINAL, State  # noqa: E402
from edgectl_protos.domain.errors import EdgectlError  # noqa: E402
from edgectl_testkit.daemons import Daemons, daemons, end  # noqa: E402
from edgectl_testkit.raw_client import RawClient  # noqa: E402
from edgectl_testkit.serve import agent_config  # noqa: E402
from edgectl_testkit.stub_bundles import stub_bundle  # noqa: E402
from edgectl_testkit.whole import damage_of  # noqa: E402


class Lost(Exception):
    """Something that had been there is gone."""


def main() -> int:
    """Kill until there were enough; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1200.0, help="stop after this time in any case")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="edg-k-", dir="/tmp"))
    found: Counter[str] = Counter()
    begun = time.monotonic()
    kills = 0
    try:
        bundles = [
            stub_bundle(folder / f"b{n}", name=f"v{n}", extra={"weights.bin": draw.randbytes(3 << 20)}) for n in (0, 1)
        ]
        with daemons() as source:
            install_s = prepare(folder, bundles, source)
            print(f"an install takes {install_s:.2f} s; each kill comes within it, from the daemon's first moment on")
            span_s = install_s
            while kills < options.kills and time.monotonic() - begun < options.seconds:
                what, took_s = round_(folder, bundles, draw, kills, span_s, source)
                # As long as an install takes now, whatever else the machine does: every instant of it is met.
                span_s = span_s * 0.8 + took_s * 0.2 if took_s else span_s * 1.03
                found[what] += 1
                kills += 1
        with agent(folder) as client:
            for number, bundle in enumerate(bundles):
                if client.deploy(bundle, f"last-{number}").state is not State.COMMITTED:
                    raise Lost("a release does not install any more")
    except Lost as exc:
        print(f"lost after {kills} kills (seed {options.seed}): {exc}; the state stays in {folder}")
        return 1
    shutil.rmtree(folder)
    print(f"{kills} kills in {time.monotonic() - begun:.0f} s, seed {options.seed}: nothing lost")
    for what, count in found.most_common():
        print(f"  {count:4d} × {what}")
    return 0


def prepare(folder: Path, bundles: list[Path], source: Daemons) -> float:
    """Both releases installed once; how long an install takes, the daemon's start included."""
    took_s = 0.0
    for number, bundle in enumerate(bundles):
        begun = time.monotonic()
        pid = source.start(folder / "state", folder / "s")
        source.wait_ready(pid)
        with RawClient(f"unix:{folder}/s") as client:
            client.deploy(bundle, f"p-{number}")
        took_s = time.monotonic() - begun
        end(pid)
    return took_s


def round_(
    folder: Path, bundles: list[Path], draw: random.Random, number: int, span_s: float, source: Daemons
) -> tuple[str, float]:
    """One kill within a span, and what was found after it: the state in which the deployment was; and how long it took
    to install, where the kill came later.
    """
    begun, took_s = time.monotonic(), 0.0
    pid = source.start(folder / "state", folder / "s")
    timer = threading.Timer(draw.uniform(0, span_s * 1.1), lambda: end(pid))
    timer.start()
    identifier = f"k-{number}"
    with contextlib.suppress(EdgectlError):
        if source.wait_ready(pid):
            with RawClient(f"unix:{folder}/s") as client:
                if number % 7 == 6:
                    client.rollback()
                else:
                    # The one that is not installed: the other would be done at once.
                    client.deploy(next(b for b in bundles if release(b) not in client.listing()[1]), identifier)
                    took_s = time.monotonic() - begun
    timer.join()
    names = {release(bundle) for bundle in bundles}
    check_whole(folder / "state", names)
    with agent(folder) as client:
        before = {one.id: one.state for one in client.listing()[0]}
        for one in client.listing()[0]:
            if one.state is State.STAGING:
                client.cancel(one.id)
            list(client.watch(one.id))
            if client.get(one.id).state not in TERMINAL:
                raise Lost(f"deployment {one.id} does not come to rest: {client.get(one.id).state.value}")
        if client.problems() or client.hello().problems:
            raise Lost(f"problems: {client.problems()} {client.hello().problems}")
        # It starts two workers, which takes longer than all else here.
        if number % 5 == 0 and [event.phase.value for event in client.run(f"r-{number}")][-1] != "done":
            raise Lost("the installed release does not run")
    check_whole(folder / "state", names)
    state = before.get(identifier)
    return f"found {state.value}" if state else "found before it was written down, or in a rollback", took_s


def check_whole(state: Path, names: set[str]) -> None:
    """What a reader of the disk sees is one of the releases, byte by byte."""
    current = (state / "current").readlink().name
    if current not in names:
        raise Lost(f"installed is {current}")
    if damage := damage_of(state / "current"):
        raise Lost(damage)


def release(bundle: Path) -> str:
    """The release's name on the disk."""
    return hashlib.sha256((bundle / MANIFEST_NAME).read_bytes()).hexdigest()


@contextlib.contextmanager
def agent(folder: Path) -> Iterator[RawClient]:
    """An agent on what is left, in this process, and a client of it."""
    config = agent_config(folder / "state", f"unix:{folder}/s", lease_s=0.0)
    try:
        with Agent.from_config(config), RawClient(f"unix:{folder}/s") as client:
            yield client
    except EdgectlError as exc:
        raise Lost(f"{type(exc).__name__}: {exc.message}") from exc


if __name__ == "__main__":
    sys.exit(main())
