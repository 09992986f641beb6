"""The first answer of an agent: who it is, and in which protocol versions it speaks."""

from __future__ import annotations

from dataclasses import replace

from edgectl_agent.core.health import Health
from edgectl_protos.domain.device import HelloReply
from edgectl_protos.domain.errors import ProtocolError

__all__ = ["CAPABILITIES", "Hello"]

CAPABILITIES = ("deploy", "rollback", "runs", "trust")


class Hello:
    """Says hello."""

    def __init__(
        self, *, version: str, protocol_min: int, protocol_max: int, device: str, boot_id: str, health: Health
    ) -> None:
        self._health = health
        self._reply = HelloReply(version, protocol_min, protocol_max, device, boot_id, CAPABILITIES)

    def answer(self, host_min: int, host_max: int) -> HelloReply:
        """Who this is, to a host that speaks these versions.

        Raises:
            ProtocolError: there is no version that both speak.
        """
        reply = self._reply
        if host_min > reply.protocol_max or host_max < reply.protocol_min:
            raise ProtocolError(
                f"the host speaks protocol {host_min} to {host_max}, agent {reply.agent_version} speaks "
                f"{reply.protocol_min} to {reply.protocol_max}",
                hint="install the same version on host and device: edgectl doctor",
            )
        return replace(reply, problems=self._health.problems)
