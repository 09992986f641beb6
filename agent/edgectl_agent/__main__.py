"""`edgectl-agent run --state-dir DIR --listen unix:PATH`: arguments → AgentConfig → Agent, until a signal."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from edgectl_agent.config import (
    DEFAULT_RESERVE_BYTES,
    MIB,
    VERSION,
    AgentConfig,
    default_board,
    default_device,
)
from edgectl_protos.domain.errors import EdgectlError, UsageError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run an agent until SIGTERM or SIGINT; the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        return _run(_config(options))
    except EdgectlError as exc:
        print(f"edgectl-agent: {exc.message} [{exc.reason}]", file=sys.stderr)  # noqa: T201 (the user's answer)
        if exc.hint:
            print(f"  {exc.hint}", file=sys.stderr)  # noqa: T201
        return exc.exit_code


def _run(config: AgentConfig) -> int:
    from edgectl_agent.core.device.memory import give_back_memory, keep_memory_small

    # Before the first thread, and before gRPC is imported.
    keep_memory_small()
    _slim()
    from edgectl_agent.app import Agent

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    agent = Agent.from_config(config)
    agent.start()
    try:
        give_back_memory()
        print(f"listening on {agent.address}", flush=True)  # noqa: T201 (whoever started it waits for this)
        ended.wait()
    finally:
        agent.stop()
    return 0


def _slim() -> None:
    """Keep modules out of memory that an agent on a unix socket never uses.

    gRPC imports asyncio, which imports ssl (OpenSSL, 5 MB) for want of an ImportError; gRPC has its own TLS.
    It also imports grpc_tools, a compiler, where that happens to be installed.
    """
    for name in ("ssl", "grpc_tools"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def _config(options: argparse.Namespace) -> AgentConfig:
    interpreters = {}
    for pair in options.interpreter:
        runtime, equals, path = pair.partition("=")
        if not (runtime and equals and path):
            raise UsageError(f"--interpreter {pair!r} is not RUNTIME=PYTHON")
        interpreters[runtime] = path
    return AgentConfig(
        state_dir=options.state_dir,
        listen=options.listen,
        device=options.device,
        board=options.board,
        stand_in_for=options.stand_in_for,
        interpreters=interpreters,
        interpreters_file=options.interpreters_file,
        reserve_bytes=options.reserve_mib * MIB,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgectl-agent", description="The agent of edgectl on a device.")
    parser.add_argument("--version", action="version", version=f"edgectl-agent {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the agent in the foreground")
    run.add_argument("--state-dir", type=Path, required=True, metavar="DIR", help="where it keeps everything")
    run.add_argument("--listen", required=True, metavar="unix:PATH", help="the socket it listens on")
    run.add_argument("--device", default=default_device(), help="name of this device (default: %(default)s)")
    run.add_argument("--board", default=default_board(), help="its board profile (default: %(default)s)")
    run.add_argument("--stand-in-for", default="", metavar="BOARD", help="board that this machine merely stands in for")
    run.add_argument(
        "--interpreter",
        action="append",
        default=[],
        metavar="RUNTIME=PYTHON",
        help="the Python that holds a runtime, when it is not this one; may be repeated",
    )
    run.add_argument(
        "--interpreters-file",
        type=Path,
        metavar="FILE",
        help='the same as JSON, {"interpreters": {RUNTIME: PYTHON}}; read again whenever it matters',
    )
    run.add_argument(
        "--reserve-mib",
        type=int,
        default=DEFAULT_RESERVE_BYTES // MIB,
        metavar="N",
        help="disk space that no installation may use (default: %(default)s)",
    )
    run.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
