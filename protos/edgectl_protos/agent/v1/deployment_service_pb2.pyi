from edgectl_protos.common.v1 import device_pb2 as _device_pb2
from edgectl_protos.common.v1 import failure_pb2 as _failure_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATE_UNSPECIFIED: _ClassVar[State]
    STATE_PLANNED: _ClassVar[State]
    STATE_STAGING: _ClassVar[State]
    STATE_VERIFIED: _ClassVar[State]
    STATE_BUILDING: _ClassVar[State]
    STATE_PARITY: _ClassVar[State]
    STATE_WAIT_WINDOW: _ClassVar[State]
    STATE_ACTIVATING: _ClassVar[State]
    STATE_PROBATION: _ClassVar[State]
    STATE_COMMITTED: _ClassVar[State]
    STATE_FAILED: _ClassVar[State]
    STATE_ROLLING_BACK: _ClassVar[State]
    STATE_ROLLED_BACK: _ClassVar[State]
    STATE_INCONSISTENT: _ClassVar[State]
STATE_UNSPECIFIED: State
STATE_PLANNED: State
STATE_STAGING: State
STATE_VERIFIED: State
STATE_BUILDING: State
STATE_PARITY: State
STATE_WAIT_WINDOW: State
STATE_ACTIVATING: State
STATE_PROBATION: State
STATE_COMMITTED: State
STATE_FAILED: State
STATE_ROLLING_BACK: State
STATE_ROLLED_BACK: State
STATE_INCONSISTENT: State

class ParityFigure(_message.Message):
    __slots__ = ("tensor", "cases", "max_abs", "max_abs_of_range", "cosine", "passed")
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    CASES_FIELD_NUMBER: _ClassVar[int]
    MAX_ABS_FIELD_NUMBER: _ClassVar[int]
    MAX_ABS_OF_RANGE_FIELD_NUMBER: _ClassVar[int]
    COSINE_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    tensor: str
    cases: int
    max_abs: float
    max_abs_of_range: float
    cosine: float
    passed: bool
    def __init__(self, tensor: _Optional[str] = ..., cases: _Optional[int] = ..., max_abs: _Optional[float] = ..., max_abs_of_range: _Optional[float] = ..., cosine: _Optional[float] = ..., passed: _Optional[bool] = ...) -> None: ...

class Deployment(_message.Message):
    __slots__ = ("id", "release", "name", "state", "owner", "created_s", "changed_s", "transitions", "previous", "failure", "parity", "components")
    ID_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    CREATED_S_FIELD_NUMBER: _ClassVar[int]
    CHANGED_S_FIELD_NUMBER: _ClassVar[int]
    TRANSITIONS_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    PARITY_FIELD_NUMBER: _ClassVar[int]
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    id: str
    release: str
    name: str
    state: State
    owner: str
    created_s: float
    changed_s: float
    transitions: int
    previous: str
    failure: _failure_pb2.Failure
    parity: _containers.RepeatedCompositeFieldContainer[ParityFigure]
    components: _containers.RepeatedCompositeFieldContainer[_device_pb2.ComponentFacts]
    def __init__(self, id: _Optional[str] = ..., release: _Optional[str] = ..., name: _Optional[str] = ..., state: _Optional[_Union[State, str]] = ..., owner: _Optional[str] = ..., created_s: _Optional[float] = ..., changed_s: _Optional[float] = ..., transitions: _Optional[int] = ..., previous: _Optional[str] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., parity: _Optional[_Iterable[_Union[ParityFigure, _Mapping]]] = ..., components: _Optional[_Iterable[_Union[_device_pb2.ComponentFacts, _Mapping]]] = ...) -> None: ...

class DeploymentEvent(_message.Message):
    __slots__ = ("sequence", "deployment_id", "state", "at_s", "detail", "failure")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    AT_S_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    deployment_id: str
    state: State
    at_s: float
    detail: str
    failure: _failure_pb2.Failure
    def __init__(self, sequence: _Optional[int] = ..., deployment_id: _Optional[str] = ..., state: _Optional[_Union[State, str]] = ..., at_s: _Optional[float] = ..., detail: _Optional[str] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ...) -> None: ...

class CreateRequest(_message.Message):
    __slots__ = ("manifest", "owner", "deployment_id")
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    manifest: bytes
    owner: str
    deployment_id: str
    def __init__(self, manifest: _Optional[bytes] = ..., owner: _Optional[str] = ..., deployment_id: _Optional[str] = ...) -> None: ...

class StartRequest(_message.Message):
    __slots__ = ("deployment_id",)
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    def __init__(self, deployment_id: _Optional[str] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("deployment_id",)
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    def __init__(self, deployment_id: _Optional[str] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListReply(_message.Message):
    __slots__ = ("deployments", "current", "previous")
    DEPLOYMENTS_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    deployments: _containers.RepeatedCompositeFieldContainer[Deployment]
    current: str
    previous: str
    def __init__(self, deployments: _Optional[_Iterable[_Union[Deployment, _Mapping]]] = ..., current: _Optional[str] = ..., previous: _Optional[str] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("deployment_id", "after_sequence")
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    after_sequence: int
    def __init__(self, deployment_id: _Optional[str] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class AcknowledgeRequest(_message.Message):
    __slots__ = ("up_to_sequence",)
    UP_TO_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    up_to_sequence: int
    def __init__(self, up_to_sequence: _Optional[int] = ...) -> None: ...

class AcknowledgeReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("deployment_id",)
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    def __init__(self, deployment_id: _Optional[str] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("owner",)
    OWNER_FIELD_NUMBER: _ClassVar[int]
    owner: str
    def __init__(self, owner: _Optional[str] = ...) -> None: ...
