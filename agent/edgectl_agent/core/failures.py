"""Any exception as a member of the error tree, for boundaries that nothing else may leave: a call, a thread."""

from __future__ import annotations

import logging

from edgectl_protos.domain.errors import DeviceError, EdgectlError, InternalError

__all__ = ["as_ours"]

_LOG = logging.getLogger(__name__)


def as_ours(error: Exception, doing: str) -> EdgectlError:
    """The error itself; what the disk refused; or a defect, which is logged with its traceback, as of `doing`."""
    if isinstance(error, EdgectlError):
        return error
    if isinstance(error, OSError):
        _LOG.error("%s: %s", doing, error)
        return DeviceError(f"the disk of the device failed: {error}", hint="its kernel says why: dmesg")
    _LOG.error("%s failed", doing, exc_info=error)
    return InternalError(
        f"the agent has a defect: {type(error).__name__}: {error}", hint="its log on the device has the traceback"
    )
