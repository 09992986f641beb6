"""Every failure edgectl knows, as one tree.

Owns: the class, the stable `reason` code and the process exit code of each failure. The table that maps
them to gRPC status lives in `codec/status.py`, and a test walks both. A message says what happened, with
values; a hint says what to do next, with the command to type.
"""

from __future__ import annotations

import math
from typing import ClassVar


class EdgectlError(Exception):
    """Base of all failures that edgectl reports; never raised itself."""

    reason: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, *, hint: str = "") -> None:
        # Foreign names are quoted in them: half a character would fail wherever the message is written or sent.
        self.message, self.hint = (text.encode(errors="backslashreplace").decode() for text in (message, hint))
        super().__init__(self.message)


class InternalError(EdgectlError):
    """A defect in edgectl itself."""


# --- what the user handed over -------------------------------------------------------------------------


class UsageError(EdgectlError):
    """An argument that cannot mean anything."""

    reason = "usage"
    exit_code = 2


class CheckpointError(EdgectlError):
    """The checkpoint cannot be read as what it claims to be."""

    reason = "checkpoint_invalid"
    exit_code = 10


class CheckpointFormatError(CheckpointError):
    """No source recognises the checkpoint, or its policy type."""

    reason = "checkpoint_unknown"
    exit_code = 11


class CheckpointCorruptError(CheckpointError):
    """A file of the checkpoint is truncated or altered."""

    reason = "checkpoint_corrupt"
    exit_code = 12


class ProcessorError(CheckpointError):
    """A processor step is unknown, misdeclared, or runs custom code."""

    reason = "processor_unknown"
    exit_code = 13


class StatisticsError(CheckpointError):
    """A feature that must be normalised has no statistics."""

    reason = "statistics_missing"
    exit_code = 14


class TokenizerError(CheckpointError):
    """The tokenizer is absent, not readable, or named by an address on a hub."""

    reason = "tokenizer_missing"
    exit_code = 18


class CheckpointVersionError(CheckpointError):
    """The checkpoint is written in a newer version of its format than is read here."""

    reason = "checkpoint_newer"
    exit_code = 19


class LoopSpecError(EdgectlError):
    """The loop specification is not valid, or does not fit the policy."""

    reason = "loop_invalid"
    exit_code = 15


class FleetError(EdgectlError):
    """The fleet file is not valid, or the selection names nothing."""

    reason = "fleet_invalid"
    exit_code = 16


class ProfileError(EdgectlError):
    """A board profile is not valid or not known."""

    reason = "board_invalid"
    exit_code = 17


# --- conversion ----------------------------------------------------------------------------------------


class RouteError(EdgectlError):
    """No route leads from this checkpoint to this device."""

    reason = "no_route"
    exit_code = 20


class ToolchainError(EdgectlError):
    """A toolchain is missing, cannot be made, or its process failed."""

    reason = "toolchain_failed"
    exit_code = 21


class OperatorError(EdgectlError):
    """The graph has an operator that the runtime does not know."""

    reason = "operator_unsupported"
    exit_code = 22


class GateError(EdgectlError):
    """A gate said no; nothing was activated."""

    reason = "gate_failed"
    exit_code = 30


class ParityError(GateError):
    """The numbers differ from the golden cases by more than the gate allows: `excess` times as much, where known."""

    reason = "parity_failed"
    exit_code = 31

    def __init__(self, message: str, *, hint: str = "", excess: float = math.inf) -> None:
        super().__init__(message, hint=hint)
        self.excess = excess


class PrecisionError(GateError):
    """The runtime would compute at another precision, or on another provider, than was asked for."""

    reason = "precision_refused"
    exit_code = 32


class NonFiniteError(GateError):
    """An output holds NaN or infinity."""

    reason = "output_not_finite"
    exit_code = 33


# --- bundles -------------------------------------------------------------------------------------------


class BundleError(EdgectlError):
    """A bundle is not what its manifest says."""

    reason = "bundle_invalid"
    exit_code = 40


class BundleCorruptError(BundleError):
    """Bytes do not match their digest."""

    reason = "bundle_corrupt"
    exit_code = 41


class BundlePathError(BundleError):
    """A path in a bundle leaves the bundle."""

    reason = "bundle_path_unsafe"
    exit_code = 42


class DocumentError(BundleError):
    """A JSON document does not have the shape that its type asks for."""

    reason = "document_invalid"
    exit_code = 43


class ProgramError(BundleError):
    """A program's steps, tensors and components do not meet."""

    reason = "program_invalid"
    exit_code = 44


# --- the device ----------------------------------------------------------------------------------------


class DeviceError(EdgectlError):
    """The device refused or failed."""

    reason = "device_failed"
    exit_code = 50


class UnreachableError(DeviceError):
    """No agent answers, or it went away."""

    reason = "agent_unreachable"
    exit_code = 51


class BusyError(DeviceError):
    """Another host or operation holds the device."""

    reason = "device_busy"
    exit_code = 52


class DiskFullError(DeviceError):
    """The device has no room for the release."""

    reason = "disk_full"
    exit_code = 53


class WorkerError(DeviceError):
    """The worker process died; the agent lives on."""

    reason = "worker_crashed"
    exit_code = 54


class RuntimeMissingError(DeviceError):
    """The device lacks the runtime, or the kernels, that the release needs."""

    reason = "runtime_missing"
    exit_code = 55


class NotFoundError(DeviceError):
    """The device has no such deployment, release, run or blob."""

    reason = "not_found"
    exit_code = 56


class StateError(DeviceError):
    """The operation does not fit the state of the deployment."""

    reason = "wrong_state"
    exit_code = 57


class AddressError(DeviceError):
    """An address that edgectl refuses to bind or dial."""

    reason = "address_refused"
    exit_code = 58


class ProtocolError(DeviceError):
    """Host and agent do not speak a common protocol version."""

    reason = "protocol_mismatch"
    exit_code = 59


class BuildError(DeviceError):
    """The device could not build what only it can build: its builder failed, or had no memory or time left."""

    reason = "build_failed"
    exit_code = 65


class InstallError(DeviceError):
    """A step of bringing an agent to a device, or of taking it away, failed there or here."""

    reason = "install_failed"
    exit_code = 67


class WheelMissingError(InstallError):
    """The package index, or the wheelhouse, has no wheel of something for a device."""

    reason = "wheel_missing"
    exit_code = 68


# --- the loop ------------------------------------------------------------------------------------------


class LoopError(EdgectlError):
    """The loop could not run to its end."""

    reason = "loop_failed"
    exit_code = 60


class SourceError(LoopError):
    """A source of observations ended, cannot be read, or does not decode."""

    reason = "source_failed"
    exit_code = 61


class ShapeError(LoopError):
    """A frame or state has another shape than the policy was trained on."""

    reason = "shape_mismatch"
    exit_code = 62


class CancelledError(EdgectlError):
    """The user or the host withdrew the operation."""

    reason = "cancelled"
    exit_code = 63


# --- the host's own records ----------------------------------------------------------------------------


class RunsError(EdgectlError):
    """The database of runs cannot be used, or has no such run."""

    reason = "runs_database"
    exit_code = 64


# --- trust ---------------------------------------------------------------------------------------------


class TrustError(EdgectlError):
    """What this host or device needs to be trusted is missing or cannot be used."""

    reason = "trust_missing"
    exit_code = 80


class CallerError(TrustError):
    """The caller's certificate is revoked, expired, or not one of a client."""

    reason = "caller_refused"
    exit_code = 81


class RoleError(TrustError):
    """The caller's role does not reach to this call."""

    reason = "role_refused"
    exit_code = 82


class EnrolmentError(TrustError):
    """A code or a certificate was refused: wrong, used before, expired, or of another device."""

    reason = "enrolment_refused"
    exit_code = 83


class ReleaseTrustError(TrustError):
    """The release is not signed, its signature is wrong, or it is older than what the device accepted."""

    reason = "release_untrusted"
    exit_code = 84


class IdentityError(TrustError):
    """What answers under the address is not the device that was enrolled."""

    reason = "device_is_another"
    exit_code = 85


class AuditError(TrustError):
    """An audit log is not whole: a line was altered, or lines that were seen before are gone."""

    reason = "audit_broken"
    exit_code = 86


def all_errors() -> list[type[EdgectlError]]:
    """Every class of the tree, the base excluded."""
    found: list[type[EdgectlError]] = []
    pending: list[type[EdgectlError]] = [EdgectlError]
    while pending:
        for child in pending.pop().__subclasses__():
            found.append(child)
            pending.append(child)
    return found


def error_by_reason(reason: str) -> type[EdgectlError]:
    """The class that carries this reason; InternalError for a reason of a newer peer."""
    for cls in all_errors():
        if cls.reason == reason and "reason" in cls.__dict__:
            return cls
    return InternalError
