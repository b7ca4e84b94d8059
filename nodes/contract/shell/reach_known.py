"""Options of programs that reach somebody. Many others run a program, read a list of orders or write a file: an option
that does not stand here is not understood."""

from collections.abc import Mapping
from dataclasses import dataclass

from .known import names


@dataclass(frozen=True, slots=True)
class Options:
    """Of one program: those without a value, those with one, and whose value is a file that is read or written."""

    flags: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()


def _options(flags: str, values: str = "", reads: str = "", writes: str = "") -> Options:
    with_value = names(f"{values} {reads} {writes}")
    return Options(names(flags), with_value, names(reads), names(writes))


NOTHING = Options()
_NETCAT = _options("-z -v -vv -n -u -4 -6 -N", "-w -q")
_PING = _options("-n -q -4 -6 -D -O", "-c -W -w -i -s -t -I")
_HTTPIE = _options(
    "-v --verbose -h --headers -b --body -j --json -f --form -F --follow --ignore-stdin --check-status --pretty=none",
    "-a --auth --timeout --print -p -A --auth-type",
    writes="-o --output",
)
_QUERY = _options("-4 -6 -v -a -x", "-t -p -q")
OPTIONS: Mapping[str, Options] = {
    "wget": _options(
        "-q --quiet -v --verbose -nv --no-verbose -c --continue -N --timestamping --spider -S --server-response -4 -6 "
        "--show-progress --no-check-certificate -nc --no-clobber --no-cache -r --recursive -np --no-parent -p -k -m "
        "--mirror -nd -nH -E --https-only --content-disposition --no-proxy --no-config --version",
        "-t --tries -T --timeout -U --user-agent --header -w --wait -l --level -A --accept -R --reject --post-data "
        "--body-data --method --referer --limit-rate -Q --quota --cut-dirs --max-redirect --user --password",
        "--post-file --body-file --load-cookies --ca-certificate --certificate --private-key",
        "-O --output-document -P --directory-prefix -o --output-file -a --append-output --save-cookies",
    ),
    "aria2c": _options(
        "-c -q --continue --quiet",
        "-x --max-connection-per-server -s --split -k --min-split-size -j --max-concurrent-downloads -t --timeout -U "
        "--user-agent --header -m --max-tries --checksum",
        writes="-o --out -d --dir -l --log",
    ),
    "ssh": _options("-v -vv -vvv -q -T -t -tt -N -n -4 -6 -C -a -x", "-p -l", "-i"),
    "scp": _options("-r -p -q -C -v -4 -6 -B", "-P -l -c", "-i"),
    "sftp": _options("-r -p -q -C -v -4 -6 -a", "-P -l -c", "-i"),
    "rsync": _options(
        "-a -v -z -r -l -t -p -g -o -u -n -h -P -q -c -i -x -H -A -X -S -W -L -k -d -O -J --archive --verbose "
        "--compress --recursive --delete --delete-after --dry-run --progress --partial --stats --human-readable "
        "--update --checksum --times --links --copy-links --perms --quiet --itemize-changes --ignore-existing "
        "--existing --inplace --no-owner --no-group --no-perms --delete-excluded",
        "--exclude --include --bwlimit --timeout --port --max-size --min-size --info --chmod --contimeout",
        "--exclude-from --include-from",
    ),
    "socat": _options("-d -v -u -U -x", "-t -T -b"),
    **dict.fromkeys(("nc", "ncat", "netcat"), _NETCAT),
    **dict.fromkeys(("ping", "ping6"), _PING),
    **dict.fromkeys(("http", "https", "xh", "httpie"), _HTTPIE),
    "openssl": _options(
        "-showcerts -brief -quiet -tls1_2 -tls1_3 -status -prexit -verify_return_error",
        "-connect -servername -port -host -starttls -verify -alpn -cipher",
        "-CAfile -cert -key",
    ),
    "dig": _options("-4 -6 -r", "-t -p -q -x -c"),
    "host": _QUERY,
    "nslookup": _options("-type=a -type=mx -type=ns -type=txt -type=aaaa -debug"),
    "whois": _options("", "-h -p"),
    "traceroute": _options("-n -4 -6 -I -T", "-m -q -w -p"),
    "nmap": _options("-v -n -Pn -sn -sV -sT -sS -F -4 -6 -A -O", "-p -T --top-ports"),
}
CURL = _options(
    "-s -S -f -L -k -i -I -v -g -G -O -J -4 -6 -N -# -j -l -0 -1 -2 -3 -B -R -Z -q -a -: --silent --show-error --fail "
    "--location --insecure --include --head --verbose --compressed --get --globoff --http1.0 --http1.1 --http2 --http3 "
    "--ipv4 --ipv6 --no-buffer --progress-bar --no-progress-meter --retry-all-errors --retry-connrefused "
    "--fail-with-body --fail-early --location-trusted --remote-name --remote-name-all --remote-header-name "
    "--remote-time --tlsv1 --tlsv1.2 --tlsv1.3 --create-dirs --raw --path-as-is --parallel --ssl-reqd --next "
    "--no-keepalive --disable --basic --digest --anyauth --tr-encoding --junk-session-cookies --version",
    "-H --header -X --request -A --user-agent -e --referer -u --user -m --max-time --connect-timeout --retry "
    "--retry-delay --retry-max-time -w --write-out -r --range -y -Y -z --limit-rate --max-redirs --ciphers --tls-max "
    "--interface --local-port --max-filesize -C --continue-at --pass --oauth2-bearer --data-urlencode -d --data "
    "--data-binary --data-raw --data-ascii --json -F --form --form-string -b --cookie --url -x --proxy --preproxy "
    "--socks4 --socks4a --socks5 --socks5-hostname -U --proxy-user --aws-sigv4 --proto --proto-default --url-query "
    "--proxy-header --keepalive-time",
    "-T --upload-file -E --cert --key --cacert --capath",
    "-o --output -D --dump-header -c --cookie-jar --output-dir --stderr --trace --trace-ascii",
)
CURL_ADDRESSES = names("-x --proxy --preproxy --socks4 --socks4a --socks5 --socks5-hostname --url")
CURL_PLAIN = names("--data-raw --form-string -u --user -U --proxy-user -A --user-agent -e --referer -X --request")
"""Their values name no file."""
