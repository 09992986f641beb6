"""The one table from errors to gRPC status and back."""

from __future__ import annotations

import grpc
import pytest

from edgectl_protos.codec.status import STATUS, error_from_rpc, metadata_of, status_of
from edgectl_protos.domain import errors


class Refusal(grpc.RpcError):
    """What a failed call looks like to a client."""

    def __init__(self, code, details="", metadata=()):
        self._code, self._details, self._metadata = code, details, metadata

    def code(self):
        return self._code

    def details(self):
        return self._details

    def trailing_metadata(self):
        return self._metadata


def test_the_table_holds_every_error_and_nothing_else():
    assert set(STATUS) == set(errors.all_errors())


@pytest.mark.parametrize("cls", errors.all_errors(), ids=lambda cls: cls.__name__)
def test_every_error_crosses_the_wire_as_itself(cls):
    sent = cls("what happened: 3 ≠ 4", hint="type this: edgectl größer")
    received = error_from_rpc(Refusal(status_of(sent), sent.message, metadata_of(sent)), device="nuc")
    assert (type(received), received.message, received.hint) == (cls, sent.message, sent.hint)


def test_reasons_and_exit_codes_are_distinct():
    classes = errors.all_errors()
    assert len({cls.reason for cls in classes}) == len(classes)
    assert len({cls.exit_code for cls in classes}) == len(classes)
    # 0, 1, 3 and 4 are verdicts, 126 and above belong to the shell.
    assert not {cls.exit_code for cls in classes} & {0, 1, 3, 4, *range(126, 256)}


def test_a_reason_of_a_newer_agent_becomes_an_internal_error_with_its_text():
    metadata = (("edgectl-reason", "from_the_future"), ("edgectl-hint", ""))
    received = error_from_rpc(Refusal(grpc.StatusCode.UNKNOWN, "hm", metadata), device="nuc")
    assert type(received) is errors.InternalError
    assert received.message == "hm"


@pytest.mark.parametrize(
    ("code", "cls"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.UnreachableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.UnreachableError),
        (grpc.StatusCode.UNIMPLEMENTED, errors.ProtocolError),
        (grpc.StatusCode.CANCELLED, errors.UnreachableError),
    ],
)
def test_a_status_without_a_reason_comes_from_grpc_itself(code, cls):
    received = error_from_rpc(Refusal(code, "details"), device="nuc-3")
    assert type(received) is cls
    assert "nuc-3" in received.message
