"""A bad setting is refused by the name of its key, with what is allowed, wherever it stands."""

from collections.abc import Callable
from pathlib import Path

import pytest

from integrations.cli import where
from nodes.contract import config as settings
from nodes.contract.config import Config, find_config, load_config
from nodes.contract.errors import ConfigError

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
