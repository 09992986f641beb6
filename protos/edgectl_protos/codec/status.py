"""The one table from errors to gRPC status and back.

An error crosses the wire as a status code, the message, and two pieces of trailing metadata: its reason and
its hint (percent-encoded UTF-8, since metadata values are ASCII). A status without a reason comes from gRPC
itself: the agent is gone.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

import grpc

from edgectl_protos.domain import errors
from edgectl_protos.domain.deployment import said

__all__ = ["HINT_KEY", "REASON_KEY", "STATUS", "details_of", "error_from_rpc", "metadata_of", "status_of"]

REASON_KEY = "edgectl-reason"
HINT_KEY = "edgectl-hint"

_MESSAGE_BYTES = 3500
_HINT_BYTES = 2500
"""Of gRPC's 8 KiB for all metadata; percent-encoded, as the message travels too."""

_Code = grpc.StatusCode

STATUS: dict[type[errors.EdgectlError], grpc.StatusCode] = {
    errors.InternalError: _Code.INTERNAL,
    errors.UsageError: _Code.INVALID_ARGUMENT,
    errors.CheckpointError: _Code.INVALID_ARGUMENT,
    errors.CheckpointFormatError: _Code.INVALID_ARGUMENT,
    errors.CheckpointCorruptError: _Code.DATA_LOSS,
    errors.ProcessorError: _Code.INVALID_ARGUMENT,
    errors.StatisticsError: _Code.INVALID_ARGUMENT,
    errors.TokenizerError: _Code.INVALID_ARGUMENT,
    errors.CheckpointVersionError: _Code.INVALID_ARGUMENT,
    errors.LoopSpecError: _Code.INVALID_ARGUMENT,
    errors.FleetError: _Code.INVALID_ARGUMENT,
    errors.ProfileError: _Code.INVALID_ARGUMENT,
    errors.RouteError: _Code.UNIMPLEMENTED,
    errors.ToolchainError: _Code.FAILED_PRECONDITION,
    errors.OperatorError: _Code.UNIMPLEMENTED,
    errors.GateError: _Code.FAILED_PRECONDITION,
    errors.ParityError: _Code.FAILED_PRECONDITION,
    errors.PrecisionError: _Code.FAILED_PRECONDITION,
    errors.NonFiniteError: _Code.FAILED_PRECONDITION,
    errors.BundleError: _Code.INVALID_ARGUMENT,
    errors.BundleCorruptError: _Code.DATA_LOSS,
    errors.BundlePathError: _Code.INVALID_ARGUMENT,
    errors.DocumentError: _Code.INVALID_ARGUMENT,
    errors.ProgramError: _Code.INVALID_ARGUMENT,
    errors.DeviceError: _Code.INTERNAL,
    errors.UnreachableError: _Code.UNAVAILABLE,
    errors.BusyError: _Code.ABORTED,
    errors.DiskFullError: _Code.RESOURCE_EXHAUSTED,
    errors.WorkerError: _Code.ABORTED,
    errors.RuntimeMissingError: _Code.FAILED_PRECONDITION,
    errors.NotFoundError: _Code.NOT_FOUND,
    errors.StateError: _Code.FAILED_PRECONDITION,
    errors.AddressError: _Code.INVALID_ARGUMENT,
    errors.ProtocolError: _Code.FAILED_PRECONDITION,
    errors.BuildError: _Code.FAILED_PRECONDITION,
    errors.InstallError: _Code.FAILED_PRECONDITION,
    errors.WheelMissingError: _Code.FAILED_PRECONDITION,
    errors.LoopError: _Code.FAILED_PRECONDITION,
    errors.SourceError: _Code.FAILED_PRECONDITION,
    errors.ShapeError: _Code.INVALID_ARGUMENT,
    errors.CancelledError: _Code.CANCELLED,
    errors.RunsError: _Code.INTERNAL,
    errors.TrustError: _Code.FAILED_PRECONDITION,
    errors.CallerError: _Code.UNAUTHENTICATED,
    errors.RoleError: _Code.PERMISSION_DENIED,
    errors.EnrolmentError: _Code.FAILED_PRECONDITION,
    errors.ReleaseTrustError: _Code.FAILED_PRECONDITION,
    errors.IdentityError: _Code.FAILED_PRECONDITION,
    errors.AuditError: _Code.DATA_LOSS,
}


def status_of(error: errors.EdgectlError) -> grpc.StatusCode:
    """The status with which this error leaves a server."""
    return STATUS[type(error)]


def details_of(error: errors.EdgectlError) -> str:
    """The message with which this error leaves a server: printable, and of a length that arrives."""
    return _fitting(said(error.message), _MESSAGE_BYTES)


def metadata_of(error: errors.EdgectlError) -> tuple[tuple[str, str], ...]:
    """The trailing metadata with which this error leaves a server."""
    return ((REASON_KEY, error.reason), (HINT_KEY, quote(_fitting(said(error.hint), _HINT_BYTES))))


def _fitting(text: str, limit_bytes: int) -> str:
    """As much of a text as has no more than these bytes when it is encoded."""
    size = 0
    for index, character in enumerate(text):
        size += len(quote(character))
        if size > limit_bytes:
            return f"{text[: max(0, index - 1)]}…"
    return text


def error_from_rpc(rpc_error: grpc.RpcError, *, device: str) -> errors.EdgectlError:
    """The error behind a failed call; `device` is named when the agent itself is gone."""
    trailing: Any = rpc_error.trailing_metadata() or ()
    metadata = {str(key): str(value) for key, value in trailing}
    reason = metadata.get(REASON_KEY)
    details = rpc_error.details() or ""
    if reason is not None:
        cls = errors.error_by_reason(reason)
        return cls(details, hint=unquote(metadata.get(HINT_KEY, "")))
    code = rpc_error.code()
    if code is grpc.StatusCode.CANCELLED:
        # Who cancels a call of his own does not come here: the agent gave its place to another, or is going.
        return errors.UnreachableError(f"{device}: the agent ended the call", hint="ask again")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return errors.ProtocolError(
            f"{device}: the agent does not know this call ({details})",
            hint="install the same version on host and device: edgectl doctor",
        )
    return errors.UnreachableError(
        f"{device}: the agent does not answer ({code.name.lower()}: {details})",
        hint="is it running? edgectl doctor; start it there: edgectl-agent run",
    )
