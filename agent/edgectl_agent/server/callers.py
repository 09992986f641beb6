"""Who calls, and whether the caller may: one table, one interceptor, every call.

Order for each call: who is it (the client certificate, or the unix socket, which its mode opens to one user) → may this
role call this → a line in the audit log where the call changes something → the call. A refusal is a line too. A method
that the table lacks is refused. Calls that are under way are ended when their certificate is revoked.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from edgectl_agent.core.trust.audit import AuditLog
from edgectl_agent.core.trust.callers import Caller, judge, read_names
from edgectl_agent.core.trust.membership import Membership
from edgectl_protos.domain.errors import CallerError, EdgectlError, RoleError, TrustError
from edgectl_protos.domain.trust import Role

__all__ = ["RULES", "AccessInterceptor", "Callers", "Rule"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a method asks of its caller. `changes`: the audit log has a line of each call."""

    role: Role
    changes: bool = False


_VIEW = Rule(Role.VIEW)
_PROFILE = Rule(Role.PROFILE, changes=True)
_SEND = Rule(Role.DEPLOY)
_DEPLOY = Rule(Role.DEPLOY, changes=True)
_ADMIN = Rule(Role.ADMIN, changes=True)

RULES: dict[str, Rule] = {
    "InfoService/Hello": _VIEW,
    "InfoService/GetFacts": _VIEW,
    # Blobs of a deployment whose creation is in the log; nothing is installed by them.
    "ArtifactService/Offer": _SEND,
    "ArtifactService/Upload": _SEND,
    "ArtifactService/Commit": _SEND,
    "DeploymentService/Create": _DEPLOY,
    "DeploymentService/Start": _DEPLOY,
    "DeploymentService/Get": _VIEW,
    "DeploymentService/List": _VIEW,
    "DeploymentService/Watch": _VIEW,
    "DeploymentService/Acknowledge": _SEND,
    "DeploymentService/Cancel": _DEPLOY,
    "DeploymentService/Rollback": _DEPLOY,
    "ProfileService/Create": _PROFILE,
    "ProfileService/Watch": _VIEW,
    "ProfileService/Cancel": _PROFILE,
    "ProfileService/List": _VIEW,
    "ProfileService/FetchSamples": _VIEW,
    "TrustService/GetTrust": _VIEW,
    "TrustService/RequestCertificate": _ADMIN,
    "TrustService/InstallCertificate": _ADMIN,
    "TrustService/Revoke": _ADMIN,
    "TrustService/ReadAudit": Rule(Role.ADMIN),
}
"""Every method of every service."""

_PACKAGE = "/edgectl.agent.v1."


class Callers:
    """Establishes who calls, and knows whose calls are under way."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._lock = threading.Lock()
        self._under_way: dict[str, set[grpc.ServicerContext]] = {}

    def of(self, context: grpc.ServicerContext, *, told: str = "") -> Caller:
        """Who makes this call. `told` is how the caller names itself, which counts on the unix socket only.

        Raises:
            CallerError: the certificate does not hold (any more).
        """
        names = context.auth_context()
        if _one(names, "transport_security_type") != "ssl":
            if not context.peer().startswith("unix:"):
                raise CallerError("only mutual TLS is spoken on a network")
            # Several hosts may share this socket, forwarded by ssh: who asks is shown as it was told.
            return Caller(told or f"local user {os.getuid()}", Role.ADMIN)
        if _one(names, "ssl_tls_version") != "TLSv1.3":
            raise CallerError("only TLS 1.3 is spoken here", hint="use edgectl of the same version as the agent")
        presented = read_names(_all(names, "x509_common_name"), _all(names, "x509_subject_alternative_name"))
        try:
            caller = judge(presented, now_s=self._membership.now_s(), revoked=self._membership.revoked())
            self._membership.saw(presented.issued_s)
        except CallerError:
            raise
        except (TrustError, OSError) as exc:
            raise CallerError(f"this device cannot say whom it trusts: {exc}") from exc
        return caller

    @contextlib.contextmanager
    def under_way(self, caller: Caller, context: grpc.ServicerContext) -> Iterator[None]:
        """The call is one of the caller's until the block ends.

        Raises:
            CallerError: its certificate was revoked since it was looked at.
        """
        if not caller.serial:
            yield
            return
        with self._lock:
            self._under_way.setdefault(caller.serial, set()).add(context)
        try:
            # Again: `end` may have come between, and did not see it yet.
            if caller.serial in self._membership.revoked():
                raise CallerError(f"the certificate of {caller.name} was revoked")
            yield
        finally:
            with self._lock:
                mine = self._under_way[caller.serial]
                mine.discard(context)
                if not mine:
                    del self._under_way[caller.serial]

    def end(self, serials: Iterable[str]) -> None:
        """End the calls of certificates that were revoked."""
        with self._lock:
            contexts = [context for serial in serials for context in self._under_way.get(serial, ())]
        for context in contexts:
            context.cancel()


class AccessInterceptor(grpc.ServerInterceptor):
    """Lets a call through, or refuses it."""

    def __init__(self, callers: Callers, audit: AuditLog) -> None:
        self._callers = callers
        self._audit = audit

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """The handler of a call, guarded."""
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        name = handler_call_details.method.removeprefix(_PACKAGE)
        rule = RULES.get(name)
        if handler.response_streaming:
            return self._streaming(handler, name, rule)
        return self._unary(handler, name, rule)

    @contextlib.contextmanager
    def _passed(self, name: str, rule: Rule | None, request: Any, context: grpc.ServicerContext) -> Iterator[None]:
        subject = getattr(request, "deployment_id", "") or getattr(request, "run_id", "")
        caller = None
        try:
            caller = self._callers.of(context, told=getattr(request, "owner", ""))
            if rule is None:
                raise RoleError(f"{name} has no rule that says who may call it")
            if not caller.role.may(rule.role):
                raise RoleError(
                    f"{caller.name} has the role {caller.role.value}; {name} needs {rule.role.value}",
                    hint=f"ask the fleet's administrator: edgectl trust issue {caller.name} --role {rule.role.value}",
                )
        except TrustError as exc:
            self._audit.refused(name, caller, f"{exc.message} ({context.peer()})")
            raise
        if rule.changes:
            self._audit.changed(name, caller, subject)
        with self._callers.under_way(caller, context):
            try:
                yield
            except EdgectlError as exc:
                if rule.changes or isinstance(exc, TrustError):
                    self._audit.refused(name, caller, f"{exc.message} [{exc.reason}]")
                raise

    def _unary(self, handler: Any, name: str, rule: Rule | None) -> Any:
        inner = handler.stream_unary if handler.request_streaming else handler.unary_unary

        def behaviour(request: Any, context: grpc.ServicerContext) -> Any:
            with self._passed(name, rule, request, context):
                return inner(request, context)

        kind = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return kind(behaviour, handler.request_deserializer, handler.response_serializer)

    def _streaming(self, handler: Any, name: str, rule: Rule | None) -> Any:
        inner = handler.stream_stream if handler.request_streaming else handler.unary_stream

        def behaviour(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with self._passed(name, rule, request, context):
                yield from inner(request, context)

        kind = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
        return kind(behaviour, handler.request_deserializer, handler.response_serializer)


def _all(names: Any, key: str) -> list[str]:
    return [value.decode(errors="replace") for value in names.get(key, ())]


def _one(names: Any, key: str) -> str:
    return next(iter(_all(names, key)), "")
