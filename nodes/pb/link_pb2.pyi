from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NodeFrame(_message.Message):
    __slots__ = ("hello", "heartbeat", "records", "result", "chunk", "goodbye", "pong", "actor_call")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    PONG_FIELD_NUMBER: _ClassVar[int]
    ACTOR_CALL_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    heartbeat: Heartbeat
    records: Records
    result: CommandResult
    chunk: FileChunk
    goodbye: Goodbye
    pong: Pong
    actor_call: ActorCall
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., records: _Optional[_Union[Records, _Mapping]] = ..., result: _Optional[_Union[CommandResult, _Mapping]] = ..., chunk: _Optional[_Union[FileChunk, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ..., pong: _Optional[_Union[Pong, _Mapping]] = ..., actor_call: _Optional[_Union[ActorCall, _Mapping]] = ...) -> None: ...

class HubFrame(_message.Message):
    __slots__ = ("welcome", "heartbeat", "command", "ack", "chunk", "file_ack", "goodbye", "ping", "trust", "actor_answer")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    FILE_ACK_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    TRUST_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ANSWER_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    heartbeat: Heartbeat
    command: Command
    ack: RecordsAck
    chunk: FileChunk
    file_ack: FileAck
    goodbye: Goodbye
    ping: Ping
    trust: Trust
    actor_answer: ActorAnswer
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., command: _Optional[_Union[Command, _Mapping]] = ..., ack: _Optional[_Union[RecordsAck, _Mapping]] = ..., chunk: _Optional[_Union[FileChunk, _Mapping]] = ..., file_ack: _Optional[_Union[FileAck, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ..., trust: _Optional[_Union[Trust, _Mapping]] = ..., actor_answer: _Optional[_Union[ActorAnswer, _Mapping]] = ...) -> None: ...

class Ping(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class Pong(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class ActorCall(_message.Message):
    __slots__ = ("id", "run_id", "verb", "body")
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    id: str
    run_id: str
    verb: str
    body: bytes
    def __init__(self, id: _Optional[str] = ..., run_id: _Optional[str] = ..., verb: _Optional[str] = ..., body: _Optional[bytes] = ...) -> None: ...

class ActorAnswer(_message.Message):
    __slots__ = ("id", "data", "more")
    ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    id: str
    data: bytes
    more: bool
    def __init__(self, id: _Optional[str] = ..., data: _Optional[bytes] = ..., more: _Optional[bool] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol", "node_id", "version", "boot_id", "capacity", "labels", "allowed_roots", "runtimes", "runs", "clock_us", "git_version", "epoch", "worktree_modes", "cpus", "versions", "instance", "oldest_protocol", "trust", "isolations")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_ROOTS_FIELD_NUMBER: _ClassVar[int]
    RUNTIMES_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    CLOCK_US_FIELD_NUMBER: _ClassVar[int]
    GIT_VERSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    WORKTREE_MODES_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    OLDEST_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    TRUST_FIELD_NUMBER: _ClassVar[int]
    ISOLATIONS_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    node_id: str
    version: str
    boot_id: str
    capacity: int
    labels: _containers.ScalarMap[str, str]
    allowed_roots: _containers.RepeatedScalarFieldContainer[str]
    runtimes: _containers.RepeatedCompositeFieldContainer[Runtime]
    runs: _containers.RepeatedCompositeFieldContainer[HeldRun]
    clock_us: int
    git_version: str
    epoch: int
    worktree_modes: _containers.RepeatedScalarFieldContainer[str]
    cpus: int
    versions: _containers.ScalarMap[str, str]
    instance: str
    oldest_protocol: int
    trust: bytes
    isolations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, protocol: _Optional[int] = ..., node_id: _Optional[str] = ..., version: _Optional[str] = ..., boot_id: _Optional[str] = ..., capacity: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., allowed_roots: _Optional[_Iterable[str]] = ..., runtimes: _Optional[_Iterable[_Union[Runtime, _Mapping]]] = ..., runs: _Optional[_Iterable[_Union[HeldRun, _Mapping]]] = ..., clock_us: _Optional[int] = ..., git_version: _Optional[str] = ..., epoch: _Optional[int] = ..., worktree_modes: _Optional[_Iterable[str]] = ..., cpus: _Optional[int] = ..., versions: _Optional[_Mapping[str, str]] = ..., instance: _Optional[str] = ..., oldest_protocol: _Optional[int] = ..., trust: _Optional[bytes] = ..., isolations: _Optional[_Iterable[str]] = ...) -> None: ...

class Runtime(_message.Message):
    __slots__ = ("preset", "version", "found", "logged_in", "detail")
    PRESET_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    LOGGED_IN_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    preset: str
    version: str
    found: bool
    logged_in: bool
    detail: str
    def __init__(self, preset: _Optional[str] = ..., version: _Optional[str] = ..., found: _Optional[bool] = ..., logged_in: _Optional[bool] = ..., detail: _Optional[str] = ...) -> None: ...

class HeldRun(_message.Message):
    __slots__ = ("run_id", "generation", "last_origin_seq", "live")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    LAST_ORIGIN_SEQ_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    generation: int
    last_origin_seq: int
    live: bool
    def __init__(self, run_id: _Optional[str] = ..., generation: _Optional[int] = ..., last_origin_seq: _Optional[int] = ..., live: _Optional[bool] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("protocol", "epoch", "acked", "credit_batches", "trust", "addresses", "web")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ACKED_FIELD_NUMBER: _ClassVar[int]
    CREDIT_BATCHES_FIELD_NUMBER: _ClassVar[int]
    TRUST_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    WEB_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    epoch: int
    acked: _containers.RepeatedCompositeFieldContainer[RunAck]
    credit_batches: int
    trust: Trust
    addresses: _containers.RepeatedScalarFieldContainer[str]
    web: str
    def __init__(self, protocol: _Optional[int] = ..., epoch: _Optional[int] = ..., acked: _Optional[_Iterable[_Union[RunAck, _Mapping]]] = ..., credit_batches: _Optional[int] = ..., trust: _Optional[_Union[Trust, _Mapping]] = ..., addresses: _Optional[_Iterable[str]] = ..., web: _Optional[str] = ...) -> None: ...

class Trust(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    def __init__(self, digest: _Optional[bytes] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("number", "clock_us", "live_runs", "load", "memory_free", "disk_free", "disk_total", "memory_total")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    CLOCK_US_FIELD_NUMBER: _ClassVar[int]
    LIVE_RUNS_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FREE_FIELD_NUMBER: _ClassVar[int]
    DISK_FREE_FIELD_NUMBER: _ClassVar[int]
    DISK_TOTAL_FIELD_NUMBER: _ClassVar[int]
    MEMORY_TOTAL_FIELD_NUMBER: _ClassVar[int]
    number: int
    clock_us: int
    live_runs: int
    load: float
    memory_free: int
    disk_free: int
    disk_total: int
    memory_total: int
    def __init__(self, number: _Optional[int] = ..., clock_us: _Optional[int] = ..., live_runs: _Optional[int] = ..., load: _Optional[float] = ..., memory_free: _Optional[int] = ..., disk_free: _Optional[int] = ..., disk_total: _Optional[int] = ..., memory_total: _Optional[int] = ...) -> None: ...

class Records(_message.Message):
    __slots__ = ("batch", "runs")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    batch: int
    runs: _containers.RepeatedCompositeFieldContainer[RunRecords]
    def __init__(self, batch: _Optional[int] = ..., runs: _Optional[_Iterable[_Union[RunRecords, _Mapping]]] = ...) -> None: ...

class RunRecords(_message.Message):
    __slots__ = ("run_id", "generation", "count", "frames")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    generation: int
    count: int
    frames: bytes
    def __init__(self, run_id: _Optional[str] = ..., generation: _Optional[int] = ..., count: _Optional[int] = ..., frames: _Optional[bytes] = ...) -> None: ...

class RecordsAck(_message.Message):
    __slots__ = ("batch", "runs")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    batch: int
    runs: _containers.RepeatedCompositeFieldContainer[RunAck]
    def __init__(self, batch: _Optional[int] = ..., runs: _Optional[_Iterable[_Union[RunAck, _Mapping]]] = ...) -> None: ...

class RunAck(_message.Message):
    __slots__ = ("run_id", "generation", "origin_seq", "refused")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_SEQ_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    generation: int
    origin_seq: int
    refused: str
    def __init__(self, run_id: _Optional[str] = ..., generation: _Optional[int] = ..., origin_seq: _Optional[int] = ..., refused: _Optional[str] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("id", "run_id", "epoch", "not_after_ms", "kind", "body")
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    id: str
    run_id: str
    epoch: int
    not_after_ms: int
    kind: str
    body: bytes
    def __init__(self, id: _Optional[str] = ..., run_id: _Optional[str] = ..., epoch: _Optional[int] = ..., not_after_ms: _Optional[int] = ..., kind: _Optional[str] = ..., body: _Optional[bytes] = ...) -> None: ...

class CommandResult(_message.Message):
    __slots__ = ("id", "accepted", "code", "message")
    ID_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    id: str
    accepted: bool
    code: str
    message: str
    def __init__(self, id: _Optional[str] = ..., accepted: _Optional[bool] = ..., code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class FileChunk(_message.Message):
    __slots__ = ("run_id", "digest", "size", "offset", "data")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    digest: str
    size: int
    offset: int
    data: bytes
    def __init__(self, run_id: _Optional[str] = ..., digest: _Optional[str] = ..., size: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class FileAck(_message.Message):
    __slots__ = ("run_id", "digest", "refused")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    digest: str
    refused: str
    def __init__(self, run_id: _Optional[str] = ..., digest: _Optional[str] = ..., refused: _Optional[str] = ...) -> None: ...
