#!/bin/sh
# Fetches the browser libraries that AgentHub serves itself, at pinned versions, into
# agenthub_site/static/vendor/. The result is committed: neither users nor builds need npm,
# and no page loads anything from another origin. Run it again after changing a version:
#
#   tools/vendor_assets.sh
#
# Needs npm and python3. Only the files that a page uses are kept, each with its licence.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
vendor="$root/agenthub_site/static/vendor"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

unpack() { # package version -> $work/package
    rm -rf "$work/package"
    (cd "$work" && tar -xzf "$(npm pack --silent "$1@$2" | tail -n 1)")
}

keep() { # directory file...: copies files of the unpacked package, without their source map comments
    into="$vendor/$1"
    shift
    mkdir -p "$into"
    for file in "$@"; do
        sed -e 's|^//# sourceMappingURL=.*$||' -e 's|/\*# sourceMappingURL=[^*]*\*/||' \
            "$work/package/$file" > "$into/$(basename "$file")"
    done
}

rm -rf "$vendor"

unpack @tabler/core 1.6.1
keep tabler dist/css/tabler.min.css
python3 "$root/tools/vendor_licence.py" "$work/package/dist/css/tabler.css" > "$vendor/tabler/LICENSE"

unpack @tabler/icons 3.51.0
keep tabler-icons LICENSE
python3 "$root/tools/vendor_icons.py" "$work/package/icons" "$root/tools/icons.txt" > "$vendor/tabler-icons/sprite.svg"

unpack htmx.org 2.0.11
keep htmx dist/htmx.min.js LICENSE

unpack idiomorph 0.8.0
keep idiomorph dist/idiomorph-ext.min.js LICENSE

unpack markdown-it 15.0.3
keep markdown-it dist/browser/markdown-it.esm.min.mjs LICENSE

unpack dompurify 3.4.18
keep dompurify dist/purify.min.js LICENSE

unpack diff2html 3.4.56
keep diff2html bundles/js/diff2html.min.js bundles/css/diff2html.min.css LICENSE.md

unpack @highlightjs/cdn-assets 11.12.0
keep highlight.js es/highlight.min.js LICENSE

# Served as they are to browsers that take gzip: a phone loads a quarter.
find "$vendor" -type f -size +20k | sort | xargs gzip --keep --no-name --best

find "$vendor" -type f | sort | xargs ls -l
