"""Exit codes of every ``agenthub`` command, defined once; ``docs/cli.md`` lists them."""

from enum import IntEnum


class Exit(IntEnum):
    OK = 0
    FAILED = 1
    """The run failed or timed out; or what was asked for could not be done."""
    USAGE = 2
    """The command line or the configuration is wrong."""
    UNREACHABLE = 3
    """No hub answers."""
    REFUSED = 4
    """The hub said no: unknown, not allowed, wrong state. Or this home already has a hub."""
    CANCELLED = 5
    """The run was cancelled."""
    INTERRUPTED = 130
    """Ctrl-C."""


OUTCOMES = {
    "succeeded": Exit.OK,
    "failed": Exit.FAILED,
    "timed_out": Exit.FAILED,
    "cancelled": Exit.CANCELLED,
}
"""A finished run's state, as an exit code."""

MEANINGS = """\
exit codes:
  0  done; the run succeeded        4  refused: unknown, not allowed, wrong state
  1  the run failed or timed out    5  the run was cancelled
  2  wrong usage or configuration   130  interrupted
  3  no hub answers"""
