"""Why a run is where it is. ``state`` says where, ``reason`` why; both sides use these words."""

from enum import StrEnum


class Reason(StrEnum):
    # Waiting for something, with a name for each thing.
    NONE = ""
    QUEUED = "queued"
    NODE_OFFLINE = "node_offline"
    NODE_CORDONED = "node_cordoned"
    NO_MATCHING_NODE = "no_matching_node"
    CAPACITY = "capacity"
    STARTING = "starting"
    APPROVAL = "approval"
    INPUT = "input"
    STALLED = "stalled"
    CANCEL_REQUESTED = "cancel_requested"
    NODE_SILENT = "node_silent"
    NODE_REVOKED = "node_revoked"
    # Ended as asked.
    FINISHED = "finished"
    CANCELLED = "cancelled"
    # Ended otherwise.
    REFUSED = "refused"
    AGENT_EXITED = "agent_exited"
    AGENT_KILLED = "agent_killed"
    OUT_OF_MEMORY = "out_of_memory"
    AGENT_FAILED = "agent_failed"
    PROTOCOL_ERROR = "protocol_error"
    RUNTIME_NOT_INSTALLED = "runtime_not_installed"
    RUNTIME_START_FAILED = "runtime_start_failed"
    PROMPT_TOO_LARGE = "prompt_too_large"
    LOGIN_REQUIRED = "login_required"
    ISOLATION_UNAVAILABLE = "isolation_unavailable"
    SECRET_MISSING = "secret_missing"  # noqa: S105
    OUTSIDE_SAFE_PATHS = "outside_safe_paths"
    WORKSPACE_MISSING = "workspace_missing"
    WORKSPACE_FAILED = "workspace_failed"
    TURN_TIMEOUT = "turn_timeout"
    START_TIMEOUT = "start_timeout"
    SUPERVISOR_LOST = "supervisor_lost"
    NODE_REBOOTED = "node_rebooted"
    NODE_LOST_RUN = "node_lost_run"
    NODE_GONE = "node_gone"
    DISCONNECTED = "disconnected"
    DISK_FULL = "disk_full"
    INTERNAL = "internal"
