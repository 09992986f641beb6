"""`edgectl-agent run`: arguments → AgentConfig → Agent, until a signal. `edgectl-agent enrol`: into a fleet."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Before everything that takes time to import: until there is a handler, an interrupt ends it without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import logging
import os
import sys
from pathlib import Path
from types import ModuleType

from edgectl_agent.config import (
    DEFAULT_RESERVE_BYTES,
    MIB,
    TLS_1_3_ONLY_CIPHERS,
    VERSION,
    AgentConfig,
    SandboxConfig,
    default_board,
    default_device,
)
from edgectl_protos.domain.errors import EdgectlError, InternalError, UsageError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run an agent until SIGTERM or SIGINT; the exit status."""
    # A pipe, since a handler may come at any instruction, and could wait for itself at a lock.
    ended, ends = os.pipe()
    # Before everything that takes time: whoever ends it in its first moments gets no traceback either.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(ends, b"\0"))
    options = _parser().parse_args(arguments)
    if options.command != "run":
        # Nothing to take leave of: it ends as any program does.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
    logging.basicConfig(
        stream=sys.stderr, level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        if options.command == "hello":
            return _hello(options.address, options.timeout)
        return _enrol(options) if options.command == "enrol" else _run(_config(options), ended)
    except EdgectlError as exc:
        error = exc
    except Exception as exc:
        logging.getLogger(__name__).exception("the agent ends")
        error = InternalError(f"the agent has a defect: {type(exc).__name__}: {exc}")
    print(f"edgectl-agent: {error.message} [{error.reason}]", file=sys.stderr)  # noqa: T201 (the user's answer)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)  # noqa: T201
    return error.exit_code


def _run(config: AgentConfig, ended: int) -> int:
    from edgectl_agent.core.device.memory import give_back_memory, keep_memory_small

    # Before the first thread, and before gRPC is imported.
    keep_memory_small()
    _slim()
    from edgectl_agent.app import Agent

    agent = Agent.from_config(config)
    agent.start()
    try:
        give_back_memory()
        print(f"listening on {', '.join(agent.addresses)}", flush=True)  # noqa: T201 (whoever started it waits for this)
        os.read(ended, 1)
    finally:
        agent.stop()
    return 0


def _hello(address: str, timeout_s: float) -> int:
    from edgectl_agent.ask import ask_hello
    from edgectl_protos.codec.document import canonical_bytes

    print(canonical_bytes(ask_hello(address, timeout_s)).decode())  # noqa: T201 (the answer)
    return 0


def _enrol(options: argparse.Namespace) -> int:
    from edgectl_agent.enrol import Enroller

    enroller = Enroller(options.state_dir.absolute())
    if options.request:
        sys.stdout.write(enroller.request(options.name))
    elif options.install:
        print(enroller.install(sys.stdin.buffer))  # noqa: T201 (the user's answer)
    else:
        print(enroller.join(sys.stdin.readline() if options.code == "-" else options.code))  # noqa: T201
    return 0


def _slim() -> None:
    """Keep modules out of memory that the daemon never uses.

    gRPC imports asyncio and its own asyncio face, which a synchronous server does not touch (3 MB, and with ssl 5 more;
    gRPC has its own TLS), and grpc_tools, a compiler, where that happens to be installed.
    """
    for name in ("asyncio", "grpc.aio"):
        sys.modules.setdefault(name, ModuleType(name))
    for name in ("ssl", "grpc_tools"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    os.environ["GRPC_SSL_CIPHER_SUITES"] = TLS_1_3_ONLY_CIPHERS


def _config(options: argparse.Namespace) -> AgentConfig:
    interpreters = {}
    for pair in options.interpreter:
        runtime, equals, path = pair.partition("=")
        if not (runtime and equals and path):
            raise UsageError(f"--interpreter {pair!r} is not RUNTIME=PYTHON")
        interpreters[runtime] = path
    return AgentConfig(
        state_dir=options.state_dir,
        listen=tuple(options.listen),
        device=options.device,
        board=options.board,
        stand_in_for=options.stand_in_for,
        interpreters=interpreters,
        interpreters_file=options.interpreters_file,
        reserve_bytes=options.reserve_mib * MIB,
        sandbox=SandboxConfig(active=options.sandbox, user=options.worker_user, memory_bytes=options.worker_mib * MIB),
    )


class _Formatter(argparse.HelpFormatter):
    """Of a fixed width: to ask the terminal for its own, argparse loads shutil and compressors, a megabyte."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=100)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgectl-agent", description="The agent of edgectl on a device.", formatter_class=_Formatter
    )
    parser.add_argument("--version", action="version", version=f"edgectl-agent {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the agent in the foreground", formatter_class=_Formatter)
    run.add_argument("--state-dir", type=Path, required=True, metavar="DIR", help="where it keeps everything")
    run.add_argument(
        "--listen",
        required=True,
        action="append",
        metavar="unix:PATH|tls:HOST:PORT",
        help="the socket or port it listens on; may be repeated; tls needs edgectl-agent enrol first",
    )
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
        type=_mib,
        default=DEFAULT_RESERVE_BYTES // MIB,
        metavar="N",
        help="disk space that no installation may use (default: %(default)s)",
    )
    run.add_argument(
        "--no-sandbox", dest="sandbox", action="store_false", help="run workers with all rights of the agent"
    )
    run.add_argument(
        "--worker-user",
        default="",
        metavar="NAME",
        help="whose rights workers have, where the agent is root (default: edgectl-worker, or nobody)",
    )
    run.add_argument(
        "--worker-mib",
        type=_mib,
        default=0,
        metavar="N",
        help="memory that one worker may take (default: nine tenths of the machine's)",
    )
    run.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    _enrol_options(commands.add_parser("enrol", help="get a certificate from a host", formatter_class=_Formatter))
    hello = commands.add_parser(
        "hello", help="ask whether an agent of this machine answers", formatter_class=_Formatter
    )
    hello.add_argument("address", metavar="unix:PATH", help="the socket it listens on")
    hello.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS", help="how long to wait for it")
    hello.set_defaults(log_level="warning")
    return parser


def _mib(text: str) -> int:
    """A number of MiB, as argparse asks for it."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is less than nothing")
    return number


def _enrol_options(enrol: argparse.ArgumentParser) -> None:
    enrol.add_argument("--state-dir", type=Path, required=True, metavar="DIR", help="the agent's own")
    enrol.add_argument("--name", default=default_device(), help="name of this device, with --request")
    way = enrol.add_mutually_exclusive_group(required=True)
    way.add_argument(
        "code", nargs="?", metavar="CODE", help="what edgectl device invite printed; - reads it from stdin"
    )
    way.add_argument("--request", action="store_true", help="make a key and print the request for its certificate")
    way.add_argument("--install", action="store_true", help="read the certificate from standard input")
    enrol.set_defaults(log_level="warning")


if __name__ == "__main__":
    sys.exit(main())
