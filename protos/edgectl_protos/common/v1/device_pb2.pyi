from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RuntimeFacts(_message.Message):
    __slots__ = ("name", "version", "providers", "precisions", "problem")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    PRECISIONS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    providers: _containers.RepeatedScalarFieldContainer[str]
    precisions: _containers.RepeatedScalarFieldContainer[str]
    problem: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., providers: _Optional[_Iterable[str]] = ..., precisions: _Optional[_Iterable[str]] = ..., problem: _Optional[str] = ...) -> None: ...

class ComponentFacts(_message.Message):
    __slots__ = ("name", "runtime", "runtime_version", "scheme", "precision", "provider", "simulated")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_FIELD_NUMBER: _ClassVar[int]
    RUNTIME_VERSION_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    SIMULATED_FIELD_NUMBER: _ClassVar[int]
    name: str
    runtime: str
    runtime_version: str
    scheme: str
    precision: str
    provider: str
    simulated: bool
    def __init__(self, name: _Optional[str] = ..., runtime: _Optional[str] = ..., runtime_version: _Optional[str] = ..., scheme: _Optional[str] = ..., precision: _Optional[str] = ..., provider: _Optional[str] = ..., simulated: _Optional[bool] = ...) -> None: ...

class DeviceFacts(_message.Message):
    __slots__ = ("device", "machine_id", "board", "arch", "os", "kernel", "libc", "python", "cpu_model", "cpu_count", "isa", "memory_bytes", "disk_free_bytes", "governor", "temperature_c", "load_1min", "preempt_rt", "runtimes", "stand_in_for", "isolation")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    BOARD_FIELD_NUMBER: _ClassVar[int]
    ARCH_FIELD_NUMBER: _ClassVar[int]
    OS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    LIBC_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FIELD_NUMBER: _ClassVar[int]
    CPU_MODEL_FIELD_NUMBER: _ClassVar[int]
    CPU_COUNT_FIELD_NUMBER: _ClassVar[int]
    ISA_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    GOVERNOR_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_C_FIELD_NUMBER: _ClassVar[int]
    LOAD_1MIN_FIELD_NUMBER: _ClassVar[int]
    PREEMPT_RT_FIELD_NUMBER: _ClassVar[int]
    RUNTIMES_FIELD_NUMBER: _ClassVar[int]
    STAND_IN_FOR_FIELD_NUMBER: _ClassVar[int]
    ISOLATION_FIELD_NUMBER: _ClassVar[int]
    device: str
    machine_id: str
    board: str
    arch: str
    os: str
    kernel: str
    libc: str
    python: str
    cpu_model: str
    cpu_count: int
    isa: _containers.RepeatedScalarFieldContainer[str]
    memory_bytes: int
    disk_free_bytes: int
    governor: str
    temperature_c: float
    load_1min: float
    preempt_rt: bool
    runtimes: _containers.RepeatedCompositeFieldContainer[RuntimeFacts]
    stand_in_for: str
    isolation: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, device: _Optional[str] = ..., machine_id: _Optional[str] = ..., board: _Optional[str] = ..., arch: _Optional[str] = ..., os: _Optional[str] = ..., kernel: _Optional[str] = ..., libc: _Optional[str] = ..., python: _Optional[str] = ..., cpu_model: _Optional[str] = ..., cpu_count: _Optional[int] = ..., isa: _Optional[_Iterable[str]] = ..., memory_bytes: _Optional[int] = ..., disk_free_bytes: _Optional[int] = ..., governor: _Optional[str] = ..., temperature_c: _Optional[float] = ..., load_1min: _Optional[float] = ..., preempt_rt: _Optional[bool] = ..., runtimes: _Optional[_Iterable[_Union[RuntimeFacts, _Mapping]]] = ..., stand_in_for: _Optional[str] = ..., isolation: _Optional[_Iterable[str]] = ...) -> None: ...
