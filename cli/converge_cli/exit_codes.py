"""Exit codes: what a shell learns from a command."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of ``converge``, each with its meaning."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitCode:
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    CONVERGED = 0, "done; for a run: converged"
    ERROR = 1, "error"
    USAGE = 2, "wrong usage"
    INVALID_INTENT = 3, "the intent, or a file it names, is invalid; nothing was written"
    VIOLATED = 4, "an invariant is violated, or proposals conflict"
    BUDGET = 5, "a budget is exhausted"
    WAITING = 6, "waiting for a human"
    CORRUPT = 7, "the ledger is corrupt, a replay differs, or a proof does not hold"
    UNMET = 8, "converged, but a required success criterion is not met"
    FAILED = 9, "a suggestor failed"
    INTERRUPTED = 130, "interrupted"


def listing() -> str:
    """Return the exit codes as the paragraph that ``--help`` ends with."""
    lines = (f"  {code.value:<5}{code.meaning}" for code in ExitCode)
    return "\n".join(("\b", "Exit codes:", *lines))
