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
    __slots__ = ("subject", "statistic", "value", "limit", "at")
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    STATISTIC_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    subject: str
    statistic: str
    value: float
    limit: float
    at: str
    def __init__(self, subject: _Optional[str] = ..., statistic: _Optional[str] = ..., value: _Optional[float] = ..., limit: _Optional[float] = ..., at: _Optional[str] = ...) -> None: ...

class DimensionFigure(_message.Message):
    __slots__ = ("name", "rmse", "worst", "scale", "deviation", "effect", "correlation", "unequal")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RMSE_FIELD_NUMBER: _ClassVar[int]
    WORST_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    DEVIATION_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_FIELD_NUMBER: _ClassVar[int]
    UNEQUAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    rmse: float
    worst: float
    scale: float
    deviation: float
    effect: float
    correlation: float
    unequal: float
    def __init__(self, name: _Optional[str] = ..., rmse: _Optional[float] = ..., worst: _Optional[float] = ..., scale: _Optional[float] = ..., deviation: _Optional[float] = ..., effect: _Optional[float] = ..., correlation: _Optional[float] = ..., unequal: _Optional[float] = ...) -> None: ...

class ParityReport(_message.Message):
    __slots__ = ("cases", "figures", "dimensions")
    CASES_FIELD_NUMBER: _ClassVar[int]
    FIGURES_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    cases: int
    figures: _containers.RepeatedCompositeFieldContainer[ParityFigure]
    dimensions: _containers.RepeatedCompositeFieldContainer[DimensionFigure]
    def __init__(self, cases: _Optional[int] = ..., figures: _Optional[_Iterable[_Union[ParityFigure, _Mapping]]] = ..., dimensions: _Optional[_Iterable[_Union[DimensionFigure, _Mapping]]] = ...) -> None: ...

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
    parity: ParityReport
    components: _containers.RepeatedCompositeFieldContainer[_device_pb2.ComponentFacts]
    def __init__(self, id: _Optional[str] = ..., release: _Optional[str] = ..., name: _Optional[str] = ..., state: _Optional[_Union[State, str]] = ..., owner: _Optional[str] = ..., created_s: _Optional[float] = ..., changed_s: _Optional[float] = ..., transitions: _Optional[int] = ..., previous: _Optional[str] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., parity: _Optional[_Union[ParityReport, _Mapping]] = ..., components: _Optional[_Iterable[_Union[_device_pb2.ComponentFacts, _Mapping]]] = ...) -> None: ...

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
    __slots__ = ("manifest", "owner", "deployment_id", "signed_release")
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNED_RELEASE_FIELD_NUMBER: _ClassVar[int]
    manifest: bytes
    owner: str
    deployment_id: str
    signed_release: bytes
    def __init__(self, manifest: _Optional[bytes] = ..., owner: _Optional[str] = ..., deployment_id: _Optional[str] = ..., signed_release: _Optional[bytes] = ...) -> None: ...

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
    __slots__ = ("deployments", "current", "previous", "kept", "problems")
    class ProblemsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DEPLOYMENTS_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    deployments: _containers.RepeatedCompositeFieldContainer[Deployment]
    current: str
    previous: str
    kept: _containers.RepeatedScalarFieldContainer[str]
    problems: _containers.ScalarMap[str, str]
    def __init__(self, deployments: _Optional[_Iterable[_Union[Deployment, _Mapping]]] = ..., current: _Optional[str] = ..., previous: _Optional[str] = ..., kept: _Optional[_Iterable[str]] = ..., problems: _Optional[_Mapping[str, str]] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("deployment_id", "after_sequence")
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    after_sequence: int
    def __init__(self, deployment_id: _Optional[str] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class AcknowledgeRequest(_message.Message):
    __slots__ = ("up_to_sequence", "deployment_id")
    UP_TO_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    up_to_sequence: int
    deployment_id: str
    def __init__(self, up_to_sequence: _Optional[int] = ..., deployment_id: _Optional[str] = ...) -> None: ...

class AcknowledgeReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("deployment_id",)
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    deployment_id: str
    def __init__(self, deployment_id: _Optional[str] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("owner", "signed_release")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SIGNED_RELEASE_FIELD_NUMBER: _ClassVar[int]
    owner: str
    signed_release: bytes
    def __init__(self, owner: _Optional[str] = ..., signed_release: _Optional[bytes] = ...) -> None: ...
