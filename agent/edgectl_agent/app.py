"""The composition root: builds every object of an agent, and owns the order of its start and stop.

Start: lock of the state directory → lock of the socket → servers are bound → what an earlier agent left is answered for
→ ready. An agent whose disk is full, read-only or damaged starts all the same, and says so to whoever says hello.
Stop: no new calls → workers killed → waiting calls released → threads joined → socket and lock gone. A deployment
that is stopped in the middle goes on at the next start.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from types import TracebackType

import grpc

from edgectl_agent.config import PROTOCOL_MAX, PROTOCOL_MIN, VERSION, AgentConfig
from edgectl_agent.core.address import claim_socket, release_socket, socket_path
from edgectl_agent.core.deployments.course import Course
from edgectl_agent.core.deployments.deployer import Deployer
from edgectl_agent.core.deployments.installer import Installer
from edgectl_agent.core.deployments.intake import Intake
from edgectl_agent.core.deployments.journal import Journal
from edgectl_agent.core.deployments.lease import Lease
from edgectl_agent.core.deployments.outbox import Outbox
from edgectl_agent.core.deployments.register import Register
from edgectl_agent.core.device.facts import Facts, Identity, parse_memory_bytes, read_boot_id
from edgectl_agent.core.device.occupancy import Occupancy
from edgectl_agent.core.device.probe import Probe
from edgectl_agent.core.device.telemetry import Telemetry, read_text
from edgectl_agent.core.health import Health
from edgectl_agent.core.hello import Hello
from edgectl_agent.core.runs.records import RunRecords
from edgectl_agent.core.runs.runs import Runs
from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.store.claim import claim_state_dir
from edgectl_agent.core.store.layout import Layout
from edgectl_agent.core.store.store import Store
from edgectl_agent.core.store.upload import SyncRule
from edgectl_agent.core.trust.admission import Admission
from edgectl_agent.core.trust.audit import AuditLog
from edgectl_agent.core.trust.folder import TrustFolder
from edgectl_agent.core.trust.keyring import Keyring
from edgectl_agent.core.trust.membership import Membership
from edgectl_agent.core.workers.builds import Builds
from edgectl_agent.core.workers.interpreters import Interpreters
from edgectl_agent.core.workers.pool import WorkerPool
from edgectl_agent.core.workers.sandbox import Sandbox
from edgectl_agent.core.workers.sessions import Sessions
from edgectl_agent.server.artifact import ArtifactServicer, add_artifact_service
from edgectl_agent.server.callers import AccessInterceptor, Callers
from edgectl_agent.server.deployment import DeploymentServicer
from edgectl_agent.server.info import InfoServicer
from edgectl_agent.server.interceptors import CallInterceptor
from edgectl_agent.server.limits import MAX_CALLS, MAX_REQUEST_BYTES, Places
from edgectl_agent.server.profile import ProfileServicer
from edgectl_agent.server.tls import credentials
from edgectl_agent.server.trust import TrustServicer
from edgectl_protos.agent.v1 import (
    deployment_service_pb2_grpc,
    info_service_pb2_grpc,
    profile_service_pb2_grpc,
    trust_service_pb2_grpc,
)
from edgectl_protos.domain.address import TlsAddress, UnixAddress, parse_address
from edgectl_protos.domain.errors import AddressError, EdgectlError

__all__ = ["Agent"]

_LOG = logging.getLogger(__name__)

_KEEP_ALIVE_MS = 60_000
# Of each listener, 60 KB each: well below the 1,024 descriptors that a service has by default.
_MAX_CONNECTIONS = 512
_HANDSHAKE_TIMEOUT_MS = 10_000
_MAX_IDLE_MS = 60_000


class Agent:
    """A whole agent. `from_config` builds it, `start` makes it ready, `stop` ends it."""

    def __init__(
        self,
        config: AgentConfig,
        layout: Layout,
        disk: Disk,
        health: Health,
        occupancy: Occupancy,
        deployer: Deployer,
        runs: Runs,
        pool: WorkerPool,
        trust: TrustFolder,
        server_factory: Callable[[], grpc.Server],
    ) -> None:
        self._config = config
        self._layout = layout
        self._disk = disk
        self._health = health
        self._occupancy = occupancy
        self._deployer = deployer
        self._runs = runs
        self._pool = pool
        self._trust = trust
        self._server_factory = server_factory
        self._server: grpc.Server | None = None
        self._held = contextlib.ExitStack()
        self._addresses: list[str] = []

    @classmethod
    def from_config(cls, config: AgentConfig, *, disk: Disk | None = None) -> Agent:
        """The agent as configured. Tests hand in a disk that fails."""
        disk = disk or Disk()
        root = Path("/")
        layout = Layout(config.state_dir.absolute())
        health = Health(layout, disk)
        interpreters = Interpreters(config.interpreter, config.interpreters, config.interpreters_file)
        sandbox = Sandbox(
            layout,
            config.sandbox,
            machine_bytes=parse_memory_bytes(read_text(root / "proc/meminfo")),
            python=config.interpreter,
        )
        pool = WorkerPool(
            layout,
            disk,
            sandbox,
            arguments=config.worker_arguments,
            stop_s=config.worker_stop_s,
            logs_kept=config.worker_logs_kept,
        )
        facts = Facts(
            Identity(config.device, config.board, config.stand_in_for),
            Telemetry(layout.root, root=root),
            Probe(pool, interpreters, timeout_s=config.probe_timeout_s),
            sandbox.report,
            root=root,
        )
        rule = SyncRule(config.sync_every_bytes, config.sync_every_s)
        store = Store(layout, disk, reserve_bytes=config.reserve_bytes, sync_rule=rule)
        sessions = Sessions(layout, pool, interpreters, store.check_whole, load_timeout_s=config.load_timeout_s)
        register = Register(
            Journal(layout, disk),
            Outbox(layout.outbox, disk, kept=config.events_kept),
            kept=config.deployments_kept,
        )
        builds = Builds(
            layout,
            store,
            pool,
            interpreters,
            timeout_s=config.build_timeout_s,
            spare_bytes=config.build_spare_bytes,
        )
        occupancy = Occupancy()
        deployer = Deployer(
            Course(
                register,
                store,
                occupancy,
                Lease(config.lease_s, config.staging_deadline_s),
                releases_kept=config.releases_kept,
            ),
            Installer(
                store,
                sessions,
                builds,
                register.note,
                parity_timeout_s=config.parity_timeout_s,
                smoke_timeout_s=config.smoke_timeout_s,
            ),
            sessions,
            builds,
            facts.runtimes,
            cancel_wait_s=config.cancel_wait_s,
        )
        runs = Runs(
            RunRecords(layout.runs, layout.damaged, disk, pool.take_back, kept=config.runs_kept),
            store,
            sessions,
            deployer,
            occupancy,
            facts,
            margin_s=config.run_margin_s,
            cancel_wait_s=config.cancel_wait_s,
        )
        trust = TrustFolder(layout.trust, disk)
        audit = AuditLog(layout.trust, disk)
        keyring = Keyring(config.interpreter, timeout_s=config.keys_timeout_s)
        membership = Membership(trust, keyring, audit)
        callers = Callers(membership)
        hello = Hello(
            version=VERSION,
            protocol_min=PROTOCOL_MIN,
            protocol_max=PROTOCOL_MAX,
            device=config.device,
            boot_id=read_boot_id(),
            health=health,
        )

        def server() -> grpc.Server:
            made = grpc.server(
                futures.ThreadPoolExecutor(config.rpc_threads, thread_name_prefix="rpc"),
                # The first is the outermost: refusals too leave as members of the error tree.
                interceptors=[CallInterceptor(Places(silent_s=config.lease_s)), AccessInterceptor(callers, audit)],
                options=[
                    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
                    # Two agents must never share a port, each answering some of the calls.
                    ("grpc.so_reuseport", 0),
                    # Whoever only connects takes no descriptors that files and workers need, and not for long.
                    ("grpc.max_allowed_incoming_connections", _MAX_CONNECTIONS),
                    ("grpc.server_handshake_timeout_ms", _HANDSHAKE_TIMEOUT_MS),
                    ("grpc.max_connection_idle_ms", _MAX_IDLE_MS),
                    # A host that is gone without a word gives its call's place back.
                    ("grpc.keepalive_time_ms", _KEEP_ALIVE_MS),
                    ("grpc.keepalive_timeout_ms", _KEEP_ALIVE_MS),
                    # Hosts ask every few seconds whether the agent is still there; by default that is an abuse.
                    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
                    ("grpc.http2.max_ping_strikes", 0),
                ],
                maximum_concurrent_rpcs=MAX_CALLS,
            )
            info_service_pb2_grpc.add_InfoServiceServicer_to_server(InfoServicer(hello, facts), made)
            add_artifact_service(ArtifactServicer(Intake(deployer, store)), made)
            deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(
                DeploymentServicer(deployer, register, Admission(trust, keyring), callers), made
            )
            profile_service_pb2_grpc.add_ProfileServiceServicer_to_server(ProfileServicer(runs, callers), made)
            trust_service_pb2_grpc.add_TrustServiceServicer_to_server(TrustServicer(membership, callers, audit), made)
            return made

        return cls(config, layout, disk, health, occupancy, deployer, runs, pool, trust, server)

    def __enter__(self) -> Agent:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where hosts find it, in the order in which it was told to listen."""
        return tuple(self._addresses)

    def start(self) -> None:
        """Be ready for calls when this returns.

        Raises:
            AddressError: the address is refused, or in use.
            BusyError: another agent owns the state directory.
            DeviceError: the state directory cannot be used.
        """
        # First, so that a wrong address leaves no trace on the disk.
        addresses = [parse_address(text) for text in self._config.listen]
        sockets = [socket_path(address) for address in addresses if isinstance(address, UnixAddress)]
        if not addresses or len(sockets) > 1:
            raise AddressError(f"an agent listens on one unix socket, not {len(sockets)}", hint="--listen unix:PATH")
        self._held.callback(os.close, claim_state_dir(self._layout, self._disk))
        try:
            for socket in sockets:
                self._held.callback(release_socket, socket, claim_socket(socket))
            self._server = self._server_factory()
            # Before anything works here: what a thread made meanwhile would have the socket's narrow mode.
            for address in addresses:
                self._addresses.append(self._bind(self._server, address))
            self._open()
            self._server.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything; what is unfinished goes on at the next start."""
        ended = self._server.stop(self._config.stop_grace_s) if self._server is not None else None
        self._deployer.stop()
        self._pool.close()
        self._runs.close()
        self._deployer.close()
        if ended is not None:
            ended.wait()
        self._pool.reap()
        self._held.close()

    def _open(self) -> None:
        """Answer for what an earlier agent left. Nothing on the disk keeps the agent from saying what is wrong."""
        steps = (
            ("the state directory is not complete", self._layout.make),
            ("workers of an earlier agent may live on", self._pool.end_leftovers),
            ("runs of an earlier agent cannot be looked at", self._runs.open),
        )
        for what, step in steps:
            try:
                step()
            except (OSError, EdgectlError) as exc:
                self._health.note(what, exc)
        try:
            self._deployer.open()
        except (OSError, EdgectlError) as exc:
            said = self._health.note("what is installed cannot be told", exc)
            # Nothing is begun on what nobody knows; the next start may.
            with contextlib.suppress(EdgectlError):
                self._occupancy.take(lambda: said)

    def _bind(self, server: grpc.Server, address: UnixAddress | TlsAddress) -> str:
        # The socket must never be open to others, not even until its mode is set.
        umask = os.umask(0o177)
        try:
            if isinstance(address, UnixAddress):
                socket = socket_path(address)
                server.add_insecure_port(f"unix:{socket}")
                return f"unix:{socket}"
            port = server.add_secure_port(address.endpoint, credentials(self._trust))
            return str(TlsAddress(address.host, port))
        except RuntimeError as exc:
            raise AddressError(f"cannot listen on {address}: {exc}") from exc
        finally:
            os.umask(umask)
