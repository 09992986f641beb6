"""Which releases a device keeps, and putting the previous one back."""

from __future__ import annotations

import pytest

from edgectl_agent.app import Agent
from edgectl_protos.domain.deployment import State
from edgectl_protos.domain.errors import BundleCorruptError, BusyError, NotFoundError, StateError
from edgectl_testkit.raw_client import RawClient, manifest_bytes, manifest_of, release_of
from edgectl_testkit.serve import agent_config, serve, short_folder


def test_rolling_back_swaps_the_releases_and_back(client, bundle):
    one, two = (str(release_of(bundle(name))) for name in ("v1", "v2"))
    client.deploy(bundle("v1"), "d-1")
    client.deploy(bundle("v2"), "d-2")
    restored = client.rollback(owner="carol")
    assert (restored.id, restored.state) == ("d-1", State.COMMITTED)
    assert client.listing()[1:] == (one, two)
    undone = client.get("d-2")
    assert undone.state is State.ROLLED_BACK
    assert "carol" in undone.failure.message
    again = client.rollback(owner="carol")
    assert (str(again.release), again.state, again.owner) == (two, State.COMMITTED, "carol")
    assert [component.precision for component in again.components] == ["fp32"]
    assert client.listing()[1:] == (two, one)


def test_without_a_previous_release_there_is_nothing_to_roll_back_to(client, bundle):
    with pytest.raises(StateError, match="no previous release"):
        client.rollback()
    client.deploy(bundle(), "d-1")
    with pytest.raises(StateError, match="no previous release") as caught:
        client.rollback()
    assert "edgectl deploy" in caught.value.hint
    assert client.deploy(bundle("v2"), "d-2").state is State.COMMITTED


def test_a_previous_release_that_does_not_run_any_more_is_not_put_back(client, bundle, state):
    client.deploy(bundle("v1"), "d-1")
    client.deploy(bundle("v2"), "d-2")
    links = client.listing()[1:]
    path = state / "previous" / "components/full/model.bin"
    path.chmod(0o600)
    path.write_bytes(b"altered")
    with pytest.raises(BundleCorruptError, match=r"model\.bin"):
        client.rollback()
    assert client.listing()[1:] == links
    assert [event.phase.value for event in client.run("r")][-1] == "done"


@pytest.mark.parametrize(("releases_kept", "names"), [(1, ("v2", "v3")), (3, ("v1", "v2", "v3"))])
def test_linked_releases_and_the_newest_stay_on_the_disk_and_no_other(state, bundle, releases_kept, names):
    with serve(state, releases_kept=releases_kept) as address, RawClient(address) as client:
        for number in range(4):
            client.deploy(bundle(f"v{number}"), f"d-{number}")
    kept = {release_of(bundle(name)).hex for name in names}
    assert {path.name for path in (state / "releases").iterdir()} == kept
    blobs = {path.name for path in (state / "blobs/sha256").iterdir()}
    needed = {e.digest.hex for name in names for e in manifest_of(bundle(name)).files} | kept
    assert blobs == needed


def test_history_is_bounded_but_what_is_installed_is_remembered(state, bundle):
    with serve(state, deployments_kept=2) as address, RawClient(address) as client:
        client.deploy(bundle("v1"), "d-1")
        for number in range(4):
            client.create(manifest_bytes(bundle("v2")), f"x-{number}")
            client.cancel(f"x-{number}")
        assert [d.id for d in client.listing()[0]] == ["x-3", "x-2", "d-1"]
        with pytest.raises(NotFoundError, match="x-0"):
            client.get("x-0")


def test_a_release_is_admitted_while_no_other_can_become_the_previous_one(state, bundle):
    admitted = []
    with short_folder() as folder:
        config = agent_config(state, f"unix:{folder / 'a.sock'}")
        with Agent.from_config(config) as agent, RawClient(agent.addresses[0]) as client:
            client.deploy(bundle("v1"), "d-1")
            client.deploy(bundle("v2"), "d-2")

            def admit(release):
                with pytest.raises(BusyError, match="carol is rolling back"):
                    client.create(manifest_bytes(bundle("v3")), "d-3")
                admitted.append(release)

            agent._deployer.rollback(owner="carol", admit=admit)
            assert client.listing()[1] == str(release_of(bundle("v1")))
    assert admitted == [release_of(bundle("v1"))]
