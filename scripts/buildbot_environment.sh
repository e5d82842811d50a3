#!/usr/bin/env bash
# Make the environment in which a real Buildbot lies (tests/ci/test_ci_buildbot.py): DIR, else
# .cache/buildbot. It is apart from ours, since Buildbot brings Twisted and much else.
set -euo pipefail
directory=${1:-"$(dirname "${BASH_SOURCE[0]}")/../.cache/buildbot"}
python=${PYTHON:-python3}
if [[ -x $directory/bin/buildbot-worker && -f $directory/.complete ]]; then
  exit 0
fi
rm -rf "$directory"
"$python" -m venv "$directory"
"$directory/bin/python" -m pip install --quiet --disable-pip-version-check \
  "buildbot>=4.2,<5" "buildbot-worker>=4.2,<5" "buildbot-www>=4.2,<5"
touch "$directory/.complete"
