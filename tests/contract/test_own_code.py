"""Command lines that look like a question and run code: what they are fed, or what the workspace names."""

import pytest

from nodes.contract.actions import Place, actions_of
from nodes.contract.judged import imagined
from nodes.contract.policy import ActionKind, Level, Policy, Rule, Verdict

PLACE = Place("/home/u/w", home="/home/u")
FED = r"""
python3 -v <<< 'import os'
echo 'import os' | python3 -v
python3 -v < f
python3 --version < f
cat f | pypy3 -v
pypy3 -v
echo '!touch x' | ed -v
cat f | tclsh -v
cat f | tclsh --version
mysql -v
mysql -h
ruby -h < f
"""
RUNS = r"""
changeset version
yarn version
pytest --help
pytest -h
pytest --version
bundle list
bundle show rails
bundle info rails
bundle --version
composer show
composer licenses
composer --version
poetry show
poetry --version
pdm list
pdm info
pdm --version
pipenv graph
uv pip list
yarn root
yarn la
yarn list
yarn explain x
yarn why x
yarn --version
yarn -v
bun root
bun ls
bun list
bun prefix
pnpm explain x
pnpm ls
pnpm root
pnpm --version
bower list
rustc --version
rustup show
rustup --version
cargo --version
cargo version
cargo pkgid
./gradlew --version
gradlew --version
gradle --version
mvnw --version
mvn --version
dotnet --info
dotnet --version
hg status
hg log
hg --version
jj log
jj st
lerna --version
sbt --version
git --help log
"""
ASKS_ITSELF = r"""
node --version
node -v
python3 --version
python3.12 -V
npm --version
npm -v
npm ls
npm root
npm config get registry
bun --version
bun pm ls
pip --version
pip list
docker --version
docker version
docker ps
java -version
gcc --version
gh --version
terraform version
ruff --version
LC_ALL=C node --version
node --version 2>&1 | head -1
node --version < /dev/null
git --version
"""


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


@pytest.mark.parametrize("command", [*lines(FED), *lines(RUNS), "python3 -v <<EOF\nimport os\nEOF"])
def test_what_runs_code_is_asked(command: str) -> None:
    actions = actions_of(imagined(command=command), PLACE)
    assert Policy().decide(actions).verdict is Verdict.ASK
    assert any(action.kind in (ActionKind.SHELL, ActionKind.NETWORK) for action in actions)


@pytest.mark.parametrize("command", ["lerna version", "lerna publish", "npm publish"])
def test_what_publishes_is_not_taken_for_a_question(command: str) -> None:
    assert ActionKind.PUBLISH in {action.kind for action in actions_of(imagined(command=command), PLACE)}


@pytest.mark.parametrize("command", lines(ASKS_ITSELF))
def test_a_question_to_a_program_is_reading(command: str) -> None:
    assert Policy().decide(actions_of(imagined(command=command), PLACE)).verdict is Verdict.ALLOW


@pytest.mark.parametrize("command", ["poetry show --latest", "composer show -l", "yarn", "uv pip list --outdated"])
def test_what_asks_its_registry_reaches_it(command: str) -> None:
    assert ActionKind.NETWORK in {action.kind for action in actions_of(imagined(command=command), PLACE)}


DECIDED = r"""
echo '[core]' > .git/config
cp x .git/hooks/pre-commit
ln -s x .git/hooks/post-checkout
sed -i s/a/b/ .GIT/config
mv web/dotgit web/.git
echo 'gitdir: x' > web/.git
rm -rf .git
tar xf x.tar -C .git
"""


@pytest.mark.parametrize("command", DECIDED.strip().splitlines())
def test_what_says_what_git_runs_is_not_only_written(command: str) -> None:
    rules = (Rule(verdict=Verdict.ALLOW, kind=ActionKind.WRITE), Rule(verdict=Verdict.ALLOW, path="./**"))
    writes = Policy.of([Level(name="instance", rules=rules)])
    assert writes.decide(actions_of(imagined(command=command), PLACE)).verdict is Verdict.ASK


def test_an_edit_of_gits_settings_is_asked_whoever_may_write() -> None:
    writes = Policy.of([Level(name="instance", rules=(Rule(verdict=Verdict.ALLOW, kind=ActionKind.WRITE),))])
    for path, verdict in ((".git/config", "ask"), ("web/.git", "ask"), (".gitignore", "allow"), ("a.git/x", "allow")):
        assert writes.decide(actions_of(imagined(path=path, kind="write"), PLACE)).verdict == verdict
    for command in ("rm -f .git/index.lock", "touch .github/x"):
        assert writes.decide(actions_of(imagined(command=command), PLACE)).verdict == "allow"


def test_another_repository_is_not_looked_at_by_ones_own_settings() -> None:
    for command in ("git --bare log", "git -C vendor/x --bare status", "git --git-dir=vendor/x log"):
        assert Policy.of([]).decide(actions_of(imagined(command=command), PLACE)).verdict is Verdict.ASK


def test_go_asks_others_for_what_go_mod_names() -> None:
    for command in ("go list ./...", "go list -m all", "go doc net/http"):
        assert {action.kind for action in actions_of(imagined(command=command), PLACE)} >= {ActionKind.NETWORK}
    assert {action.kind for action in actions_of(imagined(command="go env -w A=b"), PLACE)} == {ActionKind.SHELL}
    assert {action.kind for action in actions_of(imagined(command="go env GOPATH"), PLACE)} == {ActionKind.READ}
