"""Every method of every service has its rule, and what has none is refused."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from types import SimpleNamespace

import grpc
import pytest

import edgectl_protos.agent.v1 as services
from edgectl_agent.core.store.atomic import Disk
from edgectl_agent.core.trust.audit import AuditLog
from edgectl_agent.core.trust.folder import TrustFolder
from edgectl_agent.core.trust.membership import Membership
from edgectl_agent.server.callers import RULES, AccessInterceptor, Callers
from edgectl_protos.codec.transfer import UPLOAD_METHOD
from edgectl_protos.domain.errors import CallerError, RoleError
from edgectl_protos.domain.trust import Revocations, Role
from edgectl_testkit.fleet_trust import FleetTrust

LATER_S = 2e9


def methods():
    # What is no protobuf is in no descriptor.
    found = {UPLOAD_METHOD.removeprefix("/edgectl.agent.v1.")}
    for module in pkgutil.iter_modules(services.__path__):
        if module.name.endswith("_pb2"):
            described = importlib.import_module(f"{services.__name__}.{module.name}").DESCRIPTOR
            for service in described.services_by_name.values():
                found |= {f"{service.name}/{method.name}" for method in service.methods}
    return found


def test_every_method_has_a_rule_and_no_rule_is_of_a_method_that_is_gone():
    assert set(RULES) == methods()


@pytest.mark.parametrize("name", sorted(RULES))
def test_who_only_looks_changes_nothing(name):
    rule = RULES[name]
    assert not (rule.role is Role.VIEW and rule.changes)
    if rule.changes:
        assert not name.split("/")[1].startswith(("Get", "List", "Watch", "Fetch", "Read", "Hello"))


class Context:
    """A call, as gRPC shows it."""

    def __init__(self, peer="ipv4:10.0.0.9:5", **names):
        self._peer = peer
        self.names = {key: [value.encode() for value in values] for key, values in names.items()}
        self.cancelled = False

    def auth_context(self):
        return self.names

    def peer(self):
        return self._peer

    def cancel(self):
        self.cancelled = True


def tls(*, role="admin", serial="ab", issued="100", expires="4000000000", version="TLSv1.3"):
    names = [f"edgectl:{key}:{value}" for key, value in locals().items() if key != "version"]
    return Context(
        transport_security_type=["ssl"],
        ssl_tls_version=[version],
        x509_common_name=["bob"],
        x509_subject_alternative_name=names,
    )


UNIX = Context("unix:", transport_security_type=["insecure"])


@pytest.fixture
def door(tmp_path):
    FleetTrust(tmp_path / "home").enrol(tmp_path / "state", "bench")
    folder = TrustFolder(tmp_path / "state/trust", Disk())
    audit = AuditLog(tmp_path / "state/trust", Disk())
    callers = Callers(Membership(folder, None, audit, clock=lambda: LATER_S))
    return SimpleNamespace(callers=callers, access=AccessInterceptor(callers, audit), folder=folder, audit=audit)


def called(door, name, context, request=None):
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: "done")
    details = SimpleNamespace(method=f"/edgectl.agent.v1.{name}")
    guarded = door.access.intercept_service(lambda _: handler, details)
    return guarded.unary_unary(request or SimpleNamespace(), context)


def log(door):
    return [line.decode() for line in door.audit.read(2)]


def test_a_method_without_a_rule_is_refused_for_everybody(door):
    for context in (UNIX, tls()):
        with pytest.raises(RoleError, match="has no rule"):
            called(door, "NewService/Do", context)
    assert len(log(door)) == 2


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_role_reaches_as_far_as_the_table_says(door, name):
    for role in Role:
        if role.may(RULES[name].role):
            assert called(door, name, tls(role=role.value)) == "done"
        else:
            with pytest.raises(RoleError, match=f"needs {RULES[name].role.value}"):
                called(door, name, tls(role=role.value))


def test_a_change_is_in_the_log_before_it_is_made_and_a_look_is_not(door):
    called(door, "InfoService/Hello", tls())
    assert log(door) == []
    called(door, "DeploymentService/Start", tls(), SimpleNamespace(deployment_id="d7"))
    (line,) = log(door)
    assert '"caller":"bob"' in line
    assert '"detail":"d7"' in line


def test_on_the_socket_a_caller_is_called_as_it_says_and_over_tls_as_its_certificate_says(door):
    assert door.callers.of(UNIX, told="ada@laptop").name == "ada@laptop"
    assert door.callers.of(tls(), told="ada@laptop").name == "bob"


def test_a_network_without_tls_is_refused_even_if_somebody_bound_it(door):
    with pytest.raises(CallerError, match="only mutual TLS"):
        called(door, "InfoService/Hello", Context(transport_security_type=["insecure"]))


def test_tls_1_2_is_refused_where_something_let_it_in(door):
    with pytest.raises(CallerError, match="only TLS 1.3"):
        called(door, "InfoService/Hello", tls(version="TLSv1.2"))
    assert "only TLS 1.3" in log(door)[0]


def test_a_certificate_that_runs_out_is_refused_on_the_open_connection(door):
    assert called(door, "InfoService/Hello", tls(expires=str(int(LATER_S) + 1))) == "done"
    with pytest.raises(CallerError, match="expired"):
        called(door, "InfoService/Hello", tls(expires=str(int(LATER_S))))


def test_a_device_that_cannot_read_whom_it_trusts_trusts_nobody_over_the_network(door):
    (door.folder.path / "accepted.json").write_bytes(b"{")
    with pytest.raises(CallerError, match="cannot say whom it trusts"):
        called(door, "InfoService/Hello", tls())
    assert called(door, "InfoService/Hello", UNIX) == "done"


def test_calls_under_way_end_with_their_certificate(door):
    mine, other = tls(serial="01"), tls(serial="02")
    with (
        door.callers.under_way(door.callers.of(mine), mine),
        door.callers.under_way(door.callers.of(other), other),
    ):
        door.callers.end(["01", "03"])
    assert (mine.cancelled, other.cancelled) == (True, False)
    door.callers.end(["02"])
    assert not other.cancelled


def test_a_certificate_that_is_revoked_between_the_look_and_the_call_ends_the_call(door):
    mine = tls(serial="01")
    caller = door.callers.of(mine)
    with door.folder.locked():
        door.folder.save(replace(door.folder.accepted(), revocations=Revocations(1, ("01",))))
    door.callers.end(["01"])
    with pytest.raises(CallerError, match="revoked"), door.callers.under_way(caller, mine):
        pytest.fail("the call went on")
    assert not door.callers._under_way
