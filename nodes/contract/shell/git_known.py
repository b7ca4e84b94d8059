"""What git's subcommands do. An unknown one may be an alias, which may be anything."""

from .known import names

VALUES = names("-C -c --git-dir --work-tree --namespace --exec-path --super-prefix --config-env --attr-source")
FLAGS = names(
    "--no-pager -P -p --paginate --no-replace-objects --literal-pathspecs --glob-pathspecs --noglob-pathspecs "
    "--icase-pathspecs --no-optional-locks --no-advice --no-lazy-fetch"
)
HARMLESS_KEYS = ("color.", "core.quotepath", "core.autocrlf", "user.name", "user.email", "advice.", "log.date",
"safe.directory", "init.defaultbranch", "core.abbrev", "diff.renames", "column.ui", "commit.gpgsign")  # fmt: skip
"""Settings by ``-c`` that start nothing."""

READ = names(
    "status log diff show blame annotate ls-files ls-tree rev-parse rev-list cat-file describe shortlog grep "
    "merge-base name-rev for-each-ref show-ref version count-objects whatchanged cherry check-ignore check-attr "
    "diff-tree diff-index diff-files range-diff verify-commit verify-tag show-branch var check-ref-format "
    "get-tar-commit-id patch-id stripspace column"
)
READ_BREAKS = "--output -O --open-files-in-pager --ext-diff --exec --upload-pack --textconv --filters --web --paginate"
PATCHES = names("diff show range-diff")
"""They show what changed, but for one of these options."""
SUMMARIES = names(
    "--stat --shortstat --numstat --dirstat --name-only --name-status --summary --raw --no-patch --quiet -s"
)
PATCH_IF_TOLD = names("log whatchanged diff-tree diff-index diff-files")
PATCH_OPTIONS = (
    "-p -u -U -L -c -m --patch --patch-with-stat --patch-with-raw --unified --binary --cc --combined-all-paths "
    "--remerge-diff --diff-merges --dd --word-diff --word-diff-regex --color-words --function-context --check"
)
"""With which the others show it, too."""
LISTS: dict[str, tuple[str, ...]] = {
    "branch": ("", "-a", "-r", "-v", "-vv", "-av", "-l", "--list", "--all", "--remotes", "--show-current", "--contains",
               "--merged", "--no-merged", "--points-at", "--sort", "--format"),
    "tag": ("", "-l", "--list", "-n", "--contains", "--merged", "--points-at", "--sort"),
    "remote": ("", "-v", "--verbose", "get-url"),
    "stash": ("list", "show"),
    "config": ("--get", "--list", "-l", "--get-all", "--get-regexp", "get", "list", "--show-origin", "--get-urlmatch"),
    "worktree": ("list",),
    "submodule": ("", "status", "summary"),
    "notes": ("", "list", "show"),
    "reflog": ("", "show", "exists", "list"),
    "bisect": ("log",),
    "bundle": ("verify", "list-heads"),
    "lfs": ("ls-files", "env", "status"),
}  # fmt: skip
"""Subcommands that only list when the first word (or its absence) is one of these."""
_LISTING = names("-l --list --contains --merged --no-merged --points-at")
LISTING = {"branch": _LISTING, "tag": _LISTING | {"-n"}}
"""Options with which a name is a pattern; without one of them it is created."""
CONFIG_LOOKS = names(
    "--global --local --system --worktree --file -f --all --name-only --show-scope -z --null --type --bool --int "
    "--path --includes --no-includes --default --blob --regexp --value --fixed-value --url"
)
"""Options with which ``git config`` only looks, beside those that say so."""
NETWORK = names("fetch pull clone ls-remote fetch-pack http-fetch")
NETWORK_SECOND = {
    "remote": ("update", "show", "prune", "add"),
    "submodule": ("update", "add", "init"),
    "lfs": ("pull", "fetch", "clone"),
    "archive": ("--remote",),
    "maintenance": ("run", "start"),
}
PUBLISH = names(
    "push send-pack http-push send-email svn p4 cvsexportcommit imap-send daemon upload-pack receive-pack "
    "remote-http remote-https remote-ftp remote-ftps remote-ext remote-fd instaweb request-pull shell cvsserver"
)
PUBLISH_SECOND = {"subtree": ("push",), "lfs": ("push",), "annex": ("sync", "copy"), "flow": ("publish", "release")}
WRITE = names(
    "add stage commit checkout switch restore reset stash merge rebase cherry-pick revert tag branch rm mv clean init "
    "apply am gc prune worktree notes update-index update-ref remote submodule sparse-checkout format-patch "
    "bundle reflog bisect commit-tree write-tree read-tree mktree hash-object "
    "pack-refs repack replace rerere symbolic-ref archive fsck pack-objects unpack-objects"
)
OUTPUTS = names("archive bundle format-patch worktree init read-tree pack-objects")
"""They write to what some option names."""
WRITES_NAMED = OUTPUTS | names("add stage rm mv restore clean checkout apply")
WRITE_BREAKS = "--template --separate-git-dir --unsafe-paths --exec --upload-pack --pathspec-from-file --index-output"
"""Options of writing subcommands that run something, or read and write who knows where."""
CONFIG_FLAGS = names(
    "--global --system --local --add --unset --unset-all --replace-all --all --append --bool --int --path "
    "--bool-or-int --no-type --fixed-value"
)
CONFIG_VALUES = names("-f --file --type --comment --value")
CLONES = {
    "clone": (
        names("-q --quiet -v --verbose --progress -n --no-checkout --bare --mirror --single-branch --no-single-branch "
              "--recurse-submodules --recursive --shallow-submodules --no-tags --tags --sparse -l --local "
              "--no-hardlinks --remote-submodules -4 -6 --ipv4 --ipv6"),
        names("--depth -b --branch -o --origin -j --jobs --filter --shallow-since --shallow-exclude --revision"),
    ),
    "archive": (names("-v --verbose -l --list"), names("--remote --format --prefix -o --output")),
}  # fmt: skip
FETCH_FLAGS = names(
    "-q --quiet -v --verbose --progress --all --tags -t --no-tags -n -p --prune -P --prune-tags --no-prune --unshallow "
    "--update-shallow -f --force --dry-run -a --append --atomic --rebase -r --no-rebase --ff --ff-only --no-ff "
    "--autostash --no-autostash --no-edit --commit --no-commit --squash --no-squash --multiple -m --keep -k -4 -6 "
    "--set-upstream --no-recurse-submodules --recurse-submodules --init --remote --merge --checkout --recursive "
    "--single-branch --heads --refs --branches --exit-code --symref --get-url -h --stat --no-stat --signoff "
    "--allow-unrelated-histories --ipv4 --ipv6"
)
FETCH_VALUES = names("--depth --deepen --shallow-since -j --jobs --filter --sort -b --branch --name")
"""Options with which git reaches somebody and runs nothing."""
RUNS = {"rebase": ("-x", "--exec"), "bisect": ("run",), "submodule": ("foreach",)}
"""Where a command stands among the arguments."""
