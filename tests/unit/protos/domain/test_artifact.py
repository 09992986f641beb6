"""Digests and safe paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_protos.domain.artifact import Digest, safe_path
from edgectl_protos.domain.errors import BundleError, BundlePathError


@pytest.mark.parametrize("text", ["", "sha256:", "md5:" + "0" * 64, "sha256:" + "G" * 64, "sha256:" + "0" * 63])
def test_only_a_sha256_is_a_digest(text):
    with pytest.raises(BundleError, match="not a sha256 digest"):
        Digest.parse(text)


@given(st.text("0123456789abcdef", min_size=64, max_size=64))
def test_a_digest_comes_back_from_its_text(hex_digits):
    assert Digest.parse(str(Digest(hex_digits))) == Digest(hex_digits)


@pytest.mark.parametrize("path", ["", "/etc/passwd", "a/../b", "..", "a//b", "./a", "a\\b", "a\0b", "a/"])
def test_a_path_that_could_leave_the_bundle_is_refused(path):
    with pytest.raises(BundlePathError):
        safe_path(path)


def test_an_ordinary_path_is_kept():
    assert str(safe_path("sources/observation.images.top.mp4")) == "sources/observation.images.top.mp4"
