"""Asks every device of a selection the same thing, all at once. A failure is an answer too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgectl_host.fleet.inventory import Device
from edgectl_host.transport.base import DeviceClient
from edgectl_host.workflows.connections import Connect, Connections, together
from edgectl_protos.domain.deployment import Failure
from edgectl_protos.domain.errors import EdgectlError, error_by_reason

__all__ = ["Answer", "ask_all", "error_of", "exit_code_of_failures", "failure_of"]

T = TypeVar("T")

_PARTIAL = 4


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What one device answered: a value, or why there is none."""

    device: Device
    value: T | None = None
    failure: Failure | None = None


async def ask_all(
    devices: Sequence[Device], connect: Connect, question: Callable[[DeviceClient], Awaitable[T]]
) -> tuple[Answer[T], ...]:
    """The answers, in the order of the devices."""
    connections = Connections(connect)

    async def ask(device: Device) -> Answer[T]:
        try:
            async with connections.to(device) as client:
                return Answer(device, await question(client))
        except EdgectlError as exc:
            return Answer(device, failure=failure_of(exc))

    return tuple(await together(ask(device) for device in devices))


def failure_of(error: EdgectlError) -> Failure:
    """An error as a value."""
    return Failure(error.reason, error.message, error.hint)


def error_of(failure: Failure) -> EdgectlError:
    """The error that a failure stands for."""
    return error_by_reason(failure.reason)(failure.message, hint=failure.hint)


def exit_code_of_failures(failures: Sequence[Failure | None]) -> int:
    """0 when no device failed, 4 when some did; when all did for one reason, that reason's own code."""
    failed = [failure for failure in failures if failure is not None]
    if not failed:
        return 0
    codes = {error_of(failure).exit_code for failure in failed}
    return codes.pop() if len(failed) == len(failures) and len(codes) == 1 else _PARTIAL
