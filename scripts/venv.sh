#!/usr/bin/env bash
# Make a virtual environment with the first Python that is new enough; $PYTHON goes before all others.
set -euo pipefail

place=${1:?usage: venv.sh DIRECTORY}
wanted='import sys; sys.exit(sys.version_info < (3, 11))'

for python in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11; do
  if "$python" -c "$wanted" >/dev/null 2>&1; then
    if "$python" -m venv "$place"; then
      exit 0
    fi
    rm -rf "$place"
    echo "$python cannot make a virtual environment: install its venv module" \
      "(Debian, Ubuntu: apt-get install python3-venv)." >&2
    exit 1
  fi
done

echo "foretest needs Python 3.11 or newer, and none was found; python3 is" \
  "$(python3 --version 2>/dev/null || echo 'not installed')." >&2
echo "Install one, or name it: make PYTHON=/path/to/python3.11 venv" >&2
exit 1
