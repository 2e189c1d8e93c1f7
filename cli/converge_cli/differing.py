"""Where a replay differs from what was recorded: the first difference, as data or line by line."""

from __future__ import annotations

import json
from difflib import ndiff

from converge_cli.output import emit, say
from converge_core import ReplayDifference


def print_difference(difference: ReplayDifference, as_json: bool) -> None:
    """Print the first difference: as JSON on stdout, or for people on stderr."""
    if as_json:
        named = {"sequence": difference.sequence, "recorded": difference.expected, "replayed": difference.found}
        emit({"run_id": difference.run_id, "equal": False} | named)
        return
    say(f"{difference.run_id}, entry {difference.sequence}: the replay differs (- recorded, + replayed)")
    for line in ndiff(_lines(difference.expected), _lines(difference.found)):
        if not line.startswith("?"):
            say(line)


def _lines(body: str) -> list[str]:
    """Return an entry as indented JSON; what is none stays one line."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False).splitlines()
    except ValueError:
        return [body]
