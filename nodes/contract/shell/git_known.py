"""What git's subcommands do. An unknown one may be an alias, which may be anything."""

from .known import names

VALUES = names("-C -c --git-dir --work-tree --namespace --exec-path --super-prefix --config-env --attr-source")
FLAGS = names(
    "--no-pager -P -p --paginate --bare --no-replace-objects --literal-pathspecs --glob-pathspecs --noglob-pathspecs "
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
    "bisect": ("log", "view", "visualize"),
    "bundle": ("verify", "list-heads"),
    "lfs": ("ls-files", "env", "status", "track"),
}  # fmt: skip
"""Subcommands that only list when the first word (or its absence) is one of these."""
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
    "apply am gc prune worktree notes update-index update-ref config remote submodule sparse-checkout format-patch "
    "bundle lfs maintenance subtree reflog bisect commit-tree write-tree read-tree mktree hash-object fast-import "
    "fast-export pack-refs repack replace rerere symbolic-ref archive fsck pack-objects unpack-objects"
)
RUNS = {"rebase": ("-x", "--exec"), "bisect": ("run",), "submodule": ("foreach",)}
"""Where a command stands among the arguments."""
