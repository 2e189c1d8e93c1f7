"""What the intent runs: a look at the log of the queue."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOG = Path(__file__).parent / "queue.csv"


def queue_log(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hours of the log in which more jobs came than were done, and how many wait at the end."""
    with LOG.open(encoding="utf-8", newline="") as file:
        hours = [{name: int(number) for name, number in row.items()} for row in csv.DictReader(file)]
    return {
        "waiting": sum(hour["came"] - hour["done"] for hour in hours),
        "too_many_at": [hour["hour"] for hour in hours if hour["came"] > hour["done"]],
    }
