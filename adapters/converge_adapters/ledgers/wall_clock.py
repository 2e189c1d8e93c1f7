"""Wall-clock time as the stores write it beside the entries. It is no part of what a run says, or of any hash."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Now = Callable[[], datetime]
"""Returns the present moment, aware of its time zone."""


def utc_now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)


def timestamp(moment: datetime) -> str:
    """``2026-10-31T23:59:59.999Z``: ISO 8601, UTC, milliseconds, so that texts sort as moments do."""
    return f"{moment.astimezone(UTC).isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"
