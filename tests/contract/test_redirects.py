"""What the shell opens for a command is no part of its words: who allows the command does not allow that."""

import pytest

from nodes.contract.actions import Place, actions_of
from nodes.contract.judged import imagined, judged, narrowest
from nodes.contract.policy import ActionKind, Grant, Level, Policy, Rule, Verdict

PLACE = Place("/home/u/w", home="/home/u")
COMMANDS = ("npm test", "echo *", "make", "mktemp")
REDIRECTED = r"""
npm test > ~/.bashrc
npm test >> ~/.bashrc
npm test >| ~/.bashrc
npm test 2> /etc/x
npm test &> ~/.profile
npm test &>> ~/.profile
npm test <> ~/.profile
bash -c 'npm test > ~/.bashrc'
timeout 5 bash -c 'npm test' > ~/.bashrc
echo k > ~/.ssh/authorized_keys
make > .git/hooks/pre-commit
mktemp > ~/.bashrc
{ npm test; } > ~/.bashrc
exec > ~/.bashrc; npm test
> ~/.bashrc
""".strip().splitlines()


def verdict(policy: Policy, command: str) -> Verdict:
    return policy.decide(actions_of(imagined(command=command), PLACE)).verdict


def by_rules(*names: str) -> Policy:
    return Policy.of([Level(name="project", rules=tuple(Rule(verdict=Verdict.ALLOW, command=name) for name in names))])


@pytest.mark.parametrize("command", REDIRECTED)
def test_a_rule_about_a_command_does_not_allow_what_the_shell_opens_for_it(command: str) -> None:
    assert verdict(by_rules(*COMMANDS), command) is Verdict.ASK
    assert verdict(by_rules("**"), command) is Verdict.ASK
    kinds = [Rule(verdict=Verdict.ALLOW, kind=kind, command="**") for kind in ActionKind]
    assert verdict(Policy.of([Level(name="project", rules=tuple(kinds))]), command) is Verdict.ASK


@pytest.mark.parametrize("command", REDIRECTED)
def test_a_standing_answer_to_a_command_does_not_allow_it_either(command: str) -> None:
    for kind in (None, ActionKind.WRITE):
        grants = [Grant(id="g", kind=kind, command=name) for name in (*COMMANDS, "**")]
        grants.append(Grant(id="s", kind=ActionKind.SHELL, command="**"))
        assert verdict(Policy.of([], grants), command) is Verdict.ASK


def test_what_is_read_from_a_file_is_not_allowed_by_the_command() -> None:
    rules = (Rule(verdict=Verdict.ALLOW, command="cat*"), Rule(verdict=Verdict.ASK, kind=ActionKind.READ))
    assert verdict(Policy.of([Level(name="project", rules=rules)]), "cat < notes") is Verdict.ASK


@pytest.mark.parametrize("command", ["npm test", "npm test 2>&1", "npm test > /dev/null 2>&1", "npm test 2>&1 | tail"])
def test_what_goes_to_no_file_is_allowed_with_the_command(command: str) -> None:
    assert verdict(by_rules("npm test"), command) is Verdict.ALLOW


@pytest.mark.parametrize("path", ["out.log", "*.log", "./**"])
def test_a_rule_with_a_path_allows_it(path: str) -> None:
    for command in ("", "npm test"):
        write = Rule(verdict=Verdict.ALLOW, kind=ActionKind.WRITE, path=path, command=command)
        rules = (Rule(verdict=Verdict.ALLOW, command="npm test"), write)
        policy = Policy.of([Level(name="project", rules=rules)])
        assert verdict(policy, "npm test > out.log") is Verdict.ALLOW
        assert verdict(policy, "npm test > ~/out.txt") is Verdict.ASK


def test_a_rule_about_the_command_still_denies_it() -> None:
    rules = (Rule(verdict=Verdict.DENY, command="npm*"), Rule(verdict=Verdict.ALLOW))
    assert verdict(Policy.of([Level(name="project", rules=rules)]), "npm test > out.log") is Verdict.DENY


def test_always_allow_this_names_the_file() -> None:
    asked = Policy.of([]).decide(actions_of(imagined(command="npm test > out.log"), PLACE))
    proposed = [found for each in judged(asked) if (found := narrowest(each))]
    policy = Policy.of([], [Grant(id=str(at), **each.model_dump()) for at, each in enumerate(proposed)])
    assert verdict(policy, "npm test > out.log") is Verdict.ALLOW
    assert verdict(policy, "npm test > other.log") is Verdict.ASK
