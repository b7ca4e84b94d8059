"""Shells within a command line: whatever stands before them holds for what they run, and their code is found."""

import pytest

from nodes.contract.actions import Place, actions_of
from nodes.contract.judged import imagined
from nodes.contract.policy import ActionKind, Level, Policy, Rule, Verdict

PLACE = Place("/home/u/w", home="/home/u")
DEFAULT = Policy.of([])
NO_PUSH = Policy.of(
    [
        Level(
            name="instance",
            rules=(
                Rule(verdict=Verdict.DENY, kind=ActionKind.PUBLISH),
                Rule(verdict=Verdict.DENY, path=".env"),
                Rule(verdict=Verdict.ALLOW),
            ),
        )
    ]
)


def verdict(command: str, by: Policy) -> str:
    return by.decide(actions_of(imagined(command=command), PLACE)).verdict.value


def each(lines: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("command", lines.strip().splitlines())


BURDENED = r"""
TAR_OPTIONS='-I ./x' bash -c 'tar tf a.tar'
env TAR_OPTIONS='-I ./x' sh -c 'tar tf a.tar'
TAR_OPTIONS='-I ./x' eval 'tar tf a.tar'
TAR_OPTIONS='-I ./x' watch tar tf a.tar
TAR_OPTIONS='-I ./x' sh -s <<< 'tar tf a.tar'
RIPGREP_CONFIG_PATH=./x bash -c 'rg foo'
DOCKER_CONFIG=. timeout 5 sh -c 'docker ps'
env 'BASH_FUNC_ls%%=() { ./x; }' bash -c ls
ZDOTDIR=. zsh -c ls
sudo bash -c 'cat /etc/hosts'
chroot ./x bash -c ls
exec -a x bash -c ls
FOO=1 bash -c 'sh -c "eval ls"'
"""


@each(BURDENED)
def test_what_burdens_a_shell_burdens_what_it_runs(command: str) -> None:
    assert verdict(command, DEFAULT) == "ask"


def test_a_shell_without_burden_reads() -> None:
    for command in (
        "bash -c ls",
        "bash -lc 'git status'",
        "LANG=C sh -c 'ls | wc -l'",
        "timeout 5 bash -c 'cat a.txt'",
    ):
        assert verdict(command, DEFAULT) == "allow"


MARKED = r"""
echo '.; ./x' | xargs -I% sh -c 'ls %'
xargs -I % sh -c 'ls %'
xargs -rI % sh -c 'ls %'
xargs -0I% bash -c 'ls "%"'
xargs -iX sh -c 'ls X'
xargs -J % cat %
xargs --replace=% sh -c 'ls %'
xargs --rep=% sh -c 'ls %'
xargs --replace sh -c 'ls {}'
xargs -I$X sh -c 'ls x'
xargs --unheard-of ls
find . -exec sh -c {} \;
find . -name '*.sh' -exec env {} \;
fish -c ls
fish --init-command='./x' -c ls
fish -C ./x -c ls
fish -c "echo 'a\'b' ; ./x # '"
X=' ./x'; bash -c$X ls
bash --rcfile ./x -ic ls
bash --unheard-of x -c ls
"""


@each(MARKED)
def test_what_is_put_into_a_command_later_is_asked(command: str) -> None:
    assert verdict(command, DEFAULT) == "ask"
    assert verdict(command, NO_PUSH) in ("ask", "deny")


PUSHES = r"""
bash -euo pipefail -c 'git push'
bash -euxo pipefail -c 'git push'
bash -eo pipefail -uc 'git push'
bash -oc pipefail 'git push'
bash -euO extglob -c 'git push'
bash -c -o pipefail 'git push'
bash --noprofile --norc -eo pipefail -c 'git push'
sh -euo pipefail -c 'git push'
zsh -euo pipefail -c 'git push'
zsh --emulate sh -c 'git push'
busybox sh -euo pipefail -c 'git push'
sudo bash -euo pipefail -c 'git push'
find . -exec bash -euo pipefail -c 'git push' \;
fish --command='git push'
fish -C 'git push'
xargs -I% sh -c %
parallel
echo 'git push' | parallel
taskset -c 0 git push
strace -fo ls git push
exec -ca ls git push
su -lc 'git push' bob
su -c'git push'
su --command='git push'
su --comm 'git push'
"""


@each(PUSHES)
def test_pushing_in_a_shell_is_found_whatever_its_options(command: str) -> None:
    assert verdict(command, NO_PUSH) in ("ask", "deny")


def test_options_of_a_shell_that_say_nothing_are_passed_over() -> None:
    for options in ("-euo pipefail", "-e -u -o pipefail", "--norc --noprofile -x", "-l"):
        actions = actions_of(imagined(command=f"bash {options} -c 'npm test'"), PLACE)
        assert [(action.essence, action.is_opaque) for action in actions] == [("npm test", False)]


def test_scripts_are_read_as_files() -> None:
    for command in ("bash .env", "sh -x .env", "source .env", ". ./.env", "bash -euo pipefail .env"):
        assert verdict(command, NO_PUSH) == "deny"
