"""What the client costs each CI job: seconds to install the wheel, megabytes on disk.

    python bench/client_install.py [--json FILE]

Builds the wheel of this checkout, installs it with what it needs into a new virtual environment,
and compares with the same environment before. The package index's own speed is part of the time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def megabytes(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", name, str(ROOT)], check=True)
        wheel = next(folder.glob("*.whl"))
        environment = folder / "environment"
        venv.create(environment, with_pip=True)
        before = megabytes(environment)
        python = environment / "bin" / "python"
        begin = time.perf_counter()
        command = [str(python), "-m", "pip", "install", "--quiet", str(wheel)]
        subprocess.run([*command, "--disable-pip-version-check"], check=True)
        seconds = time.perf_counter() - begin
        figures = {
            "wheel_megabytes": round(wheel.stat().st_size / 1e6, 2),
            "installed_megabytes": round(megabytes(environment) - before, 1),
            "install_seconds": round(seconds, 1),
        }
    for label, value in figures.items():
        print(f"{label:<22} {value}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
