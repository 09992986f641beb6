from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_protos.domain.errors import EdgectlError, EnrolmentError
from edgectl_protos.domain.invitation import Invitation

INVITATION = Invitation("orin-1", "tls:10.0.0.7:7444", "ab" * 32, bytes(range(16)))


def test_a_code_is_one_word_and_says_all_of_the_invitation():
    assert len(INVITATION.code.split()) == 1
    assert INVITATION.code.isascii()
    assert Invitation.parse(f"  {INVITATION.code}\n") == INVITATION


def test_the_id_does_not_tell_the_secret():
    assert INVITATION.secret.hex() not in INVITATION.id
    assert INVITATION.id != Invitation("orin-1", INVITATION.address, INVITATION.fingerprint, bytes(16)).id


@pytest.mark.parametrize("cut", range(1, len(INVITATION.code)))
def test_a_code_that_was_cut_off_is_refused(cut):
    with pytest.raises(EnrolmentError):
        Invitation.parse(INVITATION.code[:-cut])


@given(st.text() | st.text().map(lambda text: f"edgectl-{text}"))
def test_what_is_no_code_is_refused(text):
    with pytest.raises(EnrolmentError):
        Invitation.parse(text)


@pytest.mark.parametrize(
    "changed", [{"name": "a b"}, {"address": "unix:/x"}, {"fingerprint": "ab"}, {"secret": b"short"}]
)
def test_an_invitation_that_cannot_be_meant_does_not_exist(changed):
    parts = {"name": "n", "address": "tls:h:1", "fingerprint": "ab" * 32, "secret": bytes(16)} | changed
    with pytest.raises(EdgectlError):
        Invitation(**parts)


def test_a_proof_holds_for_one_code_one_name_one_connection_and_one_request():
    proofs = {
        INVITATION.proof(host_certificate_der=b"h", csr="c"),
        INVITATION.proof(host_certificate_der=b"other", csr="c"),
        INVITATION.proof(host_certificate_der=b"h", csr="other"),
        Invitation("x", INVITATION.address, INVITATION.fingerprint, INVITATION.secret).proof(
            host_certificate_der=b"h", csr="c"
        ),
        Invitation("orin-1", INVITATION.address, INVITATION.fingerprint, bytes(16)).proof(
            host_certificate_der=b"h", csr="c"
        ),
    }
    assert len(proofs) == 5
