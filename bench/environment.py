"""The environment of the peers: made once, used by nothing else, and made anew when the pins change."""

from __future__ import annotations

import subprocess
import sys
import venv
from hashlib import sha256
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "peers" / "requirements.txt"
FOLDER = Path(__file__).parent / ".peers"


def peers_python() -> Path:
    """Return the python of the peers, with all of them that can be installed; the others' rows will say it."""
    python = FOLDER / "bin" / "python"
    stamp, digest = FOLDER / "requirements.sha256", sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return python
    print(f"installing the peers into {FOLDER}", file=sys.stderr)
    venv.create(FOLDER, clear=True, with_pip=True)
    pins = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    if _installed(python, pins):
        stamp.write_text(digest)
        return python
    for pin in pins:  # one after the other, so that one alone is missing; the next run tries again
        if not _installed(python, [pin]):
            print(f"could not install {pin}", file=sys.stderr)
    return python


def _installed(python: Path, pins: list[str]) -> bool:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pins]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
