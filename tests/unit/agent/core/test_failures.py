"""What leaves a boundary when something was raised behind it."""

from __future__ import annotations

from edgectl_agent.core.failures import as_ours
from edgectl_protos.domain.errors import DeviceError, InternalError, ParityError


def test_an_error_of_the_tree_stays_itself(caplog):
    error = ParityError("0.3")
    assert as_ours(error, "deployment d-1") is error
    assert not caplog.records


def test_what_the_disk_refused_is_the_devices(caplog):
    found = as_ours(OSError(5, "Input/output error"), "deployment d-1")
    assert type(found) is DeviceError
    assert "Input/output error" in found.message
    assert "deployment d-1" in caplog.text


def test_anything_else_is_a_defect_with_its_traceback_in_the_log(caplog):
    try:
        raise ZeroDivisionError("1/0")
    except ZeroDivisionError as exc:
        found = as_ours(exc, "run r-1")
    assert (type(found), found.message) == (InternalError, "the agent has a defect: ZeroDivisionError: 1/0")
    assert "Traceback" in caplog.text
    assert "run r-1" in caplog.text
