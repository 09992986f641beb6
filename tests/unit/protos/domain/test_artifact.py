"""Digests, safe paths and schemes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_protos.domain.artifact import Digest, check_scheme, precision_of, safe_path, weight_bits
from edgectl_protos.domain.errors import BundleError, BundlePathError, RouteError


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


@pytest.mark.parametrize(
    ("scheme", "precision"),
    [
        *(("fp32", "fp32"), ("fp16", "fp16"), ("bf16", "bf16"), ("int8", "int8")),
        *(("w8a8", "int8"), ("w4g64/a16", "fp16"), ("w8/a32", "fp32"), ("w4a4", "int4")),
        *(("int8-dynamic", "int8"), ("w4g32a8-dynamic", "int8"), ("w8a16", "int16"), ("w16/a32", "fp32")),
        # Of a newer version: kept as it is.
        ("nvfp4", "nvfp4"),
    ],
)
def test_a_scheme_says_in_what_precision_is_computed(scheme, precision):
    assert precision_of(check_scheme(scheme)) == precision


@pytest.mark.parametrize(
    ("scheme", "bits"),
    [
        *(("int8", 8), ("int8-dynamic", 8), ("w8a16", 8), ("w4g32/a32", 4), ("w4g32a8-dynamic", 4), ("w8/a16", 8)),
        *(("fp32", 0), ("fp16", 0), ("bf16", 0), ("w16/a32", 16), ("q4_k_m", 0)),
    ],
)
def test_a_scheme_says_to_how_many_bits_weights_are_rounded(scheme, bits):
    assert weight_bits(scheme) == bits


@pytest.mark.parametrize("text", ["", "FP32", "w4 g64", "w4//a16", "/fp32", "fp32-", "x" * 41, "fp32\n"])
def test_what_can_be_no_scheme_is_refused(text):
    with pytest.raises(RouteError, match="is no scheme"):
        check_scheme(text)


@given(st.text(max_size=50))
def test_any_text_is_a_scheme_with_a_precision_or_refused(text):
    try:
        assert precision_of(check_scheme(text))
    except RouteError:
        return
