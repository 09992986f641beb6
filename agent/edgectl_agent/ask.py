"""`edgectl-agent hello unix:PATH`: whether an agent of this machine answers. For whoever starts it: a service, a
container, an update that would go back to the version before.
"""

from __future__ import annotations

import grpc

from edgectl_agent.config import PROTOCOL_MAX, PROTOCOL_MIN, VERSION
from edgectl_protos.agent.v1 import info_service_pb2, info_service_pb2_grpc
from edgectl_protos.codec.status import error_from_rpc
from edgectl_protos.codec.wire import reported
from edgectl_protos.domain.address import UnixAddress, parse_address
from edgectl_protos.domain.device import HelloReply
from edgectl_protos.domain.errors import AddressError

__all__ = ["ask_hello"]


def ask_hello(address: str, timeout_s: float) -> HelloReply:
    """Who answers at a unix socket, which may not be there yet.

    Raises:
        AddressError: it is no unix socket; what this says is not encrypted.
        UnreachableError: nobody within this time.
        ProtocolError: an agent with which this one has no protocol version in common.
    """
    if not isinstance(parse_address(address), UnixAddress):
        raise AddressError(f"{address} is no socket of this machine", hint="edgectl-agent hello unix:PATH")
    # Its first try may be too early, and gRPC's own pauses grow too long for somebody who waits.
    options = [("grpc.min_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
    request = info_service_pb2.HelloRequest(host_version=VERSION, protocol_min=PROTOCOL_MIN, protocol_max=PROTOCOL_MAX)
    with grpc.insecure_channel(address, options=options) as channel:
        try:
            hello = info_service_pb2_grpc.InfoServiceStub(channel).Hello
            return reported(HelloReply, hello(request, timeout=timeout_s, wait_for_ready=True))
        except grpc.RpcError as exc:
            raise error_from_rpc(exc, device=address) from exc
