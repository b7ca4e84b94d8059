"""agent-hub-mcp's ``config.yaml``: the eight limits, one to a line."""

from pathlib import Path
from typing import Any, Final

from .agents_env import BadFile, read_own

WHOLE: Final = (
    "max_rounds", "max_assignments_per_round", "max_messages_per_task", "max_hop_count", "max_simultaneous_assignments",
)  # fmt: skip
YES_OR_NO: Final = ("auto_approve", "auto_create_next_round")
LIMITS: Final = (*WHOLE, "lease_minutes", *YES_OR_NO)
DEFAULTS: Final[dict[str, Any]] = {
    "max_rounds": 3, "max_assignments_per_round": 6, "max_messages_per_task": 40, "max_hop_count": 3,
    "max_simultaneous_assignments": 4, "lease_minutes": 90, "auto_approve": False, "auto_create_next_round": False,
}  # fmt: skip
"""What holds where nobody says otherwise: the hub's, and that package's."""


def read_limits(path: Path) -> dict[str, Any]:
    """Those that the file sets. Raises ``BadFile``, which names the key and what is allowed."""
    import yaml

    try:
        said = yaml.safe_load(read_own(path))
    except yaml.YAMLError as error:
        raise BadFile(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise BadFile(f"{path} must be lines of KEY: VALUE.")
    for key, value in said.items():
        if key not in LIMITS:
            raise BadFile(f"{path}: there is no key {str(key)[:80]!r}. There are {', '.join(LIMITS)}.")
        if key in YES_OR_NO:
            fits, needs = isinstance(value, bool), "true or false"
        elif key in WHOLE:
            fits, needs = isinstance(value, int) and not isinstance(value, bool), "a whole number"
        else:
            fits, needs = isinstance(value, int | float) and not isinstance(value, bool), "a number of minutes"
        if not fits:
            raise BadFile(f"{path}: {key} must be {needs}, got {value!r}.")
    return said
