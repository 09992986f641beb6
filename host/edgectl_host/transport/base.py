"""A device as the workflows see it. `grpc.py` is the real one; tests have an in-memory one.

Every method raises only members of the error tree (and what cancels a task); the device's own refusals arrive with
the reason and hint that the device gave. `tests/contracts/device_client.py` says what each must do.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from edgectl_protos.domain.artifact import Digest
from edgectl_protos.domain.chunks import ChunkList
from edgectl_protos.domain.deployment import Deployment, DeploymentEvent
from edgectl_protos.domain.device import DeviceFacts, HelloReply
from edgectl_protos.domain.loop import LoopOverrides
from edgectl_protos.domain.run import Run, RunEvent
from edgectl_protos.domain.trust import DeviceTrust, Signed

__all__ = ["DeviceClient", "Installed", "Offered", "TrustCalls"]


@dataclass(frozen=True, slots=True)
class Offered:
    """What the device lacks of a blob: stretches of the offered chunks. `upload` stands in every frame of them."""

    complete: bool
    missing: tuple[range, ...] = ()
    upload: bytes = b""


@dataclass(frozen=True, slots=True)
class Installed:
    """Deployments, newest first, which releases are installed, and which a run may name: proved there, and whole.
    `problems` says what is wrong on the disk with releases that should be there.
    """

    deployments: tuple[Deployment, ...]
    current: Digest | None
    previous: Digest | None
    kept: tuple[Digest, ...] = ()
    problems: Mapping[Digest, str] = field(default_factory=dict)


class TrustCalls(abc.ABC):
    """What is said to a device about trust; docs/trust.md."""

    @abc.abstractmethod
    async def state(self) -> DeviceTrust:
        """What the device has accepted so far.

        Raises:
            ProtocolError: its agent is older than all of this.
        """

    @abc.abstractmethod
    async def request_certificate(self) -> str:
        """The request for the certificate of a new key, PEM."""

    @abc.abstractmethod
    async def install_certificate(self, enrolment: bytes) -> DeviceTrust:
        """Give the device the certificate that it asked for.

        Raises:
            EnrolmentError: it does not fit.
        """

    @abc.abstractmethod
    async def revoke(self, revocations: Signed) -> DeviceTrust:
        """Give the device the newest list of revoked certificates."""

    @abc.abstractmethod
    def audit(self, from_number: int) -> AsyncIterator[bytes]:
        """Lines of the device's audit log."""


class DeviceClient(abc.ABC):
    """One connection to one agent. `trust` is the part of it that concerns trust."""

    trust: TrustCalls

    def __init__(self, device: str) -> None:
        self.device = device
        self.agent_version = ""
        self.capabilities: frozenset[str] = frozenset()
        """What the agent said in its hello that it can do."""

    async def __aenter__(self) -> DeviceClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @abc.abstractmethod
    async def close(self) -> None:
        """End the connection."""

    @abc.abstractmethod
    async def hello(self) -> HelloReply:
        """Who answers.

        Raises:
            UnreachableError: nobody.
            ProtocolError: no common protocol version.
        """

    @abc.abstractmethod
    async def facts(self, *, refresh: bool = False) -> DeviceFacts:
        """The environment stamp."""

    @abc.abstractmethod
    async def create(self, manifest: bytes, *, owner: str, deployment_id: str) -> Deployment:
        """Plan a release, or re-attach to the deployment that already carries it.

        Raises:
            BusyError: another deployment holds the device.
            BundleError: the manifest is not acceptable.
        """

    @abc.abstractmethod
    async def offer(self, deployment_id: str, digest: Digest, chunks: ChunkList) -> Offered:
        """Reserve space for a blob and learn what is missing: what neither an earlier upload nor another blob gave.

        Raises:
            DiskFullError: there is no room.
        """

    @abc.abstractmethod
    def upload(self, frames: AsyncIterable[bytes], *, lane: int = 0) -> AsyncGenerator[int, None]:
        """Send frames of one upload; how many bytes of their chunks are durable on the device, whenever that has grown.

        Each lane is a connection of its own; lane 0 is the one of all other calls.

        Raises:
            BundleCorruptError: a chunk is not the one that was offered.
            StateError: the device knows no such upload, or takes no blobs any more.
            UnreachableError: the device is gone, or has taken nothing more for a minute.
        """

    @abc.abstractmethod
    async def commit(self, deployment_id: str, digest: Digest) -> None:
        """Verify the whole blob and make it visible.

        Raises:
            BundleCorruptError: the bytes do not match the digest; the device has dropped them.
        """

    @abc.abstractmethod
    async def start(self, deployment_id: str) -> Deployment:
        """Let the staged deployment go on by itself."""

    @abc.abstractmethod
    async def get(self, deployment_id: str) -> Deployment:
        """The deployment as it stands."""

    @abc.abstractmethod
    async def installed(self) -> Installed:
        """All deployments that the device remembers."""

    @abc.abstractmethod
    def watch(self, deployment_id: str, *, after_sequence: int = 0) -> AsyncIterator[DeploymentEvent]:
        """Events of a deployment until it rests; each is acknowledged once it was yielded."""

    @abc.abstractmethod
    async def cancel(self, deployment_id: str) -> Deployment:
        """Withdraw a deployment that has not begun to activate."""

    @abc.abstractmethod
    async def rollback(self, *, owner: str) -> Deployment:
        """Put the previous release back.

        Raises:
            StateError: there is no previous release.
        """

    @abc.abstractmethod
    async def create_run(
        self, run_id: str, overrides: LoopOverrides, release: Digest | None = None, *, owner: str, part_of: str = ""
    ) -> Run:
        """Begin to measure the loop of the installed release, or of a kept one; or find the run of this id. It goes on
        without us.

        Raises:
            StateError: nothing is installed, or the release is not kept.
            BusyError: another run, or a deployment, holds the device.
            ProtocolError: the agent is older than runs that go on by themselves.
        """

    @abc.abstractmethod
    def watch_run(self, run_id: str, *, after_sequence: int = 0) -> AsyncIterator[RunEvent]:
        """Events of a run until it is over; the last has the summary or the failure.

        Raises:
            NotFoundError: the device remembers no such run.
        """

    @abc.abstractmethod
    async def cancel_run(self, run_id: str) -> Run:
        """End a run; one that is over stays as it is."""

    @abc.abstractmethod
    async def runs(self) -> tuple[Run, ...]:
        """The runs that the device remembers, newest first."""

    @abc.abstractmethod
    def fetch_samples(self, run_id: str, *, offset: int = 0) -> AsyncIterator[bytes]:
        """The spooled samples of a finished run: the bytes of an .npz, from an offset."""
