from __future__ import annotations

import pytest

from edgectl_host.transport.dial import dial, explained
from edgectl_protos.domain.errors import AddressError, BusyError, IdentityError, TrustError, UnreachableError
from edgectl_testkit.fleet_trust import FleetTrust

IDENTITY = "ab" * 16


@pytest.fixture
def own(tmp_path):
    return FleetTrust(tmp_path).own


def nobody():
    raise AssertionError("a socket needs no certificate")


@pytest.fixture
def dialled(monkeypatch):
    """What gRPC is asked for."""
    asked = {}

    def insecure(target, options):
        asked.update(target=target, options=dict(options), secure=False)

    def secure(target, credentials, options):
        asked.update(target=target, options=dict(options), secure=True)

    monkeypatch.setattr("grpc.aio.insecure_channel", insecure)
    monkeypatch.setattr("grpc.aio.secure_channel", secure)
    return asked


def test_a_socket_is_dialled_without_a_certificate(dialled, tmp_path):
    (tmp_path / "a.sock").touch()
    dial("nuc", f"unix:{tmp_path}/a.sock", "", nobody, now_s=0)
    assert (dialled["target"], dialled["secure"]) == (f"unix:{tmp_path}/a.sock", False)


def test_a_socket_that_is_not_there_is_said_so_with_the_command(tmp_path):
    with pytest.raises(UnreachableError, match="no agent listens") as caught:
        dial("nuc", f"unix:{tmp_path}/a.sock", "", nobody, now_s=0)
    assert "edgectl-agent run" in caught.value.hint


def test_over_the_network_the_device_is_asked_for_its_identity(dialled, own):
    dial("orin", "tls:10.0.0.3", IDENTITY, lambda: own, now_s=0)
    assert (dialled["target"], dialled["secure"]) == ("10.0.0.3:7443", True)
    assert dialled["options"]["grpc.ssl_target_name_override"] == f"{IDENTITY}.device.edgectl"


@pytest.mark.parametrize("address", ["10.0.0.3:7443", "tcp:10.0.0.3:1", "http://x", "", "unix:", "/run/a.sock"])
def test_there_is_no_other_way(own, address):
    with pytest.raises(AddressError):
        dial("orin", address, IDENTITY, lambda: own, now_s=0)


def test_a_device_that_was_never_enrolled_is_not_dialled(own):
    with pytest.raises(TrustError, match="never enrolled") as caught:
        dial("orin", "tls:10.0.0.3", "", lambda: own, now_s=0)
    assert "edgectl device invite orin" in caught.value.hint


def test_a_certificate_of_ones_own_that_is_over_is_told_here(own):
    with pytest.raises(TrustError, match="own certificate is over") as caught:
        dial("orin", "tls:10.0.0.3", IDENTITY, lambda: own, now_s=own.expires_s)
    assert "edgectl trust renew" in caught.value.hint


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (
            "Custom verification check failed with error: UNAUTHENTICATED: Hostname Verification Check failed.",
            "another device",
        ),
        ("SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED: certificate has expired", "out of reach for too long"),
        ("SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED: self-signed certificate in certificate chain", "not of this fleet"),
        ("SSL_ERROR_SSL: BAD_SIGNATURE: certificate signature failure", "not of this fleet"),
        ("SSL_ERROR_SSL: WRONG_VERSION_NUMBER", "not of this fleet"),
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
