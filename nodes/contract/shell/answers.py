"""With which words, alone, a program tells its version or how it is used, and does nothing else.

It is in here only if it runs nothing of the workspace then: no plugin, no settings that are code, no other version of
it that lies there (``rust-toolchain.toml``, ``yarnPath``, ``.mvn``). ``-v`` makes most programs talk more instead.
"""

from .known import names

_BOTH = "--version --help"
_WORDS = (
    ("gcc g++ clang cmake swift black prettier eslint tsc mariadb psql mysql sqlite3 m4 bc pwsh ghc", _BOTH),
    ("aws gcloud az gh glab kubectl helm fly flyctl heroku vercel doctl gsutil skopeo crane", _BOTH),
    ("conda nvm brew apt apt-get svn nix twine", _BOTH),
    ("python pypy", f"{_BOTH} -V -VV -h"),
    ("node nodejs npm bun", f"{_BOTH} -v -h"),
    ("deno pip pip3 pipx uv ruff mypy", f"{_BOTH} -V -h"),
    ("ruby perl php julia docker podman nerdctl", f"{_BOTH} -v"),
    ("terraform tofu", f"{_BOTH} -version -v"),
    ("java javac", f"{_BOTH} -version"),
    ("kotlin", "-version"),
    ("lua luajit", "-v"),
)
ANSWERS = {program: names(words) for programs, words in _WORDS for program in programs.split()}
