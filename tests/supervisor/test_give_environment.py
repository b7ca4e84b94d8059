"""What a child finds in its environment: an allowlist, what the agent is given, and the run's marker."""

from nodes.server.environment import agent_environment, base_environment, masked_environment
from nodes.server.proc import RUN_MARKER

NODE = {
    "PATH": "/bin", "HOME": "/home/node", "LC_ALL": "C.UTF-8", "LANG": "C", "HTTPS_PROXY": "http://proxy:1",
    "AGENTHUB_DATABASE__URL": "postgresql://u:p@db/x", "AGENTHUB_SECRETS__KEY": "k", "AGENTHUB_TOKEN": "aht_x",
    "AWS_SECRET_ACCESS_KEY": "x", "ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "o", "SSH_AUTH_SOCK": "/tmp/agent",
    "GIT_CONFIG_GLOBAL": "/x", "LD_PRELOAD": "/x.so", "PYTHONPATH": "/x", "NODE_OPTIONS": "--require=/x",
    "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/x", "DJANGO_SETTINGS_MODULE": "x", "XDG_RUNTIME_DIR": "/run/user/1",
}  # fmt: skip
PASSED = {"PATH", "HOME", "LC_ALL", "LANG", "HTTPS_PROXY", "XDG_RUNTIME_DIR"}


def test_nothing_passes_that_is_not_listed() -> None:
    assert set(base_environment(NODE)) == PASSED


def test_an_agent_gets_its_presets_keys_its_own_and_the_marker_and_nothing_else() -> None:
    given = agent_environment("run-1", {"MINE": "1"}, ["ANTHROPIC_API_KEY", "ABSENT"], NODE)
    assert set(given) == {*PASSED, "ANTHROPIC_API_KEY", "MINE", RUN_MARKER}
    assert given[RUN_MARKER] == "run-1"


def test_what_is_ours_cannot_be_set_by_an_agent() -> None:
    given = agent_environment("run-1", {RUN_MARKER: "other", "AGENTHUB_HOME": "/x", "A=B": "x", "C": "a\0b"}, [], NODE)
    assert given == {**base_environment(NODE), RUN_MARKER: "run-1"}


def test_a_masked_agent_is_not_sent_to_places_that_are_not_there() -> None:
    given = masked_environment({"XDG_RUNTIME_DIR": "/run/user/1", "TMPDIR": "/home/x/tmp", "MINE": "1"})
    assert given == {"TMPDIR": "/tmp", "MINE": "1"}
