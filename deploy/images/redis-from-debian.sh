#!/bin/sh
# Makes a stand-in for the tests' Redis image from this machine's own redis-server, for where no registry can be
# reached: the server, the libraries that ldd names, and a static busybox as the shell. About 20 MB.
# Needs redis-server, a static busybox (Debian: busybox-static) and a container engine that answers as `docker`.
# Usage: redis-from-debian.sh [tag]     the default is the tag that test/support/redis.ts uses
set -eu

folder=$(cd "$(dirname "$0")" && pwd)
tag=${1:-$(sed -n 's/^export const REDIS_IMAGE = "\(.*\)";$/\1/p' "$folder/../../test/support/redis.ts")}
[ -n "$tag" ] || { echo "expected a tag, or REDIS_IMAGE in test/support/redis.ts; found neither" >&2; exit 2; }

for program in redis-server busybox docker; do
  command -v "$program" >/dev/null || { echo "expected $program on PATH, found none" >&2; exit 1; }
done
server=$(readlink -f "$(command -v redis-server)")
shell=$(readlink -f "$(command -v busybox)")
if ldd "$shell" >/dev/null 2>&1; then
  echo "expected a static busybox, found a dynamic one at $shell (Debian: apt-get install busybox-static)" >&2
  exit 1
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/bin" "$root/usr/bin" "$root/usr/local/bin" "$root/etc" "$root/tmp" "$root/data"
chmod 1777 "$root/tmp" "$root/data"
programs=$server
cp "$server" "$root/usr/local/bin/redis-server"
if client=$(command -v redis-cli); then # for compose's health check
  client=$(readlink -f "$client")
  cp "$client" "$root/usr/local/bin/redis-cli"
  programs="$programs $client"
fi
cp "$shell" "$root/bin/busybox"
for applet in sh cat ls nc printf sleep env; do ln -s busybox "$root/bin/$applet"; done
# shellcheck disable=SC2086  # a list of paths without spaces
for program in $programs; do ldd "$program"; done | grep -o '/[^ ]*' | sort -u | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done
printf 'root:x:0:0:root:/:/bin/sh\n' >"$root/etc/passwd"

tar -C "$root" -c . | docker import \
  --change 'WORKDIR /data' --change 'EXPOSE 6379' --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' \
  --change 'CMD ["redis-server", "--protected-mode", "no"]' - "$tag" >/dev/null
echo "$tag: made from redis-server $(redis-server --version | sed 's/.* v=\([^ ]*\).*/\1/')"
