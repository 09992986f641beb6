from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Chunk(_message.Message):
    __slots__ = ("offset", "size_bytes", "blake3")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    BLAKE3_FIELD_NUMBER: _ClassVar[int]
    offset: int
    size_bytes: int
    blake3: str
    def __init__(self, offset: _Optional[int] = ..., size_bytes: _Optional[int] = ..., blake3: _Optional[str] = ...) -> None: ...

class OfferRequest(_message.Message):
    __slots__ = ("deployment_id", "digest", "size_bytes", "chunks")
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    digest: str
    size_bytes: int
    chunks: _containers.RepeatedCompositeFieldContainer[Chunk]
    def __init__(self, deployment_id: _Optional[str] = ..., digest: _Optional[str] = ..., size_bytes: _Optional[int] = ..., chunks: _Optional[_Iterable[_Union[Chunk, _Mapping]]] = ...) -> None: ...

class OfferReply(_message.Message):
    __slots__ = ("complete", "missing")
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    complete: bool
    missing: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, complete: _Optional[bool] = ..., missing: _Optional[_Iterable[int]] = ...) -> None: ...

class UploadFrame(_message.Message):
    __slots__ = ("deployment_id", "digest", "chunk", "data")
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    digest: str
    chunk: int
    data: bytes
    def __init__(self, deployment_id: _Optional[str] = ..., digest: _Optional[str] = ..., chunk: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

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
