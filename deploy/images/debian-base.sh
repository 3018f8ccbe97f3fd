#!/bin/sh
# Makes the base image of deploy/Dockerfile from Debian's packages, for machines that reach a Debian mirror but no
# image registry. Needs root, debootstrap and a container engine that answers.
#
#   deploy/images/debian-base.sh [TAG]     (default debian:bookworm-slim, the Dockerfile's own default)
#
# SUITE (default bookworm) and MIRROR (default: this system's own) may be set in the environment. An image that
# already has the tag is left alone.
set -eu

tag=${1:-debian:bookworm-slim}
suite=${SUITE:-bookworm}
docker=${DOCKER:-docker}

fail() {
  echo "debian-base: $1" >&2
  exit 1
}

command -v debootstrap >/dev/null || fail "expected debootstrap, found none: apt-get install debootstrap"
[ "$(id -u)" = 0 ] || fail "expected to run as root, found user $(id -un)"
"$docker" info >/dev/null 2>&1 || fail "expected a container engine, found none that answers: $docker info"

if "$docker" image inspect "$tag" >/dev/null 2>&1; then
  echo "debian-base: $tag is already there"
  exit 0
fi

mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' "Codename: $suite" 2>/dev/null | head -n 1)}
root=$(mktemp -d "${TMPDIR:-/var/tmp}/debian-base.XXXXXX")
trap 'rm -rf "$root"' EXIT INT TERM

echo "debian-base: building $suite from ${mirror:-the default mirror}"
# shellcheck disable=SC2086 # An empty mirror must vanish, not become an empty argument.
debootstrap --variant=minbase "$suite" "$root" $mirror >"$root.log" 2>&1 || {
  tail -n 20 "$root.log" >&2
  rm -f "$root.log"
  fail "debootstrap failed; its last lines stand above"
}
rm -rf "$root.log" "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* \
  "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/* "$root"/debootstrap
tar -C "$root" --numeric-owner -c . | "$docker" import --change 'CMD ["bash"]' - "$tag" >/dev/null
echo "debian-base: $tag is made ($("$docker" image inspect --format '{{.Size}}' "$tag") bytes)"
