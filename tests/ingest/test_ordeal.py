"""Killed at random moments under load: what was acknowledged is in the lake exactly once."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COUNTS = re.compile(
    r"([\d,]+) acknowledged, ([\d,]+) in the lake, (\d+) lost, (\d+) doubled, (\d+) out of order"
)


@pytest.mark.parametrize(
    "options",
    [
        ["--rounds", "4", "--seed", "2"],
        ["--rounds", "2", "--seed", "3", "--level", "power"],
        ["--rounds", "4", "--seed", "6", "--nats"],
    ],
    ids=["spool", "spool-power", "nats"],
)
def test_nothing_is_lost_or_doubled(tmp_path: Path, options: list[str]) -> None:
    if "--nats" in options and shutil.which("nats-server") is None:
        pytest.skip("nats-server is not installed: killing a broker is not tested here")
    command = [sys.executable, "-m", "bench.ordeal", "--folder", str(tmp_path), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    found = COUNTS.search(done.stdout)
    assert found, done.stdout + done.stderr
    acknowledged, held, *faults = (int(group.replace(",", "")) for group in found.groups())
    assert (faults, done.returncode) == ([0, 0, 0], 0), done.stdout
    assert 0 < acknowledged <= held
