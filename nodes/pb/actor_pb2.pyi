from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ActorRequest(_message.Message):
    __slots__ = ("actor_id", "run_id", "body")
    ACTOR_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    actor_id: str
    run_id: str
    body: bytes
    def __init__(self, actor_id: _Optional[str] = ..., run_id: _Optional[str] = ..., body: _Optional[bytes] = ...) -> None: ...

class ActorReply(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: bytes
    def __init__(self, result: _Optional[bytes] = ...) -> None: ...
