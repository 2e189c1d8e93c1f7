"""Errors. The type says whose fault it is, and carries data, not only text.

Every error is made from its data alone, positionally, so that every error pickles; ``str()`` writes
the sentence. A *stop* of a run (budget, conflict, violated invariant) is not an error: it is a result.
"""

from __future__ import annotations

from typing import NamedTuple


class ConvergeError(Exception):
    """The root of everything Converge raises on purpose."""


class MisuseError(ConvergeError):
    """The caller broke the contract of the API; a program to mend, not an input to handle."""


class AdmissionError(ConvergeError):
    """An observation from outside cannot be admitted."""


class AuthorityError(ConvergeError):
    """Somebody tried to do what only another may: forge a fact, decide without a grant."""


class CanonicalError(ConvergeError, ValueError):
    """A value has no canonical JSON form (RFC 8785): NaN, an unpaired surrogate, a foreign type."""


class PayloadError(ConvergeError, ValueError):
    """A payload cannot be encoded, decoded or brought up to its current version."""

    def __init__(self, family: str, version: int, reason: str) -> None:
        super().__init__(family, version, reason)
        self.family, self.version, self.reason = family, version, reason

    def __str__(self) -> str:
        return f"payload {self.family} v{self.version}: {self.reason}"


class SnapshotError(ConvergeError, ValueError):
    """A stored context is not what its hashes say it is."""


class Problem(NamedTuple):
    """One fault of an intent, with its place. Lines and columns count from 1; 0 means unknown."""

    path: str
    message: str
    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return ": ".join(part for part in (place, self.path, self.message) if part)


class IntentError(ConvergeError):
    """An intent, or a file it names, is not valid: every fault that was found, each located."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class PluginError(ConvergeError):
    """A plugin broke the plugin contract."""

    def __init__(self, plugin: str, reason: str) -> None:
        super().__init__(plugin, reason)
        self.plugin, self.reason = plugin, reason

    def __str__(self) -> str:
        return f"plugin {self.plugin!r}: {self.reason}"


class SuggestorError(ConvergeError):
    """A suggestor failed; ``kind`` is the reason code that the ledger shows."""

    def __init__(self, suggestor: str, kind: str, reason: str) -> None:
        super().__init__(suggestor, kind, reason)
        self.suggestor, self.kind, self.reason = suggestor, kind, reason

    def __str__(self) -> str:
        return f"suggestor {self.suggestor!r} failed ({self.kind}): {self.reason}"


class LedgerError(ConvergeError):
    """The ledger cannot do what was asked."""


class UnknownRun(LedgerError):
    """No run of that name is in the ledger."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"no run {self.run_id!r} in this ledger"


class LedgerConflict(LedgerError):
    """Somebody else appended first: the fence held. Reload and try again."""

    def __init__(self, run_id: str, expected_size: int, found_size: int) -> None:
        super().__init__(run_id, expected_size, found_size)
        self.run_id, self.expected_size, self.found_size = run_id, expected_size, found_size

    def __str__(self) -> str:
        return (
            f"run {self.run_id!r} has {self.found_size} entries where {self.expected_size} were expected: "
            "another process is driving it"
        )


class LedgerCorrupt(LedgerError):
    """The ledger is not what was written. ``sequence`` counts entries from 0."""

    def __init__(self, run_id: str, sequence: int, expected: str, found: str) -> None:
        super().__init__(run_id, sequence, expected, found)
        self.run_id, self.sequence, self.expected, self.found = run_id, sequence, expected, found

    def __str__(self) -> str:
        return f"run {self.run_id!r}, entry {self.sequence}: expected {self.expected}, found {self.found}"


class ProofRefused(ConvergeError):
    """A proof, a head or a signature does not show what it was given to show; the message says why."""


class ReplayDifference(ConvergeError):
    """A replay derived something else than the ledger holds; this is the first difference."""

    def __init__(self, run_id: str, sequence: int, expected: str, found: str) -> None:
        super().__init__(run_id, sequence, expected, found)
        self.run_id, self.sequence, self.expected, self.found = run_id, sequence, expected, found

    def __str__(self) -> str:
        return (
            f"run {self.run_id!r}, entry {self.sequence}: the replay differs\n"
            f"  recorded  {self.expected}\n  replayed  {self.found}"
        )
