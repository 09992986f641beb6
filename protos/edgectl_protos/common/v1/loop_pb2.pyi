from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SourceKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SOURCE_KIND_UNSPECIFIED: _ClassVar[SourceKind]
    SOURCE_KIND_VIDEO: _ClassVar[SourceKind]
    SOURCE_KIND_IMAGE: _ClassVar[SourceKind]
    SOURCE_KIND_RECORDED: _ClassVar[SourceKind]
    SOURCE_KIND_SYNTHETIC: _ClassVar[SourceKind]
    SOURCE_KIND_TEXT: _ClassVar[SourceKind]

class OnEnd(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_END_UNSPECIFIED: _ClassVar[OnEnd]
    ON_END_FAIL: _ClassVar[OnEnd]
    ON_END_REPEAT: _ClassVar[OnEnd]

class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODE_UNSPECIFIED: _ClassVar[Mode]
    MODE_PACED: _ClassVar[Mode]
    MODE_CLOSED: _ClassVar[Mode]

class Overrun(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OVERRUN_UNSPECIFIED: _ClassVar[Overrun]
    OVERRUN_SKIP: _ClassVar[Overrun]
    OVERRUN_BURST: _ClassVar[Overrun]

class Metric(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    METRIC_UNSPECIFIED: _ClassVar[Metric]
    METRIC_TICK: _ClassVar[Metric]
    METRIC_AGE: _ClassVar[Metric]
    METRIC_MISSES: _ClassVar[Metric]
    METRIC_STARVATION: _ClassVar[Metric]
SOURCE_KIND_UNSPECIFIED: SourceKind
SOURCE_KIND_VIDEO: SourceKind
SOURCE_KIND_IMAGE: SourceKind
SOURCE_KIND_RECORDED: SourceKind
SOURCE_KIND_SYNTHETIC: SourceKind
SOURCE_KIND_TEXT: SourceKind
ON_END_UNSPECIFIED: OnEnd
ON_END_FAIL: OnEnd
ON_END_REPEAT: OnEnd
MODE_UNSPECIFIED: Mode
MODE_PACED: Mode
MODE_CLOSED: Mode
OVERRUN_UNSPECIFIED: Overrun
OVERRUN_SKIP: Overrun
OVERRUN_BURST: Overrun
METRIC_UNSPECIFIED: Metric
METRIC_TICK: Metric
METRIC_AGE: Metric
METRIC_MISSES: Metric
METRIC_STARVATION: Metric

class SourceSpec(_message.Message):
    __slots__ = ("feature", "kind", "path", "fps", "seed", "on_end", "text", "resize", "delay_s", "phase_s")
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    FPS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    ON_END_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RESIZE_FIELD_NUMBER: _ClassVar[int]
    DELAY_S_FIELD_NUMBER: _ClassVar[int]
    PHASE_S_FIELD_NUMBER: _ClassVar[int]
    feature: str
    kind: SourceKind
    path: str
    fps: float
    seed: int
    on_end: OnEnd
    text: str
    resize: bool
    delay_s: float
    phase_s: float
    def __init__(self, feature: _Optional[str] = ..., kind: _Optional[_Union[SourceKind, str]] = ..., path: _Optional[str] = ..., fps: _Optional[float] = ..., seed: _Optional[int] = ..., on_end: _Optional[_Union[OnEnd, str]] = ..., text: _Optional[str] = ..., resize: _Optional[bool] = ..., delay_s: _Optional[float] = ..., phase_s: _Optional[float] = ...) -> None: ...

class Execution(_message.Message):
    __slots__ = ("use", "kind")
    USE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    use: int
    kind: str
    def __init__(self, use: _Optional[int] = ..., kind: _Optional[str] = ...) -> None: ...

class Limit(_message.Message):
    __slots__ = ("metric", "statistic", "limit")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    STATISTIC_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    metric: Metric
    statistic: str
    limit: float
    def __init__(self, metric: _Optional[_Union[Metric, str]] = ..., statistic: _Optional[str] = ..., limit: _Optional[float] = ...) -> None: ...

class Deadlines(_message.Message):
    __slots__ = ("limits",)
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    limits: _containers.RepeatedCompositeFieldContainer[Limit]
    def __init__(self, limits: _Optional[_Iterable[_Union[Limit, _Mapping]]] = ...) -> None: ...

class LoopSpec(_message.Message):
    __slots__ = ("name", "rate_hz", "sources", "execution", "deadlines", "measure_s", "mode", "overrun", "sink", "threads")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    DEADLINES_FIELD_NUMBER: _ClassVar[int]
    MEASURE_S_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    OVERRUN_FIELD_NUMBER: _ClassVar[int]
    SINK_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    name: str
    rate_hz: float
    sources: _containers.RepeatedCompositeFieldContainer[SourceSpec]
    execution: Execution
    deadlines: Deadlines
    measure_s: float
    mode: Mode
    overrun: Overrun
    sink: str
    threads: int
    def __init__(self, name: _Optional[str] = ..., rate_hz: _Optional[float] = ..., sources: _Optional[_Iterable[_Union[SourceSpec, _Mapping]]] = ..., execution: _Optional[_Union[Execution, _Mapping]] = ..., deadlines: _Optional[_Union[Deadlines, _Mapping]] = ..., measure_s: _Optional[float] = ..., mode: _Optional[_Union[Mode, str]] = ..., overrun: _Optional[_Union[Overrun, str]] = ..., sink: _Optional[str] = ..., threads: _Optional[int] = ...) -> None: ...

class LoopOverrides(_message.Message):
    __slots__ = ("rate_hz", "measure_s", "mode", "threads")
    RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    MEASURE_S_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    rate_hz: float
    measure_s: float
    mode: Mode
    threads: int
    def __init__(self, rate_hz: _Optional[float] = ..., measure_s: _Optional[float] = ..., mode: _Optional[_Union[Mode, str]] = ..., threads: _Optional[int] = ...) -> None: ...
