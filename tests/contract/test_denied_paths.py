"""A denied file is denied by whichever of its names git takes, and asked where its contents may be among others."""

import pytest

from nodes.contract.actions import Place, actions_of
from nodes.contract.judged import imagined
from nodes.contract.policy import ActionKind, Level, Policy, Rule, Verdict

PLACE = Place("/home/u/w", home="/home/u")
DENIED = Policy.of(
    [
        Level(
            name="project",
            rules=(
                Rule(verdict=Verdict.DENY, path=".env"),
                Rule(verdict=Verdict.DENY, path="config/secret"),
                Rule(verdict=Verdict.ALLOW, kind=ActionKind.READ),
                Rule(verdict=Verdict.ALLOW, kind=ActionKind.WRITE, path="./**"),
            ),
        )
    ]
)
NAMED = r"""
git show :0:.env
git show HEAD:.env
git show HEAD:./.env
git show 'HEAD^{/a:b}:.env'
git show ':/fix:.env'
git show --stat HEAD:.env
git cat-file -p HEAD:.env
git cat-file blob :.env
git diff HEAD -- .env
git diff HEAD -- ':(top).env'
git diff HEAD -- ':(icase).ENV'
git diff HEAD -- ':(literal).env'
git diff HEAD -- ':(top,icase).Env'
git diff HEAD -- :/.env
git log -p -- ':(attr:x).env'
git blame -- .env
cd web && git show HEAD:config/secret
cd web && git diff -- :/config/secret
git checkout HEAD -- ':(top).env'
git restore ':(literal)config/secret'
git config list --file=.env
git config list --file .env
git config --list -f .env
git config --get x --file=.env
git config --file=config/secret --list
"""
AMONG = r"""
git diff
git diff HEAD
git diff main..x.py
git diff -- src
git diff -- '.en?'
git diff -- '*ecret'
git diff -- ':!src/app.py'
git diff --stat -p
git diff -S src/app.py
git log -p
git log -up
git log --patc
git log -L1,5:src/app.py
git log -p --author src/app.py
git show
git show HEAD
git show v1.0
git show --stat 0123abc
cd src && git show
git stash show -p
git stash show --patch
git stash list -p
git reflog -p
git cat-file --batch
git cat-file --batch-all-objects --batch
git cat-file --batch < f
echo 0123abc | git cat-file --batch
git cat-file -p 0123abc
git cat-file blob 0123abc
git grep x
git diff-tree -p HEAD
git checkout -- '*ecret'
git checkout -- ':!x'
git show :/src/app.py
"""
PLAIN = r"""
git status
git log
git log --oneline -5
git log --stat
git log --oneline -- src/app.py
git diff --stat
git diff --name-only HEAD~1
git diff src/app.py
git diff HEAD -- src/app.py web/a.ts
git show --stat HEAD
git show HEAD:src/app.py
git blame src/app.py
git log -p -- src/app.py
git stash list
git stash show
git cat-file -t 0123abc
git cat-file commit HEAD
git branch -a
git ls-files
git config --list
git config list --file=other
"""


def verdict(command: str, policy: Policy = DENIED) -> Verdict:
    return policy.decide(actions_of(imagined(command=command), PLACE)).verdict


def each(lines: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("command", lines.strip().splitlines())


@each(NAMED)
def test_a_denied_file_is_denied_by_any_of_its_names(command: str) -> None:
    assert verdict(command) is Verdict.DENY


@each(AMONG)
def test_what_may_show_or_change_a_denied_file_among_others_is_asked(command: str) -> None:
    assert verdict(command) is Verdict.ASK


@each(PLAIN)
def test_what_shows_other_files_or_none_is_not_asked(command: str) -> None:
    assert verdict(command) is Verdict.ALLOW


@pytest.mark.parametrize("command", ["git diff", "git log -p", "git show HEAD", "git stash show -p", "git diff -- src"])
def test_where_nothing_in_the_workspace_is_denied_all_of_it_is_shown(command: str) -> None:
    assert verdict(command, Policy()) is Verdict.ALLOW
    rules = (Rule(verdict=Verdict.DENY, path="~/.ssh/**"),)
    assert verdict(command, Policy.of([Level(name="project", rules=rules)]).at_home("/home/u")) is Verdict.ALLOW


@each("""
ps eww
ps e
ps auxe
ps auxwwe
ps -auxe
ps -eo pid,args e
ps axo pid,args e
ps -p 1 e
ps -E
ps -axE
ps -o environ
ps -o pid,environ
ps --format environ
ps --deselect e
""")
def test_the_environment_of_other_processes_is_asked(command: str) -> None:
    assert verdict(command, Policy()) is Verdict.ASK


@each("""
ps
ps aux
ps auxww
ps -ef
ps -e
ps -eo pid,etime,args
ps -o etime -p 1
ps axo pid,etime
ps -u dev
ps -C node
ps --sort size -e
ps aux | grep node
""")
def test_processes_are_listed_without_asking(command: str) -> None:
    assert verdict(command, Policy()) is Verdict.ALLOW
