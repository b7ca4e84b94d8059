#!/bin/sh
# Install the pinned real agents into .peers/ (about 1 GB), where git does not look.
# Runs again only when the lock file has changed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target="$here/../../.peers"
mkdir -p "$target"
if cmp -s "$here/package-lock.json" "$target/installed-lock.json" && [ -x "$target/node_modules/.bin/opencode" ]; then
    exit 0
fi
cp "$here/package.json" "$here/package-lock.json" "$target/"
# Not "npm ci": it wants the binaries of every platform in the lock file, and a registry need not have them all.
# Versions and digests are the lock file's all the same.
(cd "$target" && npm install --no-audit --no-fund --ignore-scripts --loglevel=error)
(cd "$target/node_modules/opencode-ai" && node ./postinstall.mjs) # puts its binary in place
cp "$here/package-lock.json" "$target/installed-lock.json"
