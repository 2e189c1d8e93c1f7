"""Recall by words: which memories have the words of a query, and how rare those are.

The score of a memory is the share of the query that it has, its words weighed by their rarity:

    score = sum(weight of the query's words that it has) / sum(weight of all the query's words)
    weight = ln(1 + (N - n + 0.5) / (n + 0.5)),  n of the N memories having the word, at least 1

So 1.0 is a memory with every word, whatever else it says, and a word that nobody has ever used weighs as much as one
that was used once: it was asked for, and is missing. Words are those of FTS5, without accents and English endings. Of
memories with equal scores the one with the greater BM25 comes first, and then the newer one.

A run's past is all runs of its tenant that have stopped; it is brought up to date before a search, and a run is read
only if its head is not the one in the index. A run that goes on again is no past until it stops.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from unicodedata import normalize

from converge_adapters.recall.index import RecallIndex
from converge_core.errors import AuthorityError, MisuseError
from converge_core.experience.query import TENANT
from converge_core.experience.records import RunExperience, labels_of
from converge_core.ledger.events import RunStopped
from converge_core.ledger.hashes import MerkleRoot
from converge_core.ledger.merkle import Head
from converge_core.ledger.verify import verify
from converge_core.ports import Ledger, RunInfo, StoredEntry
from converge_core.recall.answers import RecallAnswer, RecallCandidate, fingerprint_of, ranked
from converge_core.recall.memories import Memory, memories_of
from converge_core.recall.payloads import ReplayabilityDowngradeReason
from converge_core.recall.policy import RecallBudgets, RecallQuery

MAX_WORDS = 64
"""Different words of a query that are looked up: its first ones."""
MOST = 100
"""Candidates that an answer has."""
DIGITS = 6
"""Decimal places of a score: what a logarithm has beyond them differs from machine to machine."""

_WORD = re.compile(r"[^\W_](?:[^\W_]|[\u0300-\u036f])*")
"""A letter or digit and those that follow, with their accents; what FTS5 cuts in two it looks for in a row."""
_Indexed = tuple[str, str, list[Memory]]


class LexicalRecall:
    """Implements the port `Recall` over a ledger, which is opened for each refresh and closed after it.

    ``index`` is where the index file is; without one it is kept in memory. With ``heads`` the past is these runs alone,
    each as it was at its head, and the same search gives the same answer for ever.
    """

    def __init__(
        self,
        open_ledger: Callable[[], Ledger],
        index: Path | None = None,
        tenant: str | None = None,
        heads: Mapping[str, Head] | None = None,
    ) -> None:
        self._open_ledger, self._tenant, self._heads = open_ledger, tenant, heads
        self._index = RecallIndex(index, tenant)

    @property
    def tenant(self) -> str | None:
        return self._tenant

    @property
    def downgrades(self) -> tuple[ReplayabilityDowngradeReason, ...]:
        return () if self._heads is not None else (ReplayabilityDowngradeReason.RECALL_CORPUS_NOT_PINNED,)

    def within(self, heads: Mapping[str, Head]) -> LexicalRecall:
        return LexicalRecall(self._open_ledger, None, self._tenant, heads)

    async def refresh(self) -> None:
        """Read what the index does not have. Raises LedgerCorrupt.

        Of ``heads``, raises UnknownRun, AuthorityError for another tenant's run, and MisuseError for one at a head at
        which it had not stopped.
        """
        ledger = self._open_ledger()
        try:
            known = self._index.runs()
            if self._heads is not None:
                past = {run_id: await self._pinned(ledger, run_id, head) for run_id, head in self._heads.items()}
                self._index.replace(known, past)
                return
            infos = [info for info in await ledger.runs() if self._is_past(info)]
            fresh = [info for info in infos if known.get(info.run_id) != (str(_head(info)), info.updated_at)]
            added = {info.run_id: _indexed(info.run_id, await ledger.read(info.run_id)) for info in fresh}
            gone = known.keys() - {info.run_id for info in infos}
            if gone or added:
                self._index.replace(gone, added)
        finally:
            await ledger.close()

    async def search(self, query: RecallQuery, budgets: RecallBudgets) -> RecallAnswer:
        query.require(self._tenant)
        words = list(dict.fromkeys(_WORD.findall(normalize("NFC", query.text).lower())))[:MAX_WORDS]
        with self._index.reading():
            corpus = fingerprint_of((run_id, *told) for run_id, told in self._index.runs().items())
            return RecallAnswer(self._found(words), self._index.size(), corpus)

    def _found(self, words: list[str]) -> tuple[RecallCandidate, ...]:
        total = self._index.size()
        having = {word: self._index.having(word) for word in words}
        weights = {word: _weight(len(found), total) for word, found in having.items()}
        whole = math.fsum(weights.values())
        best = []
        for number, raw in self._index.scores(words).items():
            share = math.fsum(weight for word, weight in weights.items() if number in having[word]) / whole
            best.append((round(min(share, 1.0), DIGITS), round(raw, DIGITS), number))
        best.sort(reverse=True)
        least = best[:MOST][-1][:2] if best else (0.0, 0.0)  # all that are as good as the last one may be newer
        found = (RecallCandidate(self._index.memory(n), raw, score) for score, raw, n in best if (score, raw) >= least)
        return ranked(found)[:MOST]

    def _is_past(self, info: RunInfo) -> bool:
        if info.first is None or info.last is None or info.last.kind != RunStopped.kind:
            return False
        return labels_of(info.run_id, info.first).get(TENANT) == self._tenant

    async def _pinned(self, ledger: Ledger, run_id: str, head: Head) -> _Indexed:
        stored = await ledger.read(run_id)
        verify(run_id, stored, head)
        if labels_of(run_id, stored[0]).get(TENANT) != self._tenant:
            raise AuthorityError(f"run {run_id!r} is another tenant's, and not to be recalled here")
        then = stored[: head.size]
        if not then or then[-1].kind != RunStopped.kind:
            raise MisuseError(f"run {run_id!r} had not stopped at {head}: only what is over is recalled")
        return _memorised(run_id, then, head)


def _indexed(run_id: str, stored: Sequence[StoredEntry]) -> _Indexed:
    """Return what the index keeps of a run. Raises LedgerCorrupt."""
    return _memorised(run_id, stored, verify(run_id, stored))


def _memorised(run_id: str, stored: Sequence[StoredEntry], head: Head) -> _Indexed:
    return str(head), stored[-1].recorded_at, list(memories_of(RunExperience(run_id, stored), head))


def _head(info: RunInfo) -> Head | None:
    """Return the head that a store tells of a run without reading it."""
    return None if info.last is None or info.last.root is None else Head(info.size, MerkleRoot(info.last.root))


def _weight(count: int, total: int) -> float:
    """Return how much a word tells that so many of all memories have (the IDF of BM25, never negative)."""
    rare = max(count, 1)
    return math.log1p((max(total, rare) - rare + 0.5) / (rare + 0.5))


def index_path(ledger: Path, tenant: str | None) -> Path:
    """Return where the index of a tenant is: beside the ledger, under a name that does not tell whose it is."""
    mark = "" if tenant is None else f"-{sha256(tenant.encode()).hexdigest()[:16]}"
    return ledger.with_name(f"{ledger.name}.recall{mark}")
