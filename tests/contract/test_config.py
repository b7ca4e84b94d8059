"""A bad setting is refused by the name of its key, with what is allowed, wherever it stands."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from integrations.cli import where
from nodes.contract import config as settings
from nodes.contract import hosts
from nodes.contract.config import Config, find_config, load_config
from nodes.contract.errors import ConfigError
from nodes.contract.hosts import own_hosts

Load = Callable[..., Config]


@pytest.fixture
def load(home: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """``load(toml, VARIABLE=value)``."""

    def read(toml: str = "", **variables: str) -> Config:
        (home / "config.toml").write_text(toml)
        monkeypatch.setenv("AGENTHUB_HOME", str(home))
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return load_config()

    return read


@pytest.mark.parametrize(
    ("toml", "key", "remedy"),
    [
        ('[database]\nurl = "mysql://me:hush@db/x"', "database.url", "postgresql://"),
        ('[database]\nurl = "postgresql://db:hush/x"', "database.url", "postgresql://"),
        ('[redis]\nurl = "foo"', "redis.url", "redis://"),
        ('[server]\npublic_url = "hub.example.com"', "server.public_url", "https://"),
        ('[server]\npublic_url = "https://hub.example.com/hub"', "server.public_url", "scheme and host"),
        ('[server]\ntrusted_proxies = ["proxy"]', "server.trusted_proxies", "10.0.0.0/8"),
        ("[server]\nlisten = 8080", "server.listen", "host:port"),
        ('[server]\nlisten = ":8080"', "server.listen", "host:port"),
        ('safe_paths = ["srv"]', "safe_paths", "absolute"),
        ('[worktree]\ndefault_root = "trees"', "worktree.default_root", "absolute"),
        ('[internal_grpc.auth]\nshared_secret = ["hush"]', "internal_grpc.auth.shared_secret", "string"),
        ('[internal_grpc.auth]\nprevious_secrets = "[hush"', "internal_grpc.auth.previous_secrets", "JSON"),
        ('[internal_grpc]\nauth = "hush"', "internal_grpc.auth", "dictionary"),
        ("[internal_grpc.bootstrap]\ntoken = 5", "internal_grpc.bootstrap.token", "string"),
        ('[server]\nlissten = "x"', "server.lissten", "did you mean server.listen?"),
    ],
)
def test_a_bad_value_names_key_and_remedy(load: Load, toml: str, key: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(toml)
    assert key in refused.value.text and remedy in refused.value.text
    assert "hush" not in refused.value.text and len(refused.value.text.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("AGENTHUB_SERVER__LISTN", "Did you mean AGENTHUB_SERVER__LISTEN?"),
        ("AGENTHUB_SERVERS__PORT", "no such setting"),
        ("AGENTHUB_NODE__LABELS", "AGENTHUB_NODE__LABELS="),
    ],
)
def test_a_variable_that_sets_nothing_is_refused(load: Load, name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=name.rpartition("__")[2].lower() + "|" + name) as refused:
        load(**{name: "x"})
    assert told in refused.value.text


@pytest.mark.parametrize("value", ["/srv/a:~/b", '["/srv/a", "~/b"]'])
def test_a_list_of_paths_in_a_variable_is_json_or_like_path(load: Load, value: str) -> None:
    assert load(AGENTHUB_SAFE_PATHS=value).safe_paths == ["/srv/a", "~/b"]


@pytest.mark.parametrize("value", ["10.0.0.5, fd00::/8", '["10.0.0.5", "fd00::/8"]'])
def test_a_list_of_proxies_in_a_variable_is_json_or_with_commas(load: Load, value: str) -> None:
    assert load(AGENTHUB_SERVER__TRUSTED_PROXIES=value).server.trusted_proxies == ["10.0.0.5", "fd00::/8"]


def test_what_is_right_is_taken(load: Load) -> None:
    config = load(
        '[database]\nurl = "postgresql:///hub?host=/run/postgresql"\n[redis]\nurl = "rediss://:pw@cache:6380/1"\n'
        '[server]\npublic_url = "https://hub.example.com/"\n[node.labels]\ngpu = "yes"',
        AGENTHUB_NODE__CAPACITY="7",
        AGENTHUB_RUN_ID="a marker, and no setting",
    )
    assert config.node.capacity == 7 and config.node.labels == {"gpu": "yes"}


def test_the_first_file_that_is_there_is_read(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``-c``, the variable, the home, the system's: for servers and for client commands alike."""
    assert settings.SYSTEM_CONFIG == where.SYSTEM_CONFIG == Path("/etc/agenthub/config.toml")
    given, named, system = tmp_path / "given.toml", tmp_path / "named.toml", tmp_path / "etc.toml"
    for module in (settings, where):
        monkeypatch.setattr(module, "SYSTEM_CONFIG", system)
    for file in (given, named, home / "config.toml", system):
        file.write_text(f'[server]\nnode_id = "{file.stem}"\n')

    def node_id(explicit: Path | None = None, **environ: str) -> str:
        environ["AGENTHUB_HOME"] = str(home)
        option = str(explicit) if explicit else None
        read = load_config(option, environ).server.node_id
        assert where.find_where(option, environ).server("node_id") == read
        return read

    assert node_id(given, AGENTHUB_CONFIG=str(named)) == "given"
    assert node_id(AGENTHUB_CONFIG=str(named)) == "named"
    assert node_id() == "config"
    (home / "config.toml").unlink()
    assert node_id() == "etc"
    system.unlink()
    assert node_id() == ""


@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_file_that_is_named_must_be_there(home: Path, tmp_path: Path, how: str) -> None:
    (home / "config.toml").write_text("")
    missing = str(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        find_config(*((missing, home, {}) if how == "option" else (None, home, {"AGENTHUB_CONFIG": missing})))


def closed(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in a directory that is another account's alone, whoever runs the test."""
    real = Path.stat

    def stat(path: Path, **given: bool) -> os.stat_result:
        if path.is_relative_to(directory):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, **given)

    monkeypatch.setattr(Path, "stat", stat)
    return directory / "config.toml"


def test_a_system_directory_that_is_closed_to_this_account_is_left_aside(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "SYSTEM_CONFIG", closed(tmp_path / "etc", monkeypatch))
    assert find_config(None, home, {}) is None


def test_a_named_file_in_a_closed_directory_is_said_in_words(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = str(closed(tmp_path / "etc", monkeypatch))
    with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
        find_config(named, home, {})
    with pytest.raises(where.BadWhere, match="cannot be read: Permission denied"):
        where.find_where(named, {"AGENTHUB_HOME": str(home)})


NAMES = {"box.lan", "box", "10.0.0.5", "[fd00::5]"}


@pytest.mark.parametrize(
    ("listen", "answers"),
    [
        ("0.0.0.0:8080", NAMES),
        ("[::]:8080", NAMES),
        ("10.0.0.5:8080", NAMES),
        ("127.0.0.1:8080", set()),
        ("localhost:8080", set()),
        ("[::1]:8080", set()),
    ],
)
def test_a_hub_that_others_reach_answers_to_its_machines_names_and_one_on_loopback_does_not(
    load: Load, monkeypatch: pytest.MonkeyPatch, listen: str, answers: set[str]
) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda: "box.lan")
    monkeypatch.setattr("socket.gethostname", lambda: "box")
    monkeypatch.setattr("nodes.contract.hosts._own_addresses", lambda: {"10.0.0.5", "fd00::5"})
    answered = set(load(f'[server]\nlisten = "{listen}"').allowed_hosts)
    assert answered & NAMES == answers
    assert {"localhost", "127.0.0.1", "[::1]"} <= answered and not answered & {"", "0.0.0.0", "[::]", "*"}


def test_addresses_are_read_as_linux_writes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fib_trie").write_text(
        "Local:\n  +-- 10.0.0.0/24 2 0 2\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.5\n"
        "        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n"
    )
    (tmp_path / "if_inet6").write_text("fd000000000000000000000000000005 04 40 00 82     eth0\n")
    monkeypatch.setattr(hosts, "_PROC", tmp_path)
    monkeypatch.setattr(hosts, "_SOMEWHERE", ())
    assert own_hosts() >= {"10.0.0.5", "[fd00::5]"} and not own_hosts() & {"10.0.0.0", "10.0.0.255"}
