"""The sockets of the core: what it needs from the world, and never does itself.

Each port is small, has a real adapter in `converge_adapters` and a hand-written fake in the tests; third parties prove
theirs with the conformance suites of `converge_adapters.testing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from converge_core.suggestors.catalog import Port

if TYPE_CHECKING:  # a socket is only written down: whoever plugs in brings what it speaks of
    from converge_core.engine.calls import Call, Outcome
    from converge_core.evals import Eval
    from converge_core.experience.query import ExperienceQuery
    from converge_core.experience.records import ExperienceRecord
    from converge_core.gates.hitl import GateDecision, GateRequest
    from converge_core.intent.sections import EvalSection
    from converge_core.ledger.events import Entry
    from converge_core.ledger.merkle import Head
    from converge_core.llm.blobs import Blobs
    from converge_core.llm.capacity import Capacity, Quotas
    from converge_core.llm.chat import Line
    from converge_core.llm.models import Models
    from converge_core.llm.router import Watcher
    from converge_core.recall.answers import RecallAnswer
    from converge_core.recall.payloads import ReplayabilityDowngradeReason
    from converge_core.recall.policy import RecallBudgets, RecallQuery


class Executor(Protocol):
    """Performs the calls of a cycle, in any order, as concurrently as it likes."""

    async def execute(self, calls: Sequence[Call]) -> Sequence[Outcome]:
        """Return one outcome for each call. Raises nothing but what cancels it from outside."""
        ...


class Approver(Protocol):
    """Asks people. May answer some of the requests, all, or none: then the run pauses."""

    async def decide(self, requests: Sequence[GateRequest]) -> Sequence[GateDecision]:
        """Return the decisions that have been made."""
        ...


class Observer(Protocol):
    """Is told what has been recorded, after it is durable."""

    def recorded(self, run_id: str, entries: Sequence[Entry]) -> None:
        """See the entries that were just appended."""
        ...


class Command(Protocol):
    """A command of ``converge`` that a plugin adds: a click command, as seen from here."""

    name: str | None


FILES: Port[Callable[[str], str]] = Port("files")
"""Reads a text file, given relative to the folder of the intent. Raises LookupError where there is none to read."""

SOURCE_DIGEST: Port[Callable[[str], str]] = Port("source-digest")
"""Returns the SHA-256 (hex) of the source of the module that ``module:callable`` names. Raises LookupError."""

EVALS: Port[Callable[[EvalSection], Eval]] = Port("evals")
"""Makes an eval that a plugin offers. Raises IntentError, whose paths begin inside the section."""

CAPACITY: Port[Capacity] = Port("capacity")
"""Who is asked for leave before a provider of models is asked, and told how it went: one for the whole process."""

QUOTAS: Port[Quotas] = Port("quotas")
"""Who counts what users do that has a quota: for all processes of a home."""

MODELS: Port[Models] = Port("models")
"""The models that the intent declares."""

BLOBS: Port[Blobs] = Port("blobs")
"""What is beside the ledger: full exchanges with models."""

WATCHER: Port[Watcher] = Port("watcher")
"""Who is told which model is asked right now."""

LINE: Port[Line] = Port("line")
"""The line to whoever asked something and waits for the answer."""

Clock = Callable[[], int]
"""Returns the working time of the run so far, in milliseconds, never decreasing."""

CLOCK: Port[Clock] = Port("clock")
"""Milliseconds since whenever, never decreasing, to measure with: it is no time of day."""

TIME_OF_DAY: Port[Callable[[], int]] = Port("time-of-day")
"""Returns the time of day: milliseconds since 1970, in UTC. Whoever reads it is not deterministic, and says so."""

RUN_ID: Port[str] = Port("run-id")
"""The run that is driven. It is offered when the run begins: ask for it in a call, not when something is made."""


class StoredEntry(NamedTuple):
    """An entry as the store holds it: ``leaf`` is what was stored, to be checked against ``body``.

    ``root`` is the log's root after this entry where an append ended with it; ``recorded_at`` is UTC, ISO 8601.
    """

    sequence: int
    kind: str
    body: str
    leaf: bytes
    root: bytes | None
    recorded_at: str


class RunInfo(NamedTuple):
    """What a store tells about a run without reading it: its size, and its first and last entries."""

    run_id: str
    size: int
    created_at: str
    updated_at: str
    first: StoredEntry | None
    last: StoredEntry | None


class Ledger(Protocol):
    """An append-only store of runs, each one RFC 6962 Merkle log of entries."""

    async def create_run(self, run_id: str) -> None:
        """Begin an empty run. Raises LedgerConflict when the run exists."""
        ...

    async def append(self, run_id: str, expected_size: int, entries: Sequence[Entry]) -> Head:
        """Append all entries or none, and return the new head, once they are durable.

        Raises LedgerConflict when the run has not ``expected_size`` entries: somebody else appended first.
        Raises UnknownRun.
        """
        ...

    async def read(self, run_id: str, start: int = 0) -> Sequence[StoredEntry]:
        """Return the entries from ``start`` on, as they are stored, unchecked. Raises UnknownRun."""
        ...

    async def runs(self) -> Sequence[RunInfo]:
        """Return all runs, oldest first."""
        ...

    async def head(self, run_id: str) -> Head:
        """Return size and root of a run's log, computed from its leaves. Raises UnknownRun."""
        ...

    async def record_effect(self, run_id: str, cycle: int, suggestor: str, body: str) -> None:
        """Keep the outcome of a finished call durably before its cycle is merged (the effect journal)."""
        ...

    async def recorded_effects(self, run_id: str, cycle: int) -> Mapping[str, str]:
        """Return the journaled outcomes of a cycle by suggestor."""
        ...

    async def close(self) -> None:
        """Release what the store holds."""
        ...


class ExperienceStore(Protocol):
    """Answers questions about past runs. It is read-only: what happened is written in ledgers, and nowhere else."""

    async def query(self, query: ExperienceQuery) -> Sequence[ExperienceRecord]:
        """Return the records that a query asks for, oldest first; where there is a limit, the newest ones.

        Raises UnknownRun for a run that is not there, LedgerCorrupt for a record that is not what was written.
        """
        ...


class Recall(Protocol):
    """Finds what past runs of one tenant (None: runs of none) have to say, by the words of a query."""

    @property
    def tenant(self) -> str | None:
        """Whose past it is; a query for another's is refused."""
        ...

    @property
    def downgrades(self) -> tuple[ReplayabilityDowngradeReason, ...]:
        """Why the same search may one day give another answer; nothing where it may not."""
        ...

    async def refresh(self) -> None:
        """Bring the corpus up to date. Raises LedgerError and its subclasses."""
        ...

    async def search(self, query: RecallQuery, budgets: RecallBudgets) -> RecallAnswer:
        """Return what was found, best first, whether or not it may be used. Raises AuthorityError."""
        ...

    def within(self, heads: Mapping[str, Head]) -> Recall:
        """Return the same recall over these runs alone, each as it was at its head."""
        ...


RECALL: Port[Recall] = Port("recall")
"""The past of the tenant whose run it is."""


class Embedder(Protocol):
    """Turns words into vectors, of one length and comparable by their angle."""

    @property
    def id(self) -> str:
        """Which model it is."""
        ...

    @property
    def settings_hash(self) -> str:
        """A hash of whatever else its vectors depend on."""
        ...

    @property
    def is_deterministic(self) -> bool:
        """Whether the same words get the same vector, always and everywhere."""
        ...

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return a vector for each text, in their order."""
        ...
