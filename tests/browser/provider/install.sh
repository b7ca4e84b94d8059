#!/bin/sh
# Install the pinned identity provider into .provider/, where git does not look. Runs again only when the lock has changed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target="$here/../../../.provider"
mkdir -p "$target"
if cmp -s "$here/package-lock.json" "$target/installed-lock.json" && [ -d "$target/node_modules/oidc-provider" ]; then
    exit 0
fi
cp "$here/package.json" "$here/package-lock.json" "$target/"
(cd "$target" && npm install --no-audit --no-fund --ignore-scripts --loglevel=error)
cp "$here/package-lock.json" "$target/installed-lock.json"
