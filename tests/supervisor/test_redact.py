"""What leaves a node: no secret, no foreign path, whatever the pieces it came in."""

import asyncio
import base64
import html
import json
import re
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.contract.events import Output, ToolCall, ToolContent
from nodes.server.redaction import JSON_DEPTH, LEAD_CHARS, PATH, SECRET, SLICE_CHARS, Redactor, secret_values

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc+/=\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
TOKENS = [
    "sk-proj-abcdefghijklmnop1234",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "github_pat_11ABCDEFG0123456789_abcdefghij",
    "glpat-abcdefghij1234567890",
    "xoxb-123456789012-abcdefghijkl",
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA-1234567890abcdefghijklmnopqrstu",
    "aht_0193a5c5abcdef",
    "Bearer abcdef0123456789abcdef",
    JWT,
    PEM,
]
ROOTS = ["srv", "home", "root", "tmp", "usr", "etc", "dev", "bin", "homes"]
WORKSPACE = Path("/home/alice/work/repo")
LONG = "cAnAry-of-forty-two-characters-Zq8-Xw3-Rt5"
KNOWN = [LONG, "hunter2-and-more", "correct horse battery", "abcabd", "abcabdabc", "line one\nline two", 'quo"te\\d']
REDACTOR = Redactor(KNOWN, WORKSPACE, ROOTS, configured=["/srv/link"])

fragments = st.one_of(
    st.sampled_from([
        *TOKENS, *KNOWN, "sk-", "sk", "ghp_", "eyJ", "eyJhbGciOi", "Bearer ", "bearer", "-----BEGIN ",
        "PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----", "/", "//", "/home", "/home/", "/home/bob/x.py",
        "/usr/bin/env", str(WORKSPACE), f"{WORKSPACE}/src/a.py", f"{WORKSPACE}/../secret", f"{WORKSPACE}2/x",
        f"{WORKSPACE}.", "/srv/link", "/srv/link/x", "/srv/li",
        "-I/home/bob/include", "file:///root/x", "/etc/hosts", "abcab", "correct horse ",
        base64.encodebytes(b"A=1\n" * 9 + LONG.encode() + b"\nB=2").decode(), LONG.encode().hex("\n", 5),
        base64.b64encode(LONG.encode()).decode()[:9], "\\n", "\\r\\n", "\r", "\n+", "c", "n", LONG.encode().hex()[:7],
        "\x00", "\ud83d", "\ude00", " ", "\n", ".", "..", "-", "A", "é", "😀",
    ]),
    st.text(alphabet="abdk-_/. \nE", max_size=6),
)  # fmt: skip
texts = st.lists(fragments, max_size=12).map("".join)


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    places = sorted({cut % (len(text) + 1) for cut in cuts})
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


def in_pieces(text: str, cuts: list[int]) -> str:
    stream = REDACTOR.stream()
    return "".join(stream.feed(piece) for piece in pieces_of(text, cuts)) + stream.feed("", is_last=True)


@settings(max_examples=600, deadline=None)
@given(text=texts, cuts=st.lists(st.integers(0, 10_000), max_size=20))
def test_pieces_come_out_as_the_whole_does(text: str, cuts: list[int]) -> None:
    assert in_pieces(text, cuts) == REDACTOR.text(text)


@settings(max_examples=500, deadline=None)
@given(text=texts)
def test_single_characters_come_out_as_the_whole_does(text: str) -> None:
    assert in_pieces(text, list(range(len(text)))) == REDACTOR.text(text)


@settings(max_examples=600, deadline=None)
@given(text=texts, cuts=st.lists(st.integers(0, 10_000), max_size=20))
def test_a_text_that_pauses_shows_its_end_and_little_of_a_secret(text: str, cuts: list[int]) -> None:
    stream = REDACTOR.stream()
    out = ""
    for piece in pieces_of(text, cuts):
        out += stream.feed(piece) + stream.peek()
        assert stream.peek() == ""  # once
    out += stream.feed("", is_last=True)
    parts = re.split(r"(\[secret\]|\[path\])", REDACTOR.text(text))
    shown = "".join(
        re.escape(part) if at % 2 == 0 else f".{{0,{LEAD_CHARS}}}{re.escape(part)}" for at, part in enumerate(parts)
    )
    assert re.fullmatch(shown, out, re.DOTALL)


@settings(max_examples=600, deadline=None)
@given(text=texts)
def test_no_known_secret_survives(text: str) -> None:
    redacted = REDACTOR.text(text)
    assert not [secret for secret in KNOWN if secret in redacted]


@settings(max_examples=500, deadline=None)
@given(
    before=st.text(max_size=20), token=st.sampled_from(TOKENS), after=st.text(max_size=20), cut=st.integers(0, 2_000)
)
def test_no_token_survives_where_a_word_may_begin(before: str, token: str, after: str, cut: int) -> None:
    redacted = in_pieces(f"{before} {token} {after}", [cut])
    assert token.removeprefix("Bearer ") not in redacted and SECRET in redacted


@settings(max_examples=500, deadline=None)
@given(text=st.text(alphabet=st.characters(), max_size=50))
def test_what_comes_out_is_valid_unicode(text: str) -> None:
    assert "\x00" not in REDACTOR.text(text).encode("utf-8").decode("utf-8")


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_in_code_is_seen(token: str) -> None:
    assert token.removeprefix("Bearer ") not in REDACTOR.text(f'KEY="{token}"; x={token}')


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("see /home/bob/notes.txt now", f"see {PATH} now"),
        ("see /home/alice/work/repo/src/a.py:3", "see /home/alice/work/repo/src/a.py:3"),
        ("cd /home/alice/work/repo", "cd /home/alice/work/repo"),
        ("in /home/alice/work/repo. Then", "in /home/alice/work/repo. Then"),
        ("in /home/alice/work/repo.", "in /home/alice/work/repo."),
        ("/home/alice/work/repo.old/x", PATH),
        ("/srv/link/src/a.py and /srv/link2/x", f"/srv/link/src/a.py and {PATH}"),
        ("/home/alice/work/repo/../other/x", PATH),
        ("/home/alice/work/repo2/x", PATH),
        ("-I/home/bob/include", f"-I{PATH}"),
        ("file:///root/.ssh/id", f"file://{PATH}"),
        ("/usr/bin/env /etc/hosts /dev/null", "/usr/bin/env /etc/hosts /dev/null"),
        ("GET /api/v1/runs", "GET /api/v1/runs"),
        ("src/home/x and/or ./tmp/y", "src/home/x and/or ./tmp/y"),
        ("/home or /tmp/", "/home or /tmp/"),
        ("/homestead/x", "/homestead/x"),
        ("https://example.org/home/bob", "https://example.org/home/bob"),
        ("{'p': '/tmp/a b'}", f"{{'p': '{PATH} b'}}"),
    ],
)
def test_only_paths_outside_the_workspace_are_hidden(text: str, redacted: str) -> None:
    assert REDACTOR.text(text) == redacted


@pytest.mark.parametrize(
    "text", ["a bearer of bad news", "task-list", "ask-me", "sk-short", "eyJ.a.b", "abcab", "x" * 5_000]
)
def test_ordinary_words_stay(text: str) -> None:
    assert REDACTOR.text(text) == text


@pytest.mark.parametrize("text", ["Hello wor", "is this", "done.", "w/o", "x = 1 "])
def test_ordinary_words_are_not_held_back(text: str) -> None:
    assert Redactor(roots=ROOTS).stream().feed(text) == text


def test_a_token_of_any_length_holds_back_little() -> None:
    stream = REDACTOR.stream()
    assert stream.feed("key sk-" + "a" * 30) == f"key {SECRET}"
    for _ in range(100):
        assert stream.feed("a" * 10_000) == ""
        assert stream.held < 100
    assert stream.feed(" end", is_last=True) == " end"


def test_a_key_without_an_end_does_not_swallow_everything() -> None:
    text = "-----BEGIN PRIVATE KEY-----" + "A" * 200_000
    assert REDACTOR.text(text).startswith(SECRET) and len(REDACTOR.text(text)) > 100_000
    assert in_pieces(text, list(range(0, len(text), 999))) == REDACTOR.text(text)


def test_a_secret_is_known_in_its_other_forms() -> None:
    secret = 'pa"ss wörd\n12'
    redactor = Redactor([secret])
    for form in (
        json.dumps(secret),
        json.dumps(secret, ensure_ascii=False),
        "cGEic3Mgd8O2cmQKMTI=",
        "pa%22ss%20w%C3%B6rd%0A12",
    ):
        assert SECRET in redactor.text(f"x {form} y")


SPECIAL = "~#a'b\"c$d`e\\f g&<h>i*j?[k]{l}(m);n|o!p^q,r:~s=~t%u/v\u00e9w"
DUMPS = {
    "export -p": "export -p",
    "declare -x": "declare -x",
    "set": "set | grep ^SECRET=",
    "set -x": 'set -x; : "$SECRET" 2>&1',
    "printf %q": "printf '%q\\n' \"$SECRET\"",
    "printf %q within": "printf '%q\\n' \"X=$SECRET\"",
    "dash": "sh -c 'export -p; set | grep ^SECRET='",
    "@Q": 'echo "${SECRET@Q} ${SECRET@A}"',
}


def dumped(script: str, secret: str) -> str:
    """What of it bash prints that holds the secret's end, or its beginning."""
    environment = {"SECRET": secret, "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


@pytest.mark.parametrize("secret", [SPECIAL, SPECIAL[::-1], "it's $5 `now`", "line'one$\n\tline\"two"])
@pytest.mark.parametrize("how", DUMPS)
def test_what_a_shell_prints_of_a_secret_is_hidden(how: str, secret: str) -> None:
    printed = dumped(DUMPS[how], secret)
    redactor = Redactor([secret], roots=ROOTS)
    for text in (printed, json.dumps(printed), json.dumps(printed, ensure_ascii=False)):
        told = redactor.text(text)
        assert SECRET in told
        assert not [part for part in re.findall(r"\w+", secret) if len(part) > 2 and part in told.lower()], told
        assert not re.search(r"b.{1,8}c.{1,8}d|s.{1,4}t%u", told), told


@pytest.mark.parametrize("secret", [SPECIAL, "it's $5 `now`", 'say "now" & then'])
def test_what_python_and_pages_print_of_a_secret_is_hidden(secret: str) -> None:
    redactor = Redactor([secret], roots=ROOTS)
    for text in (
        repr({"k": secret}), repr(f"X='{secret}'"), repr(f'X="{secret}"'), ascii(secret), repr(secret.encode()),
        html.escape(secret), html.escape(secret, quote=False), html.escape(secret).replace("&#x27;", "&#39;"),
        re.sub("%..", lambda found: found[0].lower(), quote(secret, safe="")),
    ):  # fmt: skip
        left = redactor.text(text)
        assert SECRET in left and not re.search(r"\$5|now|b.{1,8}c.{1,8}d", left), (text, left)


def test_payloads_are_redacted_at_any_depth() -> None:
    content = [ToolContent(type="diff", path="/home/bob/x", new_text=f"key={TOKENS[0]}")]
    call = ToolCall(tool_call_id="t1", title="hunter2-and-more", paths=["/root/y"], content=content)
    redacted = REDACTOR.payload(call)
    assert redacted.title == SECRET and redacted.paths == [PATH]
    assert redacted.content[0].path == PATH and redacted.content[0].new_text == f"key={SECRET}"
    assert redacted.tool_call_id == "t1" and redacted.status == "pending"


@pytest.mark.parametrize("end", ["", "…"])
@pytest.mark.parametrize("size", [6, 10, 15])
def test_a_secret_that_was_cut_off_at_the_end_is_hidden_too(size: int, end: str) -> None:
    call = ToolCall(tool_call_id="1", input=f"curl -u {KNOWN[0][:size]}{end}")
    assert REDACTOR.payload(call).input == f"curl -u {SECRET}{end}"


def test_values_of_secret_looking_variables_are_known() -> None:
    environment = {
        "API_KEY": "0123456789", "DB_PASSWORD": "pass-word", "A_TOKEN": "x", "KEYBOARD": "qwertz-layout",
        "DATABASE_URL": "postgresql://hub:in-the-url@db/hub",
    }  # fmt: skip
    assert secret_values(environment.items()) == {"0123456789", "pass-word", "in-the-url"}


@pytest.mark.parametrize(
    "name",
    [
        "GITHUB_PAT", "OPENAI_API_KEY_1", "GOOGLE_CREDENTIALS", "AZURE_STORAGE_CONNECTION_STRING", "AZURE_CONN_STR",
        "MYSQL_PWD", "SMTP_PASS", "NPM_AUTH", "TLS_KEY_PEM", "SIGNING_KEY_BASE64", "STRIPE_SECRET_TEST", "apikey2",
        "SERVICE_TOKEN_OLD", "DB_CREDS",
    ],
)  # fmt: skip
def test_names_of_secrets_are_known_with_what_follows_them(name: str) -> None:
    assert secret_values([(name, "what-it-holds")]) == {"what-it-holds"}


@pytest.mark.parametrize("name", ["KEYBOARD", "PWD", "OLDPWD", "PATH", "COMPASS", "BYPASS", "AUTHOR", "TOKENIZER"])
def test_names_that_only_look_like_one_hide_nothing(name: str) -> None:
    assert secret_values([(name, "what-it-holds")]) == set()


def test_a_number_of_tokens_is_none_and_a_numeric_password_is() -> None:
    assert secret_values([("MAX_TOKENS", "100000"), ("DB_PASSWORD", "12345678")]) == {"12345678"}


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        ("redis://:cache-pass@cache:6379/0", {"cache-pass"}),
        ("postgresql://hub:p%40ss%2Fword@db/hub", {"p%40ss%2Fword", "p@ss/word"}),
        ("amqp://hub:with@sign@queue", {"with@sign"}),
        ("https://aTokenOf20Characters@git.example.com/x.git", {"aTokenOf20Characters"}),
        ("Server=db;User Id=hub;Password=s3cret-one;Encrypt=true", {"s3cret-one"}),
        ("AccountName=hub;AccountKey=abc123def456==;EndpointSuffix=x", {"abc123def456=="}),
        ("https://alice@example.com:8443/path", set()),
    ],
)
def test_values_show_secrets_by_their_place(value: str, secrets: set[str]) -> None:
    assert secret_values([("SOME_SETTING", value)]) == secrets


KEY_FILE = json.dumps({"type": "account", "private_key": f"{PEM}\n", "client": "hub@example.org", "n": 1}, indent=2)
BREAKS = ["\n", "\r\n", "\n+", "\n-", "\n ", "\\n", "\\r\\n", "\\\\n"]


@pytest.mark.parametrize("secret", [LONG, KEY_FILE])
@pytest.mark.parametrize("between", BREAKS)
@pytest.mark.parametrize("columns", [1, 5, 60, 76])
def test_base64_and_hex_are_known_however_their_lines_break(secret: str, between: str, columns: int) -> None:
    redactor = Redactor([secret])
    for before in range(3):
        dumped = b"PATH=/usr/bin:/bin\n"[before:] + b"KEY=" + secret.encode() + b"\nTERM=dumb\n"
        for encoded in (base64.b64encode(dumped), base64.urlsafe_b64encode(dumped), dumped.hex().encode()):
            told = encoded.decode()
            text = between.join(told[at : at + columns] for at in range(0, len(told), columns))
            left = re.sub(r"\s|\\+[rn]|(?<=\n)[+\- ]", "", redactor.text(text)) + SECRET
            assert SECRET in redactor.text(text)
            assert len(left.replace(SECRET, "")) <= len(told) - len(secret) + 6
            if before:
                continue
            stream = redactor.stream()
            pieces = [stream.feed(text[at : at + 13]) for at in range(0, len(text), 13)]
            assert "".join(pieces) + stream.feed("", is_last=True) == redactor.text(text)


def test_what_is_printed_as_base64_prints_it_is_hidden() -> None:
    text = base64.encodebytes(f"HOME=/root\nDEPLOY={LONG}\nPATH=/bin\n".encode()).decode()
    kept = base64.b64decode(re.sub(r"\s", "", Redactor([LONG]).text(text).partition(SECRET)[0]) + "==")
    assert SECRET in Redactor([LONG]).text(text) and LONG[:4].encode() not in kept


def test_base64_that_was_cut_off_within_a_line_break_is_hidden_too() -> None:
    cut = base64.encodebytes(b"x" * 30 + LONG.encode()).decode()[:80]
    assert Redactor([LONG]).excerpt(cut).endswith(SECRET)


@pytest.mark.parametrize("mark", ["+", "-", "12:", "key.json-7-  "])
def test_a_secret_of_several_lines_is_known_line_by_line(mark: str) -> None:
    redactor = Redactor([KEY_FILE])
    for line in KEY_FILE.splitlines():
        hidden = redactor.text(f"{mark}{line}\n")
        assert line.strip() not in hidden or len(line.strip()) < 6
    assert redactor.text("{ } [ ] ------ ,,,,,,") == "{ } [ ] ------ ,,,,,,"


def test_another_key_is_hidden_where_a_known_one_begins_alike() -> None:
    assert "MIIEow" not in Redactor([PEM.replace("MIIEow", "MIIEzz")]).text(PEM)


def test_a_token_is_known_where_base64_of_a_secret_begins_alike() -> None:
    assert Redactor(['{"alg" is how this secret begins']).text(JWT) == SECRET


def test_many_secrets_and_long_ones_are_looked_for_quickly() -> None:
    """A megabyte of base64, of which each character may begin some form: seconds, as without breaks."""
    text = base64.encodebytes(bytes(at * at % 251 for at in range(250_000))).decode()
    began = time.process_time()
    redactor = Redactor([f"{LONG}{number}" for number in range(10)] + [KEY_FILE * 10])
    assert redactor.text(text) == text
    assert time.process_time() - began < 10


async def test_a_long_text_leaves_time_for_others() -> None:
    text = f"{'the quick brown fox ' * 200_000}{KNOWN[0]} jumps {KNOWN[0][:10]}"
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    redacted = await REDACTOR.long_excerpt(text)
    counting.cancel()
    assert redacted == REDACTOR.excerpt(text) and redacted.endswith(f"fox {SECRET} jumps {SECRET}")
    assert turns >= len(text) // SLICE_CHARS


def test_a_chunk_of_a_megabyte_is_no_burden() -> None:
    text = "the quick brown fox / jumps over the lazy dog s\n" * 21_000
    assert Redactor(KNOWN).payload(Output(stream="stdout", text=text)).text == text
    assert not re.search(r"\[secret\]", text)


@pytest.mark.parametrize("depth", range(1, JSON_DEPTH + 1))
def test_a_value_is_known_in_json_within_json(depth: int) -> None:
    secret = text = 'p"ss\\wörd-of-the-quay'
    for level in range(depth):
        text = json.dumps({"deep": text}, ensure_ascii=level % 2 == 0)
    assert "of-the-quay" not in Redactor([secret]).text(text)
