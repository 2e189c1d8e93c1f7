"""The context: append-only, typed, shared by reference.

Facts are kept in the order of promotion, in one list for each *selector* they answer to: their key, their payload
class, and the pair of both. Nothing is ever moved or removed, so a `Context` is not a copy but a cursor: it sees
the facts up to a Lamport time (``version``), and `Context.fresh` those after another. Handing one to a suggestor
costs the same for ten facts as for a hundred thousand, and what it sees does not change when the run goes on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import attrgetter
from typing import Generic, Self, TypeVar, cast, overload

from converge_core.context.admission import AdmissionReceipt, AdmissionRequest
from converge_core.context.allowance import NOTHING, UNLIMITED, Allowance, Usage
from converge_core.context.facts import AnyFact, AnyProposal, Fact, ProposedFact, fact_ref
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import FactPayload, TextPayload
from converge_core.context.subjects import SubjectRef
from converge_core.errors import AdmissionError, MisuseError
from converge_core.ledger.canonical import JsonValue, canonical

T = TypeVar("T", bound=FactPayload)
T_co = TypeVar("T_co", bound=FactPayload, covariant=True)
Selector = ContextKey | type[FactPayload] | tuple[ContextKey, type[FactPayload]]
"""What a suggestor may read by: a key, a payload class, or both."""

_promoted_at = attrgetter("promotion.lamport")


class FactView(Sequence[Fact[T_co]], Generic[T_co]):
    """An immutable sequence of facts in the order of promotion: a window on an append-only list."""

    __slots__ = ("_facts", "_start", "_stop")

    def __init__(self, facts: Sequence[Fact[T_co]], start: int, stop: int) -> None:
        self._facts, self._start, self._stop = facts, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __iter__(self) -> Iterator[Fact[T_co]]:
        return islice(self._facts, self._start, self._stop)

    @overload
    def __getitem__(self, index: int) -> Fact[T_co]: ...
    @overload
    def __getitem__(self, index: slice) -> FactView[T_co]: ...
    def __getitem__(self, index: int | slice) -> Fact[T_co] | FactView[T_co]:
        if isinstance(index, slice):
            part = list(self)[index]
            return FactView(part, 0, len(part))
        place = range(self._start, self._stop)[index]
        return self._facts[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # equal to a list, so no more hashable than one

    def __repr__(self) -> str:
        return f"FactView({[fact.ref for fact in self]})"


class Context:
    """A read-only view of the facts up to `version`, as one suggestor or invariant is given it."""

    __slots__ = ("_allowance", "_hand", "_log", "_notes", "_since", "version")

    def __init__(self, log: FactLog, version: int, since: int = 0, allowance: Allowance = UNLIMITED) -> None:
        self._log = log
        self._since = since
        self.version = version
        self._allowance = allowance
        self._hand: Allowance | None = None
        self._notes: tuple[Mapping[str, JsonValue], ...] = ()

    @property
    def allowance(self) -> Allowance:
        """This call's own hand on what the calls of its cycle may spend; made when it is first asked for."""
        if self._hand is None:
            self._hand = self._allowance.share()
        return self._hand

    @property
    def used(self) -> Usage:
        """What was settled or set aside through `allowance`."""
        return NOTHING if self._hand is None else self._hand.used

    def note(self, record: Mapping[str, JsonValue]) -> None:
        """Leave a record of how the call goes, such as which model was asked: it enters the ledger with the effect.

        It does so also when the call fails. What is to be judged, or read by others, is a proposal instead. Raises
        CanonicalError for what is not JSON.
        """
        canonical(record)
        self._notes += (record,)

    @property
    def notes(self) -> tuple[Mapping[str, JsonValue], ...]:
        """The records left so far."""
        return self._notes

    @overload
    def get(self, key: ContextKey) -> FactView[FactPayload]: ...
    @overload
    def get(self, key: type[T]) -> FactView[T]: ...
    @overload
    def get(self, key: ContextKey, payload: type[T]) -> FactView[T]: ...
    def get(self, key: ContextKey | type[T], payload: type[T] | None = None) -> FactView[FactPayload] | FactView[T]:
        """Return the facts of a key, of a payload class, or of both."""
        return self._window(key if payload is None else (cast("ContextKey", key), payload), 0)

    @overload
    def fresh(self, key: ContextKey) -> FactView[FactPayload]: ...
    @overload
    def fresh(self, key: type[T]) -> FactView[T]: ...
    @overload
    def fresh(self, key: ContextKey, payload: type[T]) -> FactView[T]: ...
    def fresh(self, key: ContextKey | type[T], payload: type[T] | None = None) -> FactView[FactPayload] | FactView[T]:
        """Return only what is new since the reader last ran (semi-naive evaluation)."""
        return self._window(key if payload is None else (cast("ContextKey", key), payload), self._since)

    def has(self, key: ContextKey | type[FactPayload]) -> bool:
        """Say whether there is at least one fact of a key or payload class."""
        facts = self._log.by_selector.get(key)
        return bool(facts) and facts[0].promotion.lamport <= self.version  # type: ignore[index]

    def count(self, key: ContextKey | type[FactPayload]) -> int:
        """Return how many facts there are of a key or payload class."""
        return len(self._window(key, 0))

    @overload
    def find(self, key: ContextKey, fact_id: str) -> AnyFact | None: ...
    @overload
    def find(self, key: ContextKey, fact_id: str, payload: type[T]) -> Fact[T] | None: ...
    def find(self, key: ContextKey, fact_id: str, payload: type[T] | None = None) -> AnyFact | Fact[T] | None:
        """Return the fact of a key and id, or None; where it was corrected, what supersedes it.

        With a payload class, None also for a fact of another class.
        """
        versions = self.history(key, fact_id)
        found = versions[-1] if versions else None
        return found if payload is None or (found is not None and type(found.payload) is payload) else None

    def history(self, key: ContextKey, fact_id: str) -> tuple[AnyFact, ...]:
        """Return a fact and its corrections, oldest first, whichever of them is named; nothing if there is none."""
        log, ref = self._log, fact_ref(key, fact_id)
        while ref in log.predecessor:
            ref = log.predecessor[ref]
        versions = []
        fact = log.by_ref.get(ref)
        while fact is not None and fact.lamport <= self.version:
            versions.append(fact)
            fact = log.by_ref.get(log.successor.get(fact.ref, ""))
        return tuple(versions)

    def resolve(self, ref: str) -> AnyFact | None:
        """Return the fact that a piece of evidence (``key/id``) names, or None."""
        fact = self._log.by_ref.get(ref)
        return fact if fact is not None and fact.lamport <= self.version else None

    def is_current(self, fact: AnyFact) -> bool:
        """Say whether nothing supersedes a fact."""
        return self._log.is_current(fact, self.version)

    def superseded(self) -> Iterator[tuple[AnyFact, AnyFact]]:
        """Yield each fact that another supersedes, with the one that does."""
        for old, by in self._log.successor.items():
            if (successor := self.resolve(by)) is not None:
                yield self._log.by_ref[old], successor

    def facts(self) -> FactView[FactPayload]:
        """Return all facts, in the order of promotion; those too that others supersede."""
        return FactView(self._log.all, 0, min(self.version, len(self._log.all)))

    def about(self, subject: SubjectRef) -> tuple[AnyFact, ...]:
        """Return the facts about a subject. This looks at every fact."""
        return tuple(fact for fact in self.facts() if fact.subject == subject)

    def _window(self, selector: Selector, since: int) -> FactView[T]:
        facts = cast("Sequence[Fact[T]]", self._log.by_selector.get(selector, ()))
        stop = len(facts)
        if stop and facts[-1].promotion.lamport > self.version:
            stop = bisect_right(facts, self.version, key=_promoted_at)
        start = bisect_right(facts, since, 0, stop, key=_promoted_at) if since else 0
        if self._log.successor:  # corrections are rare; only a run that has some pays for leaving the corrected out
            facts = [fact for fact in facts[start:stop] if self._log.is_current(fact, self.version)]
            start, stop = 0, len(facts)
        return FactView(facts, start, stop)


class FactLog:
    """The facts of a run and the lists they are found by. Only the machine and a restore append to it."""

    __slots__ = ("_lists", "all", "by_ref", "by_selector", "predecessor", "successor")

    def __init__(self) -> None:
        self.all: list[AnyFact] = []
        self.by_ref: dict[str, AnyFact] = {}
        self.by_selector: dict[Selector, list[AnyFact]] = {}
        self._lists: dict[Selector, tuple[list[AnyFact], ...]] = {}
        self.successor: dict[str, str] = {}
        self.predecessor: dict[str, str] = {}

    def is_current(self, fact: AnyFact, version: int) -> bool:
        """Say whether nothing supersedes a fact up to a Lamport time."""
        by = self.successor.get(fact.ref)
        return by is None or self.by_ref[by].lamport > version

    def append(self, fact: AnyFact) -> None:
        """Add the next fact: Lamport time ``len(self.all) + 1``, a reference not yet taken.

        One that supersedes another is seen in its place from then on; both stay where they are.
        """
        ref, old = fact_ref(fact.key, fact.id), fact.promotion.supersedes
        self.all.append(fact)
        self.by_ref[ref] = fact
        if old is not None:
            self.successor[old], self.predecessor[ref] = ref, old
        kind = (fact.key, type(fact.payload))
        lists = self._lists.get(kind)
        if lists is None:
            lists = tuple([self.by_selector.setdefault(selector, []) for selector in (*kind, kind)])
            self._lists[kind] = lists
        for facts in lists:
            facts.append(fact)


class ContextState(Context):
    """What a run starts from and what it leaves: facts, and inputs staged for the gates of the next run.

    Staging decides nothing; `Engine.run` takes a staged input through the same gates as any proposal. Raises
    MisuseError for facts that are not those of one run, from its first on.
    """

    __slots__ = ("_staged",)

    def __init__(self, facts: Iterable[AnyFact] = (), staged: Iterable[AnyProposal] = ()) -> None:
        log = FactLog()
        for place, fact in enumerate(facts, 1):
            if fact.lamport != place or fact.ref in log.by_ref:
                raise MisuseError(f"{fact.ref} does not stand at place {place} of a context: facts keep their order")
            old = fact.supersedes
            if old is not None and (old not in log.by_ref or old in log.successor):
                raise MisuseError(f"{fact.ref} cannot supersede {old}, which is no current fact")
            log.append(fact)
        super().__init__(log, len(log.all))
        self._staged = list(staged)

    @classmethod
    def of(cls, log: FactLog, staged: Iterable[AnyProposal] = ()) -> Self:
        """Return the state that a machine's log is in now, without copying it."""
        state = cls.__new__(cls)
        Context.__init__(state, log, len(log.all))
        state._staged = list(staged)
        return state

    def add_input(self, key: ContextKey, id: str, text: str, provenance: str = "context-input") -> Self:
        """Stage a text."""
        return self.add_proposal(ProposedFact(key, id, TextPayload(text=text), provenance=provenance))

    def add_proposal(self, proposal: AnyProposal) -> Self:
        """Stage a proposal. One without provenance gets ``context-input``."""
        self._staged.append(proposal)
        return self

    def submit_observation(self, request: AdmissionRequest) -> AdmissionReceipt:
        """Stage an observation from outside, and return the receipt of its admission.

        The same observation is staged once. Raises AdmissionError where another content is staged under its id.
        """
        proposal = request.proposal()
        for known in self._staged:
            if (known.key, known.id) == (proposal.key, proposal.id):
                if (known.payload, known.subject) != (proposal.payload, proposal.subject):
                    raise AdmissionError(f"other content is staged under {fact_ref(proposal.key, proposal.id)}")
                return request.receipt(staged=False)
        self._staged.append(proposal)
        return request.receipt()

    def proposals(self, key: ContextKey) -> tuple[AnyProposal, ...]:
        """Return the staged proposals of a key."""
        return tuple(proposal for proposal in self._staged if proposal.key == key)

    @property
    def staged(self) -> tuple[AnyProposal, ...]:
        """All staged proposals, in the order in which they were staged."""
        return tuple(self._staged)
