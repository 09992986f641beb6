from __future__ import annotations

import pytest

from edgectl_host.transport.dial import dialled, explained
from edgectl_protos.domain.errors import AddressError, BusyError, IdentityError, TrustError, UnreachableError
from edgectl_testkit.fleet_trust import FleetTrust

IDENTITY = "ab" * 16


@pytest.fixture
def own(tmp_path):
    return FleetTrust(tmp_path).own


def nobody():
    raise AssertionError("a socket needs no certificate")


def test_a_socket_is_dialled_without_a_certificate(tmp_path):
    (tmp_path / "a.sock").touch()
    found = dialled("nuc", f"unix:{tmp_path}/a.sock", "", nobody, now_s=0)
    assert found.target == f"unix:{tmp_path}/a.sock"
    assert found.credentials is None


def test_a_socket_that_is_not_there_is_said_so_with_the_command(tmp_path):
    with pytest.raises(UnreachableError, match="no agent listens") as caught:
        dialled("nuc", f"unix:{tmp_path}/a.sock", "", nobody, now_s=0)
    assert "edgectl-agent run" in caught.value.hint


def test_over_the_network_the_device_is_asked_for_its_identity(own):
    found = dialled("orin", "tls:10.0.0.3", IDENTITY, lambda: own, now_s=0)
    assert found.target == "10.0.0.3:7443"
    assert found.credentials is not None
    assert dict(found.options)["grpc.ssl_target_name_override"] == f"{IDENTITY}.device.edgectl"


@pytest.mark.parametrize("address", ["10.0.0.3:7443", "tcp:10.0.0.3:1", "http://x", ""])
def test_there_is_no_other_way(own, address):
    with pytest.raises(AddressError):
        dialled("orin", address, IDENTITY, lambda: own, now_s=0)


def test_a_device_that_was_never_enrolled_is_not_dialled(own):
    with pytest.raises(TrustError, match="never enrolled") as caught:
        dialled("orin", "tls:10.0.0.3", "", lambda: own, now_s=0)
    assert "edgectl device invite orin" in caught.value.hint


def test_a_certificate_of_ones_own_that_is_over_is_told_here(own):
    with pytest.raises(TrustError, match="own certificate is over") as caught:
        dialled("orin", "tls:10.0.0.3", IDENTITY, lambda: own, now_s=own.expires_s)
    assert "edgectl trust renew" in caught.value.hint


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (
            "Custom verification check failed with error: UNAUTHENTICATED: Hostname Verification Check failed.",
            "another device",
        ),
        ("CERTIFICATE_VERIFY_FAILED: certificate has expired", "out of reach for too long"),
        ("CERTIFICATE_VERIFY_FAILED: self-signed certificate in certificate chain", "not of this fleet"),
    ],
)
def test_what_tls_says_is_told_as_what_it_means(said, means):
    error = explained(UnreachableError(f"orin: the agent does not answer (unavailable: {said})"), "orin", "tls:h")
    assert isinstance(error, IdentityError)
    assert means in error.message
    assert error.hint


def test_other_errors_stay_as_they_are():
    for error in (UnreachableError("gone"), BusyError("busy")):
        assert explained(error, "orin", "tls:h") is error
