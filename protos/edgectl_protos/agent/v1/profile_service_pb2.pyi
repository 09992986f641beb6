from edgectl_protos.common.v1 import device_pb2 as _device_pb2
from edgectl_protos.common.v1 import failure_pb2 as _failure_pb2
from edgectl_protos.common.v1 import loop_pb2 as _loop_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RunPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_PHASE_UNSPECIFIED: _ClassVar[RunPhase]
    RUN_PHASE_LOADING: _ClassVar[RunPhase]
    RUN_PHASE_WARMING_UP: _ClassVar[RunPhase]
    RUN_PHASE_MEASURING: _ClassVar[RunPhase]
    RUN_PHASE_DONE: _ClassVar[RunPhase]
    RUN_PHASE_FAILED: _ClassVar[RunPhase]
RUN_PHASE_UNSPECIFIED: RunPhase
RUN_PHASE_LOADING: RunPhase
RUN_PHASE_WARMING_UP: RunPhase
RUN_PHASE_MEASURING: RunPhase
RUN_PHASE_DONE: RunPhase
RUN_PHASE_FAILED: RunPhase

class CreateRunRequest(_message.Message):
    __slots__ = ("run_id", "overrides", "release", "owner", "part_of")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    PART_OF_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    overrides: _loop_pb2.LoopOverrides
    release: str
    owner: str
    part_of: str
    def __init__(self, run_id: _Optional[str] = ..., overrides: _Optional[_Union[_loop_pb2.LoopOverrides, _Mapping]] = ..., release: _Optional[str] = ..., owner: _Optional[str] = ..., part_of: _Optional[str] = ...) -> None: ...

class WatchRunRequest(_message.Message):
    __slots__ = ("run_id", "after_sequence")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    after_sequence: int
    def __init__(self, run_id: _Optional[str] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class CancelRunRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRunsReply(_message.Message):
    __slots__ = ("runs",)
    RUNS_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[Run]
    def __init__(self, runs: _Optional[_Iterable[_Union[Run, _Mapping]]] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("run_id", "deployment_id", "release", "name", "owner", "part_of", "phase", "begun_s", "failure")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    PART_OF_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    BEGUN_S_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    deployment_id: str
    release: str
    name: str
    owner: str
    part_of: str
    phase: RunPhase
    begun_s: float
    failure: _failure_pb2.Failure
    def __init__(self, run_id: _Optional[str] = ..., deployment_id: _Optional[str] = ..., release: _Optional[str] = ..., name: _Optional[str] = ..., owner: _Optional[str] = ..., part_of: _Optional[str] = ..., phase: _Optional[_Union[RunPhase, str]] = ..., begun_s: _Optional[float] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ...) -> None: ...

class RunEvent(_message.Message):
    __slots__ = ("run_id", "phase", "progress", "summary", "failure", "sequence")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    phase: RunPhase
    progress: float
    summary: RunSummary
    failure: _failure_pb2.Failure
    sequence: int
    def __init__(self, run_id: _Optional[str] = ..., phase: _Optional[_Union[RunPhase, str]] = ..., progress: _Optional[float] = ..., summary: _Optional[_Union[RunSummary, _Mapping]] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., sequence: _Optional[int] = ...) -> None: ...

class Percentiles(_message.Message):
    __slots__ = ("n", "min", "p50", "p90", "p95", "p99", "p999", "max")
    N_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    P50_FIELD_NUMBER: _ClassVar[int]
    P90_FIELD_NUMBER: _ClassVar[int]
    P95_FIELD_NUMBER: _ClassVar[int]
    P99_FIELD_NUMBER: _ClassVar[int]
    P999_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    n: int
    min: float
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float
    max: float
    def __init__(self, n: _Optional[int] = ..., min: _Optional[float] = ..., p50: _Optional[float] = ..., p90: _Optional[float] = ..., p95: _Optional[float] = ..., p99: _Optional[float] = ..., p999: _Optional[float] = ..., max: _Optional[float] = ...) -> None: ...

class SpanFigures(_message.Message):
    __slots__ = ("id", "op", "times", "share", "note", "component", "passes")
    ID_FIELD_NUMBER: _ClassVar[int]
    OP_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    PASSES_FIELD_NUMBER: _ClassVar[int]
    id: str
    op: str
    times: Percentiles
    share: float
    note: str
    component: str
    passes: _containers.RepeatedCompositeFieldContainer[Percentiles]
    def __init__(self, id: _Optional[str] = ..., op: _Optional[str] = ..., times: _Optional[_Union[Percentiles, _Mapping]] = ..., share: _Optional[float] = ..., note: _Optional[str] = ..., component: _Optional[str] = ..., passes: _Optional[_Iterable[_Union[Percentiles, _Mapping]]] = ...) -> None: ...

class Misses(_message.Message):
    __slots__ = ("count", "rate", "longest_run", "skipped")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    LONGEST_RUN_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    count: int
    rate: float
    longest_run: int
    skipped: int
    def __init__(self, count: _Optional[int] = ..., rate: _Optional[float] = ..., longest_run: _Optional[int] = ..., skipped: _Optional[int] = ...) -> None: ...

class Rates(_message.Message):
    __slots__ = ("command_hz", "fresh_action_hz", "replan_hz", "observation_hz")
    COMMAND_HZ_FIELD_NUMBER: _ClassVar[int]
    FRESH_ACTION_HZ_FIELD_NUMBER: _ClassVar[int]
    REPLAN_HZ_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_HZ_FIELD_NUMBER: _ClassVar[int]
    command_hz: float
    fresh_action_hz: float
    replan_hz: float
    observation_hz: float
    def __init__(self, command_hz: _Optional[float] = ..., fresh_action_hz: _Optional[float] = ..., replan_hz: _Optional[float] = ..., observation_hz: _Optional[float] = ...) -> None: ...

class ColdStart(_message.Message):
    __slots__ = ("import_s", "load_s", "first_inference_s", "first_action_s")
    IMPORT_S_FIELD_NUMBER: _ClassVar[int]
    LOAD_S_FIELD_NUMBER: _ClassVar[int]
    FIRST_INFERENCE_S_FIELD_NUMBER: _ClassVar[int]
    FIRST_ACTION_S_FIELD_NUMBER: _ClassVar[int]
    import_s: float
    load_s: float
    first_inference_s: float
    first_action_s: float
    def __init__(self, import_s: _Optional[float] = ..., load_s: _Optional[float] = ..., first_inference_s: _Optional[float] = ..., first_action_s: _Optional[float] = ...) -> None: ...

class WarmUp(_message.Message):
    __slots__ = ("inferences", "seconds", "met")
    INFERENCES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    MET_FIELD_NUMBER: _ClassVar[int]
    inferences: int
    seconds: float
    met: bool
    def __init__(self, inferences: _Optional[int] = ..., seconds: _Optional[float] = ..., met: _Optional[bool] = ...) -> None: ...

class Exceedances(_message.Message):
    __slots__ = ("limit", "n", "count", "dispersion")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    DISPERSION_FIELD_NUMBER: _ClassVar[int]
    limit: _loop_pb2.Limit
    n: int
    count: int
    dispersion: float
    def __init__(self, limit: _Optional[_Union[_loop_pb2.Limit, _Mapping]] = ..., n: _Optional[int] = ..., count: _Optional[int] = ..., dispersion: _Optional[float] = ...) -> None: ...

class Interference(_message.Message):
    __slots__ = ("waited_share", "pressure_share", "stolen_cpus", "others_cpus", "involuntary_switches", "clock_start_hz", "clock_end_hz", "clock_min_hz", "throttle_events", "suspended_s", "clock_step_s")
    WAITED_SHARE_FIELD_NUMBER: _ClassVar[int]
    PRESSURE_SHARE_FIELD_NUMBER: _ClassVar[int]
    STOLEN_CPUS_FIELD_NUMBER: _ClassVar[int]
    OTHERS_CPUS_FIELD_NUMBER: _ClassVar[int]
    INVOLUNTARY_SWITCHES_FIELD_NUMBER: _ClassVar[int]
    CLOCK_START_HZ_FIELD_NUMBER: _ClassVar[int]
    CLOCK_END_HZ_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MIN_HZ_FIELD_NUMBER: _ClassVar[int]
    THROTTLE_EVENTS_FIELD_NUMBER: _ClassVar[int]
    SUSPENDED_S_FIELD_NUMBER: _ClassVar[int]
    CLOCK_STEP_S_FIELD_NUMBER: _ClassVar[int]
    waited_share: float
    pressure_share: float
    stolen_cpus: float
    others_cpus: float
    involuntary_switches: int
    clock_start_hz: float
    clock_end_hz: float
    clock_min_hz: float
    throttle_events: int
    suspended_s: float
    clock_step_s: float
    def __init__(self, waited_share: _Optional[float] = ..., pressure_share: _Optional[float] = ..., stolen_cpus: _Optional[float] = ..., others_cpus: _Optional[float] = ..., involuntary_switches: _Optional[int] = ..., clock_start_hz: _Optional[float] = ..., clock_end_hz: _Optional[float] = ..., clock_min_hz: _Optional[float] = ..., throttle_events: _Optional[int] = ..., suspended_s: _Optional[float] = ..., clock_step_s: _Optional[float] = ...) -> None: ...

class Generation(_message.Message):
    __slots__ = ("step", "component", "prompt_tokens", "first_token", "next_token", "tokens_per_s", "token_bytes")
    STEP_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NEXT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_S_FIELD_NUMBER: _ClassVar[int]
    TOKEN_BYTES_FIELD_NUMBER: _ClassVar[int]
    step: str
    component: str
    prompt_tokens: int
    first_token: Percentiles
    next_token: Percentiles
    tokens_per_s: float
    token_bytes: int
    def __init__(self, step: _Optional[str] = ..., component: _Optional[str] = ..., prompt_tokens: _Optional[int] = ..., first_token: _Optional[_Union[Percentiles, _Mapping]] = ..., next_token: _Optional[_Union[Percentiles, _Mapping]] = ..., tokens_per_s: _Optional[float] = ..., token_bytes: _Optional[int] = ...) -> None: ...

class MemoryReads(_message.Message):
    __slots__ = ("bytes_per_s", "size_bytes", "passes", "threads")
    BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PASSES_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    bytes_per_s: float
    size_bytes: int
    passes: int
    threads: int
    def __init__(self, bytes_per_s: _Optional[float] = ..., size_bytes: _Optional[int] = ..., passes: _Optional[int] = ..., threads: _Optional[int] = ...) -> None: ...

class RunSummary(_message.Message):
    __slots__ = ("run_id", "deployment_id", "release", "name", "loop", "facts", "components", "threads", "started_s", "measured_s", "ticks", "inferences", "warm_up", "cold_start", "response", "service", "wake", "jitter", "age", "misses", "rates", "spans", "overhead_share", "peak_rss_bytes", "cpu_utilisation", "temperature_start_c", "samples_bytes", "starved_slots", "temperature_max_c", "exceedances", "unused_frames", "interference", "agent_version", "generations", "memory_reads")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LOOP_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    STARTED_S_FIELD_NUMBER: _ClassVar[int]
    MEASURED_S_FIELD_NUMBER: _ClassVar[int]
    TICKS_FIELD_NUMBER: _ClassVar[int]
    INFERENCES_FIELD_NUMBER: _ClassVar[int]
    WARM_UP_FIELD_NUMBER: _ClassVar[int]
    COLD_START_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    WAKE_FIELD_NUMBER: _ClassVar[int]
    JITTER_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    RATES_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    OVERHEAD_SHARE_FIELD_NUMBER: _ClassVar[int]
    PEAK_RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_UTILISATION_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_START_C_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_BYTES_FIELD_NUMBER: _ClassVar[int]
    STARVED_SLOTS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_MAX_C_FIELD_NUMBER: _ClassVar[int]
    EXCEEDANCES_FIELD_NUMBER: _ClassVar[int]
    UNUSED_FRAMES_FIELD_NUMBER: _ClassVar[int]
    INTERFERENCE_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    GENERATIONS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_READS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    deployment_id: str
    release: str
    name: str
    loop: _loop_pb2.LoopSpec
    facts: _device_pb2.DeviceFacts
    components: _containers.RepeatedCompositeFieldContainer[_device_pb2.ComponentFacts]
    threads: int
    started_s: float
    measured_s: float
    ticks: int
    inferences: int
    warm_up: WarmUp
    cold_start: ColdStart
    response: Percentiles
    service: Percentiles
    wake: Percentiles
    jitter: Percentiles
    age: Percentiles
    misses: Misses
    rates: Rates
    spans: _containers.RepeatedCompositeFieldContainer[SpanFigures]
    overhead_share: float
    peak_rss_bytes: int
    cpu_utilisation: float
    temperature_start_c: float
    samples_bytes: int
    starved_slots: int
    temperature_max_c: float
    exceedances: _containers.RepeatedCompositeFieldContainer[Exceedances]
    unused_frames: int
    interference: Interference
    agent_version: str
    generations: _containers.RepeatedCompositeFieldContainer[Generation]
    memory_reads: MemoryReads
    def __init__(self, run_id: _Optional[str] = ..., deployment_id: _Optional[str] = ..., release: _Optional[str] = ..., name: _Optional[str] = ..., loop: _Optional[_Union[_loop_pb2.LoopSpec, _Mapping]] = ..., facts: _Optional[_Union[_device_pb2.DeviceFacts, _Mapping]] = ..., components: _Optional[_Iterable[_Union[_device_pb2.ComponentFacts, _Mapping]]] = ..., threads: _Optional[int] = ..., started_s: _Optional[float] = ..., measured_s: _Optional[float] = ..., ticks: _Optional[int] = ..., inferences: _Optional[int] = ..., warm_up: _Optional[_Union[WarmUp, _Mapping]] = ..., cold_start: _Optional[_Union[ColdStart, _Mapping]] = ..., response: _Optional[_Union[Percentiles, _Mapping]] = ..., service: _Optional[_Union[Percentiles, _Mapping]] = ..., wake: _Optional[_Union[Percentiles, _Mapping]] = ..., jitter: _Optional[_Union[Percentiles, _Mapping]] = ..., age: _Optional[_Union[Percentiles, _Mapping]] = ..., misses: _Optional[_Union[Misses, _Mapping]] = ..., rates: _Optional[_Union[Rates, _Mapping]] = ..., spans: _Optional[_Iterable[_Union[SpanFigures, _Mapping]]] = ..., overhead_share: _Optional[float] = ..., peak_rss_bytes: _Optional[int] = ..., cpu_utilisation: _Optional[float] = ..., temperature_start_c: _Optional[float] = ..., samples_bytes: _Optional[int] = ..., starved_slots: _Optional[int] = ..., temperature_max_c: _Optional[float] = ..., exceedances: _Optional[_Iterable[_Union[Exceedances, _Mapping]]] = ..., unused_frames: _Optional[int] = ..., interference: _Optional[_Union[Interference, _Mapping]] = ..., agent_version: _Optional[str] = ..., generations: _Optional[_Iterable[_Union[Generation, _Mapping]]] = ..., memory_reads: _Optional[_Union[MemoryReads, _Mapping]] = ...) -> None: ...

class FetchSamplesRequest(_message.Message):
    __slots__ = ("run_id", "offset")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    offset: int
    def __init__(self, run_id: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class SamplesPiece(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...
