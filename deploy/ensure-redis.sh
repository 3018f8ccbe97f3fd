#!/usr/bin/env bash
# Makes sure that a redis-server can be started: tests and `make cluster` start their own, on a free port of loopback.
# Installs Debian's package where none is found and it may (root, apt-get); says so and goes on where it may not.
set -euo pipefail

if command -v redis-server >/dev/null; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "redis-server: not found, and it cannot be installed here (that needs root and apt-get)." >&2
  echo "Install it by hand (Debian: apt-get install redis-server); tests that need it skip and say so." >&2
  exit 0
fi
echo "redis-server: not found; installing Debian's package"
# The package would start a server of its own on the default port; nobody asked for that.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends redis-server >/dev/null
redis-server --version
