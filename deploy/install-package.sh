#!/usr/bin/env bash
# Installs Debian's package where its program is not found and it may be (root, apt-get); says so and goes on where not.
# Usage: install-package.sh PROGRAM PACKAGE
set -euo pipefail
program=$1 package=$2

if command -v "$program" >/dev/null; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "$program: not found, and it cannot be installed here (that needs root and apt-get)." >&2
  echo "Install it by hand (Debian: apt-get install $package); tests that need it skip and say so." >&2
  exit 0
fi
echo "$program: not found; installing Debian's package $package"
# A package may start a server of its own on the default port; nobody asked for that.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$package" >/dev/null
"$program" --version
