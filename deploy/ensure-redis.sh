#!/usr/bin/env bash
# Makes sure that a redis-server can be started: tests and `make cluster` start their own, on a free port of loopback.
exec "$(dirname "$0")/install-package.sh" redis-server redis-server
