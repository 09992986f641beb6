from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class GetTrustRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeviceTrust(_message.Message):
    __slots__ = ("name", "identity", "expires_s", "revocation_epoch", "release_counter", "release_generation", "audit_count", "audit_head")
    NAME_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_S_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_EPOCH_FIELD_NUMBER: _ClassVar[int]
    RELEASE_COUNTER_FIELD_NUMBER: _ClassVar[int]
    RELEASE_GENERATION_FIELD_NUMBER: _ClassVar[int]
    AUDIT_COUNT_FIELD_NUMBER: _ClassVar[int]
    AUDIT_HEAD_FIELD_NUMBER: _ClassVar[int]
    name: str
    identity: str
    expires_s: int
    revocation_epoch: int
    release_counter: int
    release_generation: int
    audit_count: int
    audit_head: str
    def __init__(self, name: _Optional[str] = ..., identity: _Optional[str] = ..., expires_s: _Optional[int] = ..., revocation_epoch: _Optional[int] = ..., release_counter: _Optional[int] = ..., release_generation: _Optional[int] = ..., audit_count: _Optional[int] = ..., audit_head: _Optional[str] = ...) -> None: ...

class RequestCertificateRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RequestCertificateReply(_message.Message):
    __slots__ = ("csr",)
    CSR_FIELD_NUMBER: _ClassVar[int]
    csr: str
    def __init__(self, csr: _Optional[str] = ...) -> None: ...

class InstallCertificateRequest(_message.Message):
    __slots__ = ("enrolment",)
    ENROLMENT_FIELD_NUMBER: _ClassVar[int]
    enrolment: bytes
    def __init__(self, enrolment: _Optional[bytes] = ...) -> None: ...

class RevokeRequest(_message.Message):
    __slots__ = ("revocations",)
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    revocations: bytes
    def __init__(self, revocations: _Optional[bytes] = ...) -> None: ...

class ReadAuditRequest(_message.Message):
    __slots__ = ("from_number",)
    FROM_NUMBER_FIELD_NUMBER: _ClassVar[int]
    from_number: int
    def __init__(self, from_number: _Optional[int] = ...) -> None: ...

class AuditPiece(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: bytes
    def __init__(self, lines: _Optional[bytes] = ...) -> None: ...
