from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class OfferRequest(_message.Message):
    __slots__ = ("deployment_id", "digest", "chunks")
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    digest: str
    chunks: bytes
    def __init__(self, deployment_id: _Optional[str] = ..., digest: _Optional[str] = ..., chunks: _Optional[bytes] = ...) -> None: ...

class OfferReply(_message.Message):
    __slots__ = ("complete", "have", "upload")
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    HAVE_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_FIELD_NUMBER: _ClassVar[int]
    complete: bool
    have: bytes
    upload: bytes
    def __init__(self, complete: _Optional[bool] = ..., have: _Optional[bytes] = ..., upload: _Optional[bytes] = ...) -> None: ...

class UploadReply(_message.Message):
    __slots__ = ("durable_bytes",)
    DURABLE_BYTES_FIELD_NUMBER: _ClassVar[int]
    durable_bytes: int
    def __init__(self, durable_bytes: _Optional[int] = ...) -> None: ...

class CommitRequest(_message.Message):
    __slots__ = ("deployment_id", "digest")
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    digest: str
    def __init__(self, deployment_id: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class CommitReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
