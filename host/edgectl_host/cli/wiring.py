"""The composition root: builds what commands hand to workflows; what is heavy is imported when asked for.

Tests replace it as a whole; no command builds a collaborator by itself.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgectl_host.config import HostConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgectl_converters.assignment import Choice
    from edgectl_converters.conversion import Workshop
    from edgectl_converters.toolchain import Toolchains
    from edgectl_host.cli.console import Console
    from edgectl_host.fleet.inventory import Device, Inventory
    from edgectl_host.fleet.registry import Registered, Registry
    from edgectl_host.provision.wheels import WheelStore
    from edgectl_host.runs.store import RunStore
    from edgectl_host.transport.base import DeviceClient
    from edgectl_host.transport.local import LocalAgent
    from edgectl_host.transport.ssh import Ssh
    from edgectl_host.trust.authority import Authority
    from edgectl_host.trust.folder import TrustFolder
    from edgectl_host.workflows.convert import Subject
    from edgectl_host.workflows.progress import Progress
    from edgectl_host.workflows.rates import RateStore
    from edgectl_protos.domain.device import DeviceFacts

__all__ = ["Wiring"]


class Wiring:
    """One process's collaborators."""

    def __init__(self, config: HostConfig) -> None:
        self.config = config

    def console(self, *, json_mode: bool) -> Console:
        """The terminal."""
        from edgectl_host.cli.console import Console

        return Console(self.config, json_mode=json_mode)

    def devices(
        self, *, fleet: str, labels: Sequence[str], limit: int | None, fleet_file: Path | None
    ) -> tuple[Device, ...]:
        """The devices that the fleet options select."""
        from edgectl_host.fleet.inventory import LOCAL, load_inventory
        from edgectl_host.fleet.selectors import parse_selector, select

        selectors = [parse_selector(text) for text in labels]
        # The embedded agent needs no file, not even a valid one.
        alone = fleet == LOCAL and fleet_file is None
        return select(load_inventory(None) if alone else self.inventory(fleet_file), fleet, selectors, limit)

    def inventory(self, fleet_file: Path | None = None) -> Inventory:
        """Every device that is known: by the fleet file, and by `device add`."""
        from edgectl_host.fleet.inventory import find_fleet_file, load_inventory

        path = find_fleet_file(fleet_file, cwd=Path.cwd(), config_dir=self.config.config_dir)
        return load_inventory(path, self.registry().devices())

    def remote_devices(self, fleet: str, fleet_file: Path | None = None) -> tuple[Device, ...]:
        """The devices of a fleet but the embedded agent; none where none are known."""
        from edgectl_host.fleet.inventory import ALL

        inventory = self.inventory(fleet_file)
        return inventory.remote if fleet == ALL else inventory.fleet(fleet)

    def registry(self) -> Registry:
        """The devices that agents were brought to."""
        from edgectl_host.fleet.registry import Registry

        return Registry(self.config.config_dir)

    def ssh(self, destination: str, options: Sequence[str]) -> Ssh:
        """A login on a machine."""
        from edgectl_host.transport.ssh import Ssh

        return Ssh(destination, tuple(options), self.config.short_runtime_dir)

    def ssh_to(self, registered: Registered, options: Sequence[str]) -> Ssh:
        """A login on a device as it was added, unless other options are given."""
        from dataclasses import replace

        home = registered.home
        return replace(self.ssh(home.destination, options or home.ssh_options), sudo=home.sudo)

    def wheels(self, wheelhouse: Path | None) -> WheelStore:
        """The wheels that devices need."""
        from edgectl_host.provision.wheels import WheelStore

        return WheelStore(self.config.cache_dir / "wheels", wheelhouse=wheelhouse and wheelhouse.absolute())

    def enrolling(self, passphrase: Callable[[], bytes]) -> Callable[[str, str], tuple[bytes, str]]:
        """From a device's request and name: what installs its certificate, and its identity. The authority is made with
        the first device.

        Raises:
            TrustError: this host is in a fleet whose authority is on another one, or the passphrase is wrong.
        """
        from edgectl_host.trust.authority import Authority, belongs

        if belongs(self.trust_folder()):
            known = self.authority(passphrase)
            known.ask_if_encrypted()
        else:
            known = None

        def enrol(request: str, name: str) -> tuple[bytes, str]:
            authority = known or Authority.ensure(self.trust_dir, owner=self.config.owner, passphrase=passphrase)
            issued = authority.issue_device(request, name)
            return issued.document, issued.identity

        return enrol

    def preferred_runtimes(self, board: str) -> tuple[str, ...]:
        """A board's runtimes in its order, but for those that live in an interpreter with torch."""
        from edgectl_converters.homes import lives_here
        from edgectl_profiles.library import load

        return tuple(runtime.name for runtime in load(board).runtimes if lives_here(runtime.name))

    def generic_board(self) -> str:
        """The profile for any machine of this one's architecture."""
        from edgectl_host.machine import generic_board

        return generic_board()

    async def connect(self, device: Device) -> DeviceClient:
        """A connection to a device; the embedded agent is started when it does not run.

        Where this host has the authority, the device is brought up to date by the way; where the key has a passphrase,
        for which nobody is asked here, it is told revocations alone.
        """
        from edgectl_host.trust.upkeep import keep_up, tell_revocations
        from edgectl_protos.domain.errors import EdgectlError, IdentityError

        authority = self.authority_if_any() if device.identity else None
        if authority is not None and authority.register.is_revoked(device.identity):
            raise IdentityError(
                f"{device.name}: the device {device.identity} was revoked",
                hint=f"if it is yours again, enrol it anew: edgectl device add, or edgectl device invite {device.name}",
            )
        if authority is None:
            return await self.reach(device)
        if not authority.encrypted:
            authority.renew_own(only_if_due=True)
        client = await self.reach(device)
        try:
            if authority.encrypted:
                await tell_revocations(client.trust, authority, identity=device.identity)
            else:
                await keep_up(client.trust, authority, identity=device.identity, now_s=time.time())
        except BaseException as exc:
            if not isinstance(exc, EdgectlError) or isinstance(exc, IdentityError):
                await client.close()
                raise
            # What the command came for may work all the same, and there are months left to mend this.
            click.echo(f"{device.name}: not brought up to date: {exc.message} (edgectl trust renew)", err=True)
        return client

    async def reach(self, device: Device) -> DeviceClient:
        """A connection to a device, and nothing by the way."""
        from edgectl_host.fleet.inventory import LOCAL

        if device.name == LOCAL:
            return await self.local_agent().ensure_running()
        return await self._first(device)

    async def _first(self, device: Device) -> DeviceClient:
        """The first of a device's addresses under which it is the device that answers."""
        from edgectl_host.transport.grpc import GrpcDeviceClient
        from edgectl_protos.domain.errors import IdentityError, UnreachableError

        failures: list[UnreachableError | IdentityError] = []
        for address in device.addresses:
            try:
                return await GrpcDeviceClient.connect(
                    device.name, address, identity=device.identity, fleet=self.trust_folder()
                )
            except (UnreachableError, IdentityError) as exc:
                failures.append(exc)
        # That another one answers says more than that nobody does.
        raise next((each for each in failures if isinstance(each, IdentityError)), failures[-1])

    @property
    def trust_dir(self) -> Path:
        """What this host keeps about trust."""
        return self.config.data_dir / "trust"

    def trust_folder(self) -> TrustFolder:
        """The folder of it."""
        from edgectl_host.trust.folder import TrustFolder

        return TrustFolder(self.trust_dir)

    def authority(self, passphrase: Callable[[], bytes] | None = None) -> Authority:
        """The authority that this host has.

        Raises:
            TrustError: it has none.
        """
        from edgectl_host.trust.authority import Authority, nobody_to_ask

        return Authority.open(self.trust_dir, passphrase=passphrase or nobody_to_ask)

    def authority_if_any(self, passphrase: Callable[[], bytes] | None = None) -> Authority | None:
        """The authority, if this host has one."""
        from edgectl_host.trust.authority import has_authority

        return self.authority(passphrase) if has_authority(self.trust_folder()) else None

    def enrolled_devices(
        self, *, fleet: str, labels: Sequence[str], limit: int | None, fleet_file: Path | None
    ) -> tuple[Device, ...]:
        """Those of the selected devices that are in the fleet: enrolled, and not revoked."""
        from edgectl_host.fleet.inventory import ALL

        if fleet == ALL and not self.remote_devices(ALL, fleet_file):
            return ()
        chosen = self.devices(fleet=fleet, labels=labels, limit=limit, fleet_file=fleet_file)
        revoked = self.authority().register.is_revoked
        return tuple(device for device in chosen if device.identity and not revoked(device.identity))

    def local_agent(self) -> LocalAgent:
        """The embedded agent."""
        from edgectl_converters.homes import ready_homes
        from edgectl_host.transport.local import LocalAgent

        return LocalAgent(
            self.config.local_agent_dir, self.config.local_socket, interpreters=lambda: ready_homes(self.toolchains())
        )

    def prepare_local(self, devices: Sequence[Device], runtime: Choice | None, progress: Progress) -> None:
        """Make the toolchains in which runtimes live that are asked for on the embedded agent."""
        from edgectl_converters.homes import homes_of
        from edgectl_host.fleet.inventory import LOCAL
        from edgectl_host.workflows.progress import Update

        asked = {*runtime.words} if runtime is not None else set()
        for device in devices:
            words = {*device.runtime.words} if device.runtime is not None else set()
            if device.name == LOCAL:
                homes_of(sorted(asked or words), self.toolchains(), lambda text: progress(Update(LOCAL, text)))

    def rates(self) -> RateStore:
        """Rates that were measured on machines."""
        import socket

        from edgectl_host.workflows.rates import RateStore

        return RateStore(self.config.data_dir / "rates", host=socket.gethostname())

    async def local_facts(self) -> DeviceFacts:
        """What the embedded agent says of this machine."""
        from edgectl_host.fleet.inventory import LOCAL, Device

        async with await self.connect(Device(LOCAL)) as client:
            return await client.facts(refresh=True)

    def measure_rates(self, facts: DeviceFacts, progress: Progress) -> None:
        """Measure the rates of this machine, which these facts are of, and keep them."""
        from edgectl_host.workflows.measure_rates import measure_rates
        from edgectl_profiles.library import load

        self.rates().keep(measure_rates(facts, load(self.generic_board()), self.workshop(), progress))

    def runs(self) -> RunStore:
        """The database of runs."""
        from edgectl_host.runs.store import RunStore

        return RunStore(self.config.runs_database)

    def toolchains(self) -> Toolchains:
        """The environments in which conversions run."""
        from edgectl_converters.toolchain import Toolchains

        return Toolchains(self.config.cache_dir, self.config.config_dir, self.config.python_search)

    def workshop(self) -> Workshop:
        """What conversions need: cache, toolchains, digests of big files."""
        from edgectl_converters.conversion import Workshop
        from edgectl_host.transport.worker import worker_command

        return Workshop(self.config.cache_dir, self.toolchains(), worker=worker_command())

    def subject(
        self,
        path: Path,
        *,
        runtime: Choice | None = None,
        scheme: Choice | None = None,
        task: str = "",
        footage: Path | None = None,
        loop_file: Path | None = None,
        shapes: Sequence[tuple[str, tuple[int, ...]]] = (),
        states: Sequence[tuple[str, str]] = (),
    ) -> Subject:
        """What is deployed: a checkpoint to convert, or a bundle as it is."""
        from edgectl_host.cli.options import declared_of
        from edgectl_host.workflows.convert import Wishes, open_subject

        wishes = Wishes(runtime, scheme, task, footage, loop_file, declared_of(shapes, states))
        return open_subject(path, wishes, self.workshop(), self.rates())
