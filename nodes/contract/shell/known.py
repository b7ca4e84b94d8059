"""The programs whose command lines we know, as data. What stands in no table is the kind *shell*.

Reading is named narrowly: a program or subcommand is here only if it changes nothing, reaches nobody
and starts nothing, whatever its other arguments are; options that break this are named with it.
Publishing is named broadly.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..policy import ActionKind


def names(text: str) -> frozenset[str]:
    """Words between blanks, as a set."""
    return frozenset(text.split())


READERS: Mapping[str, str] = {
    **dict.fromkeys(
        names(
            "cat head tail wc ls nl tac rev cut paste join comm fold expand unexpand tr od hexdump strings basename "
            "dirname realpath readlink stat du df free uptime nproc whoami id groups uname arch pwd true false test "
            "[ [[ "
            "sleep seq cal which whereis type md5sum sha1sum sha224sum sha256sum sha384sum sha512sum cksum b2sum "
            "diff cmp "
            "grep egrep fgrep ps pgrep netstat lscpu lsblk zcat tput tty locale getconf "
            "tokei "
            "printenv echo eza exa lsd column : pushd popd dirs return exit break continue shift"
        ),
        "",
    ),
    "file": "-C --compile",
    "date": "-s --set -f --file",
    "hostname": "-F --file -b --boot",
    "jobs": "-x",
    "wait": "-p",
    "lsof": "-D",
    **dict.fromkeys(("base64", "base32", "basenc"), "-o --output"),
    "printf": "-v",
    "sort": "-o --output --compress-program",
    "uniq": "",
    "rg": "--pre --hostname-bin",
    "ag": "--pager",
    "fd": "-x -X --exec --exec-batch",
    "fdfind": "-x -X --exec --exec-batch",
    "tree": "-o -R",
    "jq": "-f -L --from-file --library-path",
    "xxd": "-r --revert",
    "ss": "-K --kill -D --diag",
    "history": "-c -w -a -d -r -n -s -p",
    "bat": "--pager --build --clear --generate-config-file",
    "less": "-o -O -k --log-file --LOG-FILE --lesskey-file --lesskey-src --lesskey-content",
    "more": "",
}  # fmt: skip
"""What only reads, and the options with which it does more. Long ones count when abbreviated, too."""

NO_PATHS = names(
    "echo printf true false : sleep seq date cal whoami id groups uname arch pwd which whereis type test [ [[ tr ps "
    "pgrep netstat lscpu free uptime nproc tput tty locale getconf printenv hostname jobs wait return exit break "
    "continue shift history basename dirname ss popd dirs"
)
"""Readers whose arguments are no paths."""
UNEXPANDED = names("echo true false : sleep")
"""What does nothing worse for an argument that we cannot know."""
TREES = names("find rg ag fd fdfind tree du tokei grep egrep fgrep ls diff")
"""Readers that may go through a whole directory; some of them only if told to."""

WRITERS = names(
    "touch mkdir rm rmdir mv cp ln chmod chown chgrp tee truncate dd install patch split csplit shred unlink mkfifo "
    "gzip gunzip bzip2 bunzip2 xz unxz zstd unzip zip tar mktemp setfacl chattr mknod link sponge"
)
COPIERS = frozenset({"cp", "ln", "install", "link"})
"""They read all but the last."""

WRAPPERS: Mapping[str, tuple[str, int]] = {
    "sudo": ("-u -g -h -p -C -T -R -D -r -t -U --user --group --host --prompt --chdir --chroot --role --type", 0),
    "doas": ("-u -C", 0),
    "command": ("", 0),
    "builtin": ("", 0),
    "exec": ("-a", 0),
    "nohup": ("", 0),
    "time": ("-o -f --output --format", 0),
    "nice": ("-n --adjustment", 0),
    "ionice": ("-c -n --class --classdata", 0),
    "timeout": ("-k -s --kill-after --signal", 1),
    "gtimeout": ("-k -s --kill-after --signal", 1),
    "stdbuf": ("-i -o -e --input --output --error", 0),
    "setsid": ("", 0),
    "chronic": ("", 0),
    "unbuffer": ("", 0),
    "caffeinate": ("-t -w", 0),
    "eatmydata": ("", 0),
    "faketime": ("", 1),
    "flock": ("-w -E --timeout --conflict-exit-code", 1),
    "chroot": ("--userspec --groups", 1),
    "runuser": ("-u -g -G --user --group", 0),
    "setpriv": ("--reuid --regid", 0),
    "strace": ("-e -o -p -s -u -E -P -S -a", 0),
    "ltrace": ("-e -o -p -s -u", 0),
    "watch": ("-n --interval", 0),
    "busybox": ("", 0),
    "toybox": ("", 0),
    "parallel": ("-j --jobs", 0),
    "taskset": ("", 1),
    "chrt": ("-p", 1),
    "prlimit": ("", 0),
    "firejail": ("", 0),
    "systemd-run": ("-p -u --unit --property", 0),
    "systemd-inhibit": ("", 0),
    "dbus-run-session": ("", 0),
    "ssh-agent": ("-t -a", 0),
    "xvfb-run": ("-s -n -e", 0),
    "dotenv": ("-e -f", 0),
    "dotenvx": ("", 0),
    "cross-env": ("", 0),
    "coproc": ("", 0),
    "corepack": ("", 0),
    "rtk": ("", 0),
    "proxychains": ("-f", 0),
    "torsocks": ("", 0),
}
"""Programs that run what follows: their options with a value, and how many words of theirs come before it."""
QUIET_WRAPPERS = frozenset({"command", "builtin", "nohup", "time", "nice", "ionice", "timeout", "gtimeout", "stdbuf"})
"""A reader in one of these is still one."""

OTHER_SHELLS = names("fish")
"""Their quotes and words are others than those of ``sh``."""
SHELLS = names("sh bash zsh dash ksh mksh ash rbash yash") | OTHER_SHELLS
INTERPRETERS: Mapping[str, str] = {
    **dict.fromkeys(("python", "pypy", "ipython", "py"), "-c"),
    **dict.fromkeys(("node", "nodejs"), "-e -p --eval --print"),
    "perl": "-e -E -n -p -i",
    "ruby": "-e",
    "php": "-r -B -R -E --run",
    "lua": "-e",
    "luajit": "-e",
    "deno": "",
    "bun": "-e -p --eval --print",
    "tclsh": "",
    "expect": "-c",
    "osascript": "-e",
    "Rscript": "-e",
    "R": "-e",
    "julia": "-e -E --eval --print",
    "elixir": "-e --eval",
    "erl": "-eval",
    "ghc": "-e",
    "groovy": "-e",
    "scala": "-e",
    "pwsh": "-c -Command -EncodedCommand -e -ec",
    "powershell": "-c -Command -EncodedCommand -e -ec",
    "cmd.exe": "/c",
    "ts-node": "-e -p --eval --print",
    "tsx": "-e -p --eval --print",
    "gdb": "-ex -x -batch",
    "vim": "-c -e -es -Es -S -s",
    "vi": "-c -e -es -S -s",
    "nvim": "-c -e -es -S -s -l",
    "ex": "-c",
    "ed": "",
    "emacs": "--eval -eval --execute -l --load -f",
    "man": "-P --pager -H",
    "psql": "-c --command -f",
    "sqlite3": "",
    "mysql": "-e --execute",
    "bc": "",
    "m4": "",
}  # fmt: skip
"""Programs that run a language of their own, and the options behind which code stands."""

HARMLESS_SETTINGS = names(
    "LC_ALL LC_CTYPE LANG LANGUAGE TZ NO_COLOR FORCE_COLOR CLICOLOR CLICOLOR_FORCE CI COLUMNS LINES TERM DEBUG "
    "NODE_ENV GIT_PAGER_IN_USE PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE RUST_BACKTRACE RUST_LOG"
)
"""Variables that turn no reader into anything else."""
GRAVE_SETTINGS = (
    "PATH",
    "LD_", "DYLD_", "BASH_ENV", "ENV", "IFS", "SHELL", "PAGER", "EDITOR", "VISUAL", "BROWSER", "GIT_", "PROMPT_",
    "PYTHON", "NODE_OPTIONS", "PERL5", "RUBY", "HOME", "LESS", "MANPAGER", "PS4", "BASHOPTS", "HISTFILE", "CDPATH",
    "RANDOM", "SRANDOM", "OPTIND", "HISTCMD", "SECONDS",
)  # fmt: skip
"""Beginnings of names that change what later commands do. To the last ones what is set is calculated, and so run."""
SHELLS_OWN = (
    "ARGV", "BASH", "CHARSET", "CHILD_", "COL", "COMP", "COPROC", "DIRSTACK", "EMACS", "EPOCH", "ERR", "EUID", "EXEC",
    "FCEDIT", "FIGNORE", "FPATH", "FUNC", "GCONV", "GETCONF", "GLIBC", "GLOB", "GROUPS", "HIST", "HOST", "IGNORE",
    "INPUTRC", "INSIDE_", "KEYTIMEOUT", "KSH", "LANG", "LC_", "LINE", "LOC", "MACHTYPE", "MAIL", "MALLOC", "MAPFILE",
    "MODULE_", "NIS_", "NLS", "NODE_", "NULLCMD", "OLDPWD", "OPT", "OSTYPE", "OUTPUT_", "PIPESTATUS", "POSIX", "PPID",
    "PROMPT", "PS", "PWD", "READ", "REPLY", "RES_", "RESOLV", "RPROMPT", "RPS", "SAVEHIST", "SH", "SPROMPT", "STTY",
    "TERM", "TEXTDOMAIN", "TIME", "TMOUT", "TMP", "TEMP", "TZ", "UID", "USER", "LOGNAME", "WATCH", "WORDCHARS", "YASH",
    "ZDOTDIR", "ZLS_", "ZSH",
)  # fmt: skip
"""Beginnings of names in capitals that bash, zsh, ksh or the C library look at themselves, beside the grave ones."""
BUILT_IN = names("echo printf true false : test [ [[ cd pwd exit return break continue shift set unset export readonly")
"""What every shell does by itself: it starts no program, and so hands no variable on."""
_OWN = re.compile(r"[A-Z][A-Z0-9_]*")
_LOCAL = re.compile(r"(?!npm_)[a-z][a-z0-9_]*|[A-Z]")
_TIED = names(
    "path cdpath fpath mailpath manpath module_path fignore prompt watch aliases galiases saliases functions commands "
    "options modules hash term histchars"
)
"""Lower-case names that change what later commands do, in zsh."""
_ADDRESSING = re.compile(r"proxy|registry|index|mirror|url|host|endpoint|server", re.IGNORECASE)


def is_grave(name: str) -> bool:
    """Whether a variable of that name makes a harmless program do harm."""
    return name.startswith(GRAVE_SETTINGS)


def is_local(name: str) -> bool:
    """Whether a variable of that name, which nobody exports, matters to no program: names in capitals may stand in the
    environment already."""
    is_own = _LOCAL.fullmatch(name) is not None and name not in _TIED and not says_where(name)
    return is_own or name in HARMLESS_SETTINGS


def is_private(name: str) -> bool:
    """Whether a variable of that name means nothing to shells and their libraries, exported or not. Programs may know
    it: this is for a text that starts none."""
    return _OWN.fullmatch(name) is not None and not (name.startswith(SHELLS_OWN) or is_grave(name) or says_where(name))


def says_where(name: str) -> bool:
    """Whether a variable of that name may say whom a program reaches."""
    return bool(_ADDRESSING.search(name))


@dataclass(frozen=True, slots=True)
class Program:
    """A program with subcommands. Each table holds phrases: ``compose ps`` is a subcommand of a subcommand."""

    default: ActionKind = ActionKind.SHELL
    read: str = ""
    write: str = ""
    local: str = ""
    """Changes or runs something on this machine only: it may be what the workspace names, as a plugin or a setting."""
    network: str = ""
    publish: str = ""
    values: str = ""
    """Options that take a value, which is no subcommand then."""
    hosts: tuple[str, ...] = ()
    """What it reaches if its arguments name no host."""
    breaks: str = ""
    """Options with which a reading subcommand does more."""
    reaches: str = ""
    """Options with which it asks its ``hosts``."""
    phrases: dict[tuple[str, ...], ActionKind] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tables = (
            (ActionKind.READ, self.read), (ActionKind.WRITE, self.write), (ActionKind.SHELL, self.local),
            (ActionKind.NETWORK, self.network), (ActionKind.PUBLISH, self.publish),
        )  # fmt: skip
        for kind, table in tables:
            for phrase in table.split(","):
                if words := tuple(phrase.split()):
                    self.phrases[words] = kind


_NPM = ("registry.npmjs.org",)
_NPM_READ = "ls,list,la,ll,root,prefix,bin,why,explain,config get,config list,pkg get"
_NPM_NETWORK = (
    "install,i,in,ci,add,update,up,upgrade,outdated,audit,view,info,show,search,fund,ping,whoami,login,adduser,create,"
    "init,dlx,fetch,import,install-test,it,cit,dedupe,remove,rm,un,uninstall,prune,rebuild,import,self-update,"
    "npm whoami,npm login,npm info,npm audit,set,plugin"
)
_NPM_PUBLISH = (
    "publish,unpublish,deprecate,dist-tag add,dist-tag rm,dist-tags add,owner add,owner rm,access,team,token,star,"
    "npm publish,npm tag,tag,hook,org,stage,changeset publish"
)
_CLOUD_READ = "ls,list,get,describe,show,logs,top,explain,version,status,search,history,diff,api-resources,cluster-info"

_PIP = Program(
    read="list,freeze,show,check,inspect,debug,config list,config get",
    network="install,download,wheel,search,index,uninstall,cache,lock",
    hosts=("pypi.org",), values="--python --log --proxy --cache-dir", breaks="--log --python --cache-dir",
    reaches="-o --outdated -u --uptodate -i --index-url --extra-index-url -f --find-links --proxy -r --requirement",
)  # fmt: skip
_NPM_VALUES = (
    "--prefix -C --dir --filter -F -w --workspace --registry --userconfig --cache --loglevel --cwd --tag --otp"
)
_NPM_CLIENT = Program(read=_NPM_READ, network=_NPM_NETWORK, publish=_NPM_PUBLISH, hosts=_NPM, values=_NPM_VALUES)
_NPM_LIKE = Program(network=_NPM_NETWORK, publish=_NPM_PUBLISH, hosts=_NPM, values=_NPM_VALUES)
"""pnpm and yarn run code that the workspace names (``.pnpmfile.cjs``, ``yarnPath``), whatever they are told to do."""
_BUN = Program(read="pm ls,pm bin,pm hash", network=_NPM_NETWORK, publish=_NPM_PUBLISH, hosts=_NPM, values=_NPM_VALUES)
"""What is no subcommand of it is a script."""
_DOCKER = Program(
    read="ps,images,logs,inspect,version,info,port,top,stats,diff,history,image ls,image inspect,image history,"
    "container ls,container logs,container inspect,volume ls,volume inspect,network ls,network inspect,compose ps,"
    "compose logs,compose config,compose images,compose ls,compose top,context ls,system df",
    network="pull,login,logout,search,image pull,compose pull,manifest inspect,buildx imagetools inspect",
    publish="push,image push,compose push,manifest push,buildx imagetools create,stack deploy,service create,"
    "service update,service scale,plugin push,trust,scout push,compose publish,model push",
    hosts=("docker.io",), values="-c --context -H --host --config -l --log-level -f --file -p --project-name --profile "
    "--env-file --project-directory --tlscacert --tlscert --tlskey",
    breaks="--output -o --host --context --config --lock-image-digests", reaches="--resolve-image-digests",
)  # fmt: skip
_CLOUD = Program(default=ActionKind.PUBLISH, network=_CLOUD_READ, values="-n --namespace --context --kubeconfig -o -l")

PROGRAMS: Mapping[str, Program] = {
    "npm": _NPM_CLIENT, "pnpm": _NPM_LIKE, "yarn": _NPM_LIKE, "yarnpkg": _NPM_LIKE, "cnpm": _NPM_CLIENT,
    "bower": _NPM_LIKE, "jsr": _NPM_LIKE, "vsce": _NPM_LIKE, "ovsx": _NPM_LIKE, "bun": _BUN,
    "lerna": Program(publish="publish,version"),
    "nx": Program(publish="release publish,release"),
    "changeset": Program(publish="publish"),
    "np": Program(default=ActionKind.PUBLISH),
    "release-it": Program(default=ActionKind.PUBLISH),
    "semantic-release": Program(default=ActionKind.PUBLISH),
    "standard-version": Program(),
    "gh-pages": Program(default=ActionKind.PUBLISH),
    "surge": Program(default=ActionKind.PUBLISH),
    "pip": _PIP, "pip3": _PIP, "pipx": _PIP,
    "uv": Program(
        read="help,cache dir", local="pip list,pip freeze,pip show,pip tree",
        network="pip install,pip uninstall,pip sync,pip compile,sync,add,remove,lock,tool install,tool upgrade,tool "
            "run,"
        "python install,export,self update,init",
        publish="publish", hosts=("pypi.org",), values="--project --directory -p --python --config-file",
        breaks="-p --python --config-file --project --directory --prefix --target",
        reaches="--outdated --index --default-index --index-url --extra-index-url --find-links -i -f",
    ),
    "poetry": Program(
        local="show,check,env list,env info,about", reaches="-l --latest -o --outdated -a --all",
        network="install,add,update,lock,remove,sync,search,self",
        publish="publish", hosts=("pypi.org",), values="-C -P --directory --project",
    ),
    "pdm": Program(local="list,info", network="install,add,update,lock,sync,"
    "remove", publish="publish", hosts=("pypi.org",)),
    "hatch": Program(publish="publish", network="env create,dep"),
    "flit": Program(publish="publish", network="install"),
    "rye": Program(publish="publish", network="sync,add,lock,fetch", hosts=("pypi.org",)),
    "pipenv": Program(local="graph", network="install,update,lock,sync,uninstall", hosts=("pypi.org",)),
    "conda": Program(read="list,info", network="install,create,update,search,env create", publish="upload"),
    "anaconda": Program(publish="upload", network="login"),
    "twine": Program(publish="upload,register", local="check"),
    "cargo": Program(
        local="tree,metadata,version,locate-project,pkgid,help", publish="publish,yank,owner,login",
        network="add,install,fetch,update,search,generate-lockfile,info,vendor,binstall", hosts=("crates.io",),
        values="-C --color --manifest-path", breaks="--config -Z --manifest-path",
    ),
    "go": Program(
        read="version,env,list,doc,help", network="get,install,mod download,mod tidy,mod vendor,work sync",
        hosts=("proxy.golang.org",), breaks="-w -u -toolexec -exec -vettool -overlay -modfile", values="-C",
    ),
    "gem": Program(
        read="list,specification,contents,which,environment,help", publish="push,yank,owner",
        network="install,update,fetch,search,outdated,info,signin,uninstall", hosts=("rubygems.org",),
        reaches="-r --remote -b --both -s --source --clear-sources -p --http-proxy", breaks="--config-file",
    ),
    "bundle": Program(local="list,show,info", network="install,update,add,outdated,lock", hosts=("rubygems.org",)),
    "composer": Program(local="show,licenses", network="install,update,require,remove", hosts=("packagist.org",),
        reaches="-a --all --available -l --latest -o --outdated"),
    "mvn": Program(publish="deploy,release:perform,release:prepare,site-deploy,deploy:deploy-file,"
    "nexus-staging:release"),
    "mvnw": Program(publish="deploy,release:perform,release:prepare,site-deploy,deploy:deploy-file"),
    "gradle": Program(publish="publish,uploadArchives,publishPlugins,publishToMavenCentral,publishAllPublications"),
    "gradlew": Program(publish="publish,uploadArchives,publishPlugins,publishToMavenCentral,publishAllPublications"),
    "sbt": Program(publish="publish,publishSigned,release"),
    "dotnet": Program(publish="nuget push,nuget delete", network="add,restore,tool install,workload"),
    "nuget": Program(publish="push,delete", network="install,restore"),
    "mix": Program(publish="hex.publish", network="deps.get,deps.update,hex.info"),
    "pod": Program(publish="trunk,repo push", network="install,update"),
    "dart": Program(publish="pub publish", network="pub get,pub add"),
    "flutter": Program(publish="pub publish", network="pub get,pub add"),
    "luarocks": Program(publish="upload", network="install"),
    "cpan": Program(default=ActionKind.NETWORK),
    "docker": _DOCKER, "podman": _DOCKER, "nerdctl": _DOCKER, "docker-compose": Program(
        read="ps,logs,config,images,top", network="pull", publish="push",
        hosts=("docker.io",), values="-f -p --profile",
    ),
    "buildah": Program(read="images,containers", network="pull,from,login", publish="push"),
    "skopeo": Program(network="inspect,list-tags,login", publish="copy,sync,delete"),
    "crane": Program(default=ActionKind.PUBLISH, network="pull,ls,digest,manifest,config,catalog,auth"),
    "oras": Program(default=ActionKind.PUBLISH, network="pull,discover,manifest fetch,login"),
    "ko": Program(publish="apply,build,publish,resolve,create"),
    "helm": Program(
        local="template,lint,package,create,env,version", publish="install,upgrade,uninstall,delete,rollback,push,test",
        network="repo,pull,search,dependency,dep,list,ls,status,get,history,show,registry login,fetch",
        values="-n --namespace --kube-context --kubeconfig",
    ),
    "kubectl": _CLOUD, "oc": _CLOUD, "k9s": _CLOUD, "istioctl": _CLOUD, "argocd": _CLOUD, "flux": _CLOUD,
    "kustomize": Program(),
    "terraform": Program(
        read="version", publish="apply,destroy,import,taint,untaint,state push,state rm,state mv,workspace new,"
            "workspace "
        "delete,force-unlock,login", network="init,get,providers", values="-chdir",
    ),
    "tofu": Program(publish="apply,destroy,import,taint,untaint,state push,state rm,state mv", network="init,get"),
    "terragrunt": Program(publish="apply,destroy,run-all,import", network="init"),
    "pulumi": Program(publish="up,update,destroy,import,refresh,stack rm,config set", network="login,preview,logs"),
    "cdk": Program(publish="deploy,destroy,bootstrap,import,watch"),
    "sam": Program(publish="deploy,delete,publish,sync"),
    "cap": Program(publish="deploy,production,staging"),
    "ansible": Program(default=ActionKind.PUBLISH), "ansible-playbook": Program(default=ActionKind.PUBLISH),
    "serverless": Program(publish="deploy,remove,publish", network="login,info,logs"),
    "sls": Program(publish="deploy,remove,publish", network="login,info,logs"),
    "vercel": Program(default=ActionKind.PUBLISH, network="ls,list,logs,inspect,whoami,login,pull,env "
    "ls", local="dev,build"),
    "netlify": Program(publish="deploy,sites:create,env:set,api", network="status,login,link,open", local="dev,build"),
    "fly": Program(default=ActionKind.PUBLISH, network="status,logs,apps list,auth,info", values="-a --app -c "
    "--config"),
    "flyctl": Program(default=ActionKind.PUBLISH, network="status,logs,apps list,auth,info", values="-a --app -c"),
    "wrangler": Program(publish="deploy,publish,secret,kv,r2,d1,pages,versions,rollback", network="whoami,tail"),
    "firebase": Program(publish="deploy,functions:delete,hosting:disable", network="login,projects:list"),
    "heroku": Program(default=ActionKind.PUBLISH, network="logs,ps,config,apps,info,login,auth:whoami"),
    "railway": Program(default=ActionKind.PUBLISH, network="logs,status,login,whoami"),
    "render": Program(default=ActionKind.PUBLISH, network="services list,logs"),
    "eb": Program(default=ActionKind.PUBLISH, network="status,logs,list,health"),
    "now": Program(default=ActionKind.PUBLISH),
    "supabase": Program(publish="db push,functions deploy,secrets set,link", network="login,projects list"),
    "kamal": Program(default=ActionKind.PUBLISH, network="logs,details,version"),
    "dokku": Program(default=ActionKind.PUBLISH), "fab": Program(default=ActionKind.PUBLISH),
    "aws": Program(default=ActionKind.PUBLISH, values="--profile --region --output --endpoint-url --query"),
    "gcloud": Program(default=ActionKind.PUBLISH, values="--project --account --region --zone --format"),
    "az": Program(default=ActionKind.PUBLISH, values="--subscription -o --output"),
    "gsutil": Program(default=ActionKind.PUBLISH, network="ls,stat,du,cat"),
    "doctl": Program(default=ActionKind.PUBLISH), "linode-cli": Program(default=ActionKind.PUBLISH),
    "hcloud": Program(default=ActionKind.PUBLISH), "ibmcloud": Program(default=ActionKind.PUBLISH),
    "s3cmd": Program(default=ActionKind.PUBLISH, network="ls,info,get"),
    "mc": Program(default=ActionKind.PUBLISH, network="ls,stat,cat"),
    "rclone": Program(default=ActionKind.PUBLISH, network="ls,lsd,lsf,lsl,size,about,listremotes"),
    "restic": Program(default=ActionKind.PUBLISH, network="snapshots,ls,stats"),
    "gh": Program(
        default=ActionKind.PUBLISH, hosts=("github.com",), values="-R --repo --hostname",
        read="version,help", network="auth status,repo clone,repo view,repo list,pr checkout,pr diff,pr checks,pr view,"
        "pr list,pr status,issue list,issue view,issue status,run list,run view,run watch,run download,release list,"
        "release view,release download,search,browse,workflow list,workflow view,gist list,gist view,label list,"
        "cache list,secret list,variable list,status,extension list,ruleset list,org list,project list,api",
    ),
    "hub": Program(default=ActionKind.PUBLISH, hosts=("github.com",), network="clone,fetch,pull,browse"),
    "glab": Program(
        default=ActionKind.PUBLISH, hosts=("gitlab.com",), values="-R --repo",
        read="version,help", network="mr list,mr view,mr diff,mr checkout,issue list,issue view,ci list,ci view,ci "
            "status,"
        "ci trace,release list,release view,repo clone,repo view,auth status,api",
    ),
    "tea": Program(default=ActionKind.PUBLISH), "jira": Program(default=ActionKind.PUBLISH),
    "goreleaser": Program(publish="release,publish,announce"),
    "nomad": Program(publish="job run,job dispatch,job stop,run,stop"),
    "helmfile": Program(publish="apply,sync,destroy"), "skaffold": Program(publish="run,deploy,dev,delete"),
    "fastlane": Program(default=ActionKind.PUBLISH), "dput": Program(default=ActionKind.PUBLISH),
    "ghp-import": Program(default=ActionKind.PUBLISH), "pastebinit": Program(default=ActionKind.PUBLISH),
    "tailscale": Program(publish="funnel,serve,file cp"), "eas": Program(publish="submit,update"),
    "vault": Program(publish="kv put,kv delete,write,delete"), "consul": Program(publish="kv put,kv delete"),
    "prisma": Program(publish="migrate deploy,db push"), "ntfy": Program(default=ActionKind.PUBLISH),
    "git-cliff": Program(), "bumpversion": Program(),
    "mail": Program(default=ActionKind.PUBLISH), "mailx": Program(default=ActionKind.PUBLISH),
    "mutt": Program(default=ActionKind.PUBLISH), "sendmail": Program(default=ActionKind.PUBLISH),
    "swaks": Program(default=ActionKind.PUBLISH), "msmtp": Program(default=ActionKind.PUBLISH),
    "apt": Program(read="list,show,policy", network="install,update,upgrade,search,remove,full-upgrade,purge,"
    "autoremove", breaks="-o --option -c --config-file"),
    "apt-get": Program(default=ActionKind.NETWORK), "apk": Program(default=ActionKind.NETWORK),
    "apt-cache": Program(read="show,search,policy", breaks="-o --option -c --config-file -p --pkg-cache"),
    "dnf": Program(default=ActionKind.NETWORK), "yum": Program(default=ActionKind.NETWORK),
    "pacman": Program(default=ActionKind.NETWORK), "zypper": Program(default=ActionKind.NETWORK),
    "brew": Program(read="list,config", network="install,upgrade,update,search,info,tap,outdated,uninstall,fetch,"
    "reinstall"),
    "snap": Program(default=ActionKind.NETWORK), "flatpak": Program(default=ActionKind.NETWORK),
    "nix": Program(default=ActionKind.NETWORK), "nix-env": Program(default=ActionKind.NETWORK),
    "asdf": Program(read="current,list", network="install,plugin,latest,list all,list-all"),
    "nvm": Program(read="current,ls", network="install"), "rustup": Program(local="show", network="update,install,"
    "target,component,toolchain"),
    "deno": Program(network="add,install,cache,upgrade", publish="publish,deploy", hosts=("jsr.io",)),
    "svn": Program(
        read="status,diff,info", publish="commit,ci,import",
        network="update,checkout,co,up,log,list,ls,cat,blame,switch",
        breaks="-x --extensions --diff-cmd --diff3-cmd --editor-cmd --config-option --config-dir",
        reaches="-u --show-updates -r --revision",
    ),
    "hg": Program(
        local="status,diff,log", network="pull,clone,incoming,outgoing,in,out,identify,id", publish="push",
        breaks="--config --repository -R --cwd --debugger --pager",
    ),
    "jj": Program(
        local="log,status,diff,show", network="git fetch,git clone", publish="git push",
        breaks="--config --config-file --config-toml --tool -R --repository",
    ),
    "ngrok": Program(default=ActionKind.PUBLISH), "cloudflared": Program(default=ActionKind.PUBLISH),
    "localtunnel": Program(default=ActionKind.PUBLISH), "lt": Program(default=ActionKind.PUBLISH),
    "wormhole": Program(default=ActionKind.PUBLISH), "magic-wormhole": Program(default=ActionKind.PUBLISH),
    "croc": Program(default=ActionKind.PUBLISH), "transfer": Program(default=ActionKind.PUBLISH),
    "ipfs": Program(default=ActionKind.PUBLISH),
    "systemctl": Program(), "crontab": Program(), "pre-commit": Program(),
}  # fmt: skip

PUBLISHING_WORDS = names("publish deploy upload push gh-deploy unpublish")
"""Subcommands by which programs in no table speak to others, if they stand before all else."""
TASK_RUNNERS = names("just task rake inv invoke grunt gulp mage doit nox")
"""What they do, the workspace says, as with ``make``."""

NETWORK = names(
    "curl wget ssh scp sftp ftp tftp rsync nc ncat netcat socat telnet ping ping6 dig nslookup host whois traceroute "
    "tracepath mtr openssl http https xh httpie aria2c axel lynx links w3m elinks fetch nmap mosh rlogin rsh lftp "
    "ssh-keyscan ssh-copy-id sshfs autossh smbclient showmount rpcinfo finger ntpdate rdate iperf iperf3 fping nping "
    "hping3 arping masscan mosquitto_pub mosquitto_sub kcat kafkacat ldapsearch snmpget snmpwalk resolvectl delv kdig "
    "logger wget2 websocat grpcurl ab wrk hey vegeta k6 youtube-dl yt-dlp drill arp-scan ncftp curlie"
)
"""Programs whose purpose is to reach somebody."""
CLIENTS = names("mysql mariadb psql pg_dump pg_restore redis-cli valkey-cli mongo mongosh mongodump cqlsh influx")
"""Their option ``-h`` names a host."""
HOST_FIRST = names(
    "ssh ping ping6 host whois traceroute tracepath mtr telnet nc ncat netcat ftp tftp sftp nmap mosh lftp dig "
    "nslookup drill rlogin rsh ssh-keyscan ssh-copy-id showmount rpcinfo finger ntpdate rdate fping nping hping3 "
    "arping delv kdig"
)
"""Their arguments are hosts without a scheme."""
