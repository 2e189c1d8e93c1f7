"""What a run is set up with: who may suggest, what must hold, and under which limits.

A `Setup` is fixed when a run begins; the first entry of the run's ledger tells all of it. Runs of one engine that
differ in nothing but their id share theirs, and with it the text of that entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, cast

from converge_core.context.authority import AuthorityLevel
from converge_core.context.facts import ActorKind
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import PayloadRegistry
from converge_core.engine.index import DependencyIndex
from converge_core.formations.kinds import Formation
from converge_core.gates.budgets import Budget
from converge_core.gates.flow import FlowGateAuthorizer, FlowGatePrincipal
from converge_core.gates.hitl import HitlPolicy
from converge_core.gates.promotion import PromotionGate
from converge_core.intent.criteria import Criterion, CriterionEvaluator
from converge_core.intent.root import RootIntent
from converge_core.invariants import Invariant, InvariantClass
from converge_core.ledger import events
from converge_core.ledger.canonical import JsonValue, canonical, parse
from converge_core.ledger.hashes import ContentHash
from converge_core.llm.profiles import ProviderProfile
from converge_core.suggestors.contract import Suggestor

if TYPE_CHECKING:
    from converge_core.context.tensions import TensionDetector


class ConflictPolicy(StrEnum):
    """What happens when a proposal contradicts a fact: the run stops, or the proposal is turned away."""

    STOP = "stop"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Registration:
    """A registered suggestor, its name as it was then, and its line in the ledger."""

    suggestor: Suggestor
    name: str
    pack: str | None
    text: str
    writes: frozenset[ContextKey]

    @classmethod
    def of(cls, suggestor: Suggestor, pack: str | None) -> Registration:
        """Register a suggestor. Raises CanonicalError when its ``config`` is not JSON."""
        line: dict[str, JsonValue] = {"name": suggestor.name, "version": suggestor.version}
        if suggestor.config is not None:
            line["config"] = str(ContentHash.of(canonical(suggestor.config)))  # type: ignore[arg-type]  # refused if not JSON
        if pack is not None:
            line["pack"] = pack
        if suggestor.optional:
            line["optional"] = True
        if suggestor.authority is not AuthorityLevel.ADVISORY:
            line["authority"] = suggestor.authority.name.lower()
        if domains := tuple(suggestor.domains):
            line["domains"] = domains
        if suggestor.replayability != "deterministic":
            line["replayability"] = suggestor.replayability.value
        if profile := suggestor.profile.to_json():
            line["profile"] = profile
        return cls(suggestor, suggestor.name, pack, canonical(line), frozenset(suggestor.writes))


@dataclass(frozen=True)
class Setup:
    """Everything that is fixed for one run."""

    suggestors: Sequence[Registration]
    index: DependencyIndex
    positions: Mapping[str, int]
    writes: Mapping[str, frozenset[ContextKey]]
    invariants: Mapping[InvariantClass, Sequence[Invariant]]
    payloads: PayloadRegistry
    gate: PromotionGate
    budget: Budget
    hitl: HitlPolicy | None = None
    conflict_policy: ConflictPolicy = ConflictPolicy.STOP
    packs: frozenset[str] | None = None
    intent: RootIntent | None = None
    evaluator: CriterionEvaluator | None = None
    source: Mapping[str, JsonValue] | None = None
    parent: Mapping[str, JsonValue] | None = None
    labels: Mapping[str, str] | None = None
    flow: FlowGateAuthorizer | None = None
    detectors: Sequence[TensionDetector] = ()
    backends: Sequence[ProviderProfile] = ()
    criteria: tuple[Criterion, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "criteria", self.intent.success if self.intent is not None else ())

    @cached_property
    def max_payload_bytes(self) -> int:
        """The size limit of a payload's canonical JSON."""
        return self.gate.policy.max_payload_bytes

    def principal(self, proposer: str) -> FlowGatePrincipal:
        """Return who stands behind a proposal, as a flow gate sees it: a suggestor, a person, or an input."""
        position = self.positions.get(proposer)
        if position is not None:
            suggestor = self.suggestors[position].suggestor
            return FlowGatePrincipal(proposer, suggestor.authority, tuple(suggestor.domains))
        is_person = proposer.startswith(f"{ActorKind.HUMAN}:")
        return FlowGatePrincipal(proposer, AuthorityLevel.SOVEREIGN if is_person else AuthorityLevel.PARTICIPATORY)

    @cached_property
    def formation(self) -> Formation | None:
        """How it is chosen who is asked, if the intent says so."""
        return self.intent.formation if self.intent is not None else None

    def is_active(self, registration: Registration) -> bool:
        """Say whether a suggestor is of an active pack, or of none."""
        return registration.pack is None or self.packs is None or registration.pack in self.packs

    def is_optional(self, name: str) -> bool:
        """Say whether a suggestor may fail without stopping the run."""
        return self.suggestors[self.positions[name]].suggestor.optional

    def run_started(self, run_id: str) -> events.RunStarted:
        """Return the first entry of the run's ledger: its constitution."""
        return events.RunStarted(
            format=events.FORMAT,
            run_id=run_id,
            intent=None if self.intent is None else self.intent.to_json(),
            source=self.source,
            parent=self.parent,
            labels=self.labels,
            budget=self.budget.to_json(),
            gates=self.gate.to_json()
            | {
                "conflict": self.conflict_policy.value,
                "detectors": [detector.name for detector in self.detectors],
                "flow": None if self.flow is None else self.flow.name,
                "hitl": None if self.hitl is None else self.hitl.to_json(),
            },
            suggestors=tuple([registration.text for registration in self.suggestors]),
            invariants=tuple(
                {"class": invariant_class.value, "name": invariant.name}
                for invariant_class, invariants in self.invariants.items()
                for invariant in invariants
            ),
            packs=None if self.packs is None else tuple(sorted(self.packs)),
        )

    @cached_property
    def _around_run_id(self) -> tuple[str, str]:
        return self.run_started("").around_run_id()

    def started(self, run_id: str) -> events.Entry:
        """Return that event as a line of the ledger."""
        return events.Entry.written(events.RunStarted.kind, events.started_body(self._around_run_id, run_id))

    def constitution(self, run_id: str) -> dict[str, JsonValue]:
        """Return, as JSON, whatever must be the same for a run to be replayed or resumed."""
        return constitution_of(cast("Mapping[str, JsonValue]", parse(self.run_started(run_id).body())))


def constitution_of(started: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the constitution in the body of a ``run_started``."""
    return {name: started.get(name) for name in ("intent", "budget", "gates", "suggestors", "invariants", "packs")}
