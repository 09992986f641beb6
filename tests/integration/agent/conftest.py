"""An agent with the stub worker, bundles for it, and clients."""

from __future__ import annotations

import pytest

from edgectl_testkit.raw_client import RawClient
from edgectl_testkit.serve import serve
from edgectl_testkit.stub_bundles import stub_bundle


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def address(state):
    with serve(state) as address:
        yield address


@pytest.fixture
def client(address):
    with RawClient(address) as client:
        yield client


@pytest.fixture
def bundle(tmp_path):
    """Makes bundles: each name is another release."""

    def make(name="v1", **changes):
        return stub_bundle(tmp_path / "bundles" / name, name=name, **changes)

    return make
