"""Lines at the edge of reading: what a pattern lists, programs that only have a known name, and plain settings."""

import glob
import os
from pathlib import Path

import pytest

from nodes.contract.actions import Place, Request, actions_of
from nodes.contract.policy import Action, ActionKind, Level, Policy, Rule, Verdict

from .test_bypasses import FENCED, PLACE, WORKSPACE, each, verdict

LISTS = r"""
echo ~/.ssh/*
echo /home/u/.ssh/id_*
echo a ~/.ssh/?d_rsa b
printf '%s\n' ~/.ssh/*
: ~/.ssh/*
true ~/.ssh/*
basename ~/.ssh/*
type ~/.ssh/*
[ -e ~/.ssh/* ]
echo ~/.ss{h,}/*
echo web/../../.ssh/*
env echo ~/.ssh/*
bash -c 'echo ~/.ssh/*'
echo $(echo ~/.ssh/*)
cd ~/.ssh && echo *
cd ~/.ssh; printf '%s\n' [a-z]*
for f in ~/.ssh/*; do echo "$f"; done
for f in ~/.ss{h,}/*; do echo "$f"; done
select f in ~/.ssh/*; do break; done
x=(~/.ssh/*); echo "${x[@]}"
set -- ~/.ssh/*; echo "$@"
x='/home/u/.ssh/*'; echo $x
x=~/.ssh/*; echo $x
echo ${x:-/home/u/.ssh/*}
"""
LOOKS = r"""
test -f ~/.ssh/id_rsa
[ -r /home/u/.ssh/id_rsa ]
[[ -e ~/.ssh/id_rsa ]]
"""
NOBODY_KNOWS_WHERE = r"""
echo $HOME/.ssh/*
echo "$x"/*
echo ~root/*
echo */../../.ssh/*
cd "$x"; echo *
"""
ONLY_NAMED_SO = r"""
./cd web
./pushd web
./env ls
./env LANG=C cat a
tools/find .
./time ls
./nice ls
./timeout 5 ls
./nohup cat a
./command -v ls
./builtin echo
./bash -c ls
./sh -c 'cat a'
./export LANG=C
./set -e
./ls
./git status
./cargo --version
./[ -f a ]
bin/sed -n 1p a
../w2/find .
~/bin/env ls
/tmp/env ls
/usr/bin/../../tmp/env ls
unknown-program a
bin/unknown-program a
"""
STARTS_WHAT_IS_NAMED = """
cargo metadata --offline --locked
cargo metadata --frozen --no-deps
cargo tree --offline --locked
cargo tree -d --frozen
"""
CHANGES_OTHERS = r"""
export FOO=bar; ls
export FOO=bar; npm ls
export FOO=bar && ./x
export FOO=bar | cat
export FOO=bar; echo $(ls)
export FOO=bar; echo `ls`
export FOO=bar; . ./x
export FOO=bar; exec ls
export FOO=bar; command ls
export FOO=bar; env
{ export FOO=bar; }; ls
eval 'export FOO=bar'; ls
bash -c 'export FOO=bar'; ls
trap ls EXIT; export FOO=bar
echo() { ls; }; export FOO=bar; echo
/usr/bin/echo a; export FOO=bar
export -n FOO=bar
export FOO=$BAR
export FOO=$(ls)
export FOO=~/x*
FOO=bar; ls
TAR_OPTIONS=-I./x; tar tf a.tar
export PATH=./bin
export LD_PRELOAD=./x
export GIT_SSH_COMMAND=./x
export PYTHONPATH=.
export NODE_OPTIONS=-r./x
export NODE_PATH=.
export BASH_ENV=./x
export ENV=./x
export IFS=x
export EDITOR=./x
export PAGER=./x
export HOME=/tmp
export CDPATH=/tmp
export PS4=x
export PROMPT_COMMAND=x
export SHELLOPTS=xtrace
export STTY=x
export GCONV_PATH=./x
export LOCPATH=./x
export HTTPS_PROXY=evil.example
export DOCKER_HOST=evil.example
export npm_config_registry=evil.example
export RANDOM=1
"""
UNKNOWN_NUMBERS = r"""
[ $? -eq x ]
[ $?$x -eq 0 ]
[ $x -eq 0 ]
[ "$1" -eq $# ]
[[ $? -eq x ]]
[[ $x -eq $? ]]
exit $1
exit $?$1
"""
HARMLESS = r"""
export FOO=bar
export FOO=bar && echo "$FOO"
export FOO=bar BAZ="two words"; cd web
FOO=bar
FOO=bar; echo $FOO
FOO=bar; [ "$FOO" = bar ] && echo yes
[ $? -eq 0 ]
[ $? -eq 0 ] && echo ok || exit 1
[ "$?" -ne 0 ]
[ 0 -lt $# ]
[ ${#x} -gt 3 ]
test $? -ne 0
[[ $? -eq 0 ]]
[[ $# -ge 2 ]]
exit $?
echo *
echo [1/3] building
echo [$n/3] building
echo done?
for f in src/*.py; do echo "$f"; done
for f in *.py; do echo $f; done
x=(*.py); echo "${x[@]}"
[[ $x == *.py ]]
case $x in *.py) echo a;; esac
[ -f a ]
[ -d /etc/apt ]
cat web/*.py
grep -rn --include=*.py x .
/usr/bin/env ls
/bin/ls
"""


@each(LISTS.rstrip() + LOOKS)
def test_what_is_listed_is_read(command: str) -> None:
    assert (verdict(command, FENCED), verdict(command, WORKSPACE)) == ("deny", "deny")


@each(NOBODY_KNOWS_WHERE)
def test_a_list_of_nobody_knows_what_is_asked(command: str) -> None:
    assert "allow" not in (verdict(command, FENCED), verdict(command, Policy()))


@each(ONLY_NAMED_SO.rstrip() + STARTS_WHAT_IS_NAMED.rstrip() + CHANGES_OTHERS.rstrip() + UNKNOWN_NUMBERS)
def test_it_is_asked(command: str) -> None:
    assert verdict(command, Policy()) != "allow"


@each(HARMLESS)
def test_it_needs_no_question(command: str) -> None:
    assert (verdict(command, Policy()), verdict(command, FENCED)) == ("allow", "allow")


def read_by(command: str, place: Place) -> list[Action]:
    actions = actions_of(Request(kind="execute", raw_input={"command": command}, tool="Bash"), place)
    return [action for action in actions if action.kind is ActionKind.READ and action.path]


@pytest.mark.parametrize("pattern", ["~/.s*/*", "~/.ss[h]/id*", "~/*/id_rsa", "../.??h/*"])
def test_a_pattern_for_directories_is_looked_up_on_the_disk(tmp_path: Path, pattern: str) -> None:
    home, work = tmp_path / "home", tmp_path / "home/w"
    for path in (home / ".ssh/id_rsa", home / "keys/id_rsa", work / "a"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    place = Place(str(work), home=str(home), real=os.path.realpath, matches=glob.glob)
    denied = [Rule(verdict=Verdict.DENY, path=path) for path in ("~/.ssh/**", "~/keys/**")]
    by = Policy.of([Level(name="instance", rules=tuple(denied))]).at_home(str(home))
    assert by.decide(read_by(f"echo {pattern}", place)).verdict is Verdict.DENY


def test_a_command_on_the_files_themselves_is_told_once() -> None:
    assert [action.path for action in read_by("cat web/*.py", PLACE)] == ["/home/u/w/web/*.py"]
    assert [action.path for action in read_by("echo web/*.py", PLACE)] == ["/home/u/w/web"]
