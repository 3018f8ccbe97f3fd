#!/usr/bin/env bash
# Makes sure that programs can be run in a sandbox: bubblewrap, and a Python under /usr for those in Python.
set -euo pipefail
cd "$(dirname "$0")"
./install-package.sh bwrap bubblewrap
if [ ! -x /usr/bin/python3 ]; then ./install-package.sh /usr/bin/python3 python3-minimal; fi
