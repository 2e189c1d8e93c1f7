"""`Engine`: what is registered once and then runs any number of contexts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import is_
from typing import TYPE_CHECKING

from converge_core.context.admission import INPUT
from converge_core.context.facts import ENGINE, ActorKind
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import PayloadRegistry
from converge_core.context.state import ContextState
from converge_core.context.wire import read_fact
from converge_core.engine.convergence import Convergence
from converge_core.engine.drive import drive
from converge_core.engine.families import CORE_FAMILIES, core_payloads
from converge_core.engine.index import DependencyIndex
from converge_core.engine.lineup import Lineup
from converge_core.engine.result import ConvergeResult
from converge_core.engine.setup import ConflictPolicy, Registration, Setup
from converge_core.errors import IntentError, LedgerCorrupt, MisuseError, PayloadError, Problem, SnapshotError
from converge_core.formations.decision import FORMATION, bearer
from converge_core.formations.kinds import Formation
from converge_core.gates.budgets import Budget
from converge_core.gates.checks import BUILTIN_CHECKS
from converge_core.gates.drafts import draft, read_draft
from converge_core.gates.flow import FlowGateAuthorizer
from converge_core.gates.hitl import GateDecision, HitlPause, HitlPolicy
from converge_core.gates.promotion import Check, PromotionGate, ValidationPolicy
from converge_core.intent.criteria import CriterionEvaluator
from converge_core.intent.root import RootIntent
from converge_core.intent.scope import Scope
from converge_core.invariants import Invariant, InvariantClass
from converge_core.ledger import events
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.events import Entry, read_event
from converge_core.ledger.replay import replay
from converge_core.llm.profiles import ProviderProfile
from converge_core.suggestors.contract import Suggestor, is_selector

if TYPE_CHECKING:
    from converge_core.context.tensions import TensionDetector
    from converge_core.ports import Approver, Clock, Executor, Ledger, Observer

MAX_NAME = 128


class Engine:
    """Suggestors, invariants and policies. `run` takes a context to its fixed point under them.

    ``backends`` are those that suggestors can use; a formation asks nobody who needs another.

    >>> engine = Engine(budget=Budget(max_cycles=20))
    >>> engine.register_suggestor(SeedSuggestor("seed-1", "initial data"))
    >>> result = await engine.run(ContextState())
    """

    def __init__(
        self,
        *,
        budget: Budget | None = None,
        hitl_policy: HitlPolicy | None = None,
        validation: ValidationPolicy | None = None,
        conflict_policy: ConflictPolicy = ConflictPolicy.STOP,
        payloads: PayloadRegistry | None = None,
        evaluator: CriterionEvaluator | None = None,
        flow: FlowGateAuthorizer | None = None,
        backends: Iterable[ProviderProfile] = (),
    ) -> None:
        self.budget = budget or Budget()
        self.hitl_policy = hitl_policy
        self.validation = validation or ValidationPolicy()
        self.conflict_policy = conflict_policy
        self.payloads = payloads or PayloadRegistry()
        self.payloads.reserve(CORE_FAMILIES, core_payloads)
        self.evaluator = evaluator
        if flow is not None:
            _checked_name("flow gate authorizer", flow.name)
        self.flow = flow
        self.backends = tuple(backends)
        self._detectors: tuple[TensionDetector, ...] = ()
        self._checks: dict[str, Check] = dict(BUILTIN_CHECKS)
        self._suggestors: list[Registration] = []
        self._positions: dict[str, int] = {}
        self._index = DependencyIndex()
        self._invariants: dict[InvariantClass, list[Invariant]] = {kind: [] for kind in InvariantClass}
        self._packs: frozenset[str] | None = None
        self._shared = False
        self._plain: tuple[tuple[object, ...], Setup] | None = None

    def register_suggestor(self, suggestor: Suggestor, pack: str | None = None) -> None:
        """Register a suggestor, as part of a pack if one is named. Registration order is merge order.

        Raises MisuseError for a name that is blank, too long, reserved or taken, and for a dependency that is no
        selector.
        """
        name = _checked_name("suggestor", getattr(suggestor, "name", None))
        if name in self._positions:
            raise MisuseError(f"a suggestor named {name!r} is registered already")
        if name in (INPUT, FORMATION, ENGINE.id) or name.startswith(tuple(f"{kind}:" for kind in ActorKind)):
            raise MisuseError(f"the name {name!r} is reserved for inputs, formations, the engine and people")
        dependencies = tuple(suggestor.dependencies)
        for selector in dependencies:  # a lone key would come apart into its letters, and nothing wake the suggestor
            if not is_selector(selector):
                raise MisuseError(
                    f"{name!r} depends on {selector!r:.80}, which is no key, payload class or pair of both"
                )
        self._own()
        registration = Registration.of(suggestor, pack)
        for selector in dependencies:
            payload = selector[1] if isinstance(selector, tuple) else selector
            if not isinstance(payload, ContextKey):
                self.payloads.register(payload)
        for payload in suggestor.payloads:
            self.payloads.register(payload)
        self._index.add(len(self._suggestors), dependencies)
        self._positions[registration.name] = len(self._suggestors)
        self._suggestors.append(registration)

    def register_invariant(self, invariant: Invariant) -> None:
        """Register an invariant; within a class they are checked in this order. Raises MisuseError for a bad name."""
        _checked_name("invariant", invariant.name)
        self._own()
        if any(known.name == invariant.name for known in self._invariants[invariant.invariant_class]):
            raise MisuseError(f"an invariant named {invariant.name!r} is registered already")
        self._invariants[invariant.invariant_class].append(invariant)

    def register_detector(self, detector: TensionDetector) -> None:
        """Register a detector of tensions; they are asked about every fact that was proposed, in this order."""
        _checked_name("detector", detector.name)
        if any(known.name == detector.name for known in self._detectors):
            raise MisuseError(f"a detector named {detector.name!r} is registered already")
        self._plain = None
        self._detectors = (*self._detectors, detector)

    def register_check(self, name: str, check: Check) -> None:
        """Register a validation check, for a policy to require by name."""
        if name in self._checks:
            raise MisuseError(f"a check named {name!r} is registered already")
        self._plain = None
        self._checks[name] = check

    def set_active_packs(self, packs: Iterable[str] | None) -> None:
        """Ask only suggestors of these packs, and those of no pack. None or nothing lifts the restriction."""
        self._plain = None
        self._packs = frozenset(packs or ()) or None

    def _own(self) -> None:
        """Copy what the runs that have begun hold on to, before it is changed: they go on as they were set up."""
        self._plain = None
        if self._shared:
            self._suggestors, self._positions = list(self._suggestors), dict(self._positions)
            self._index = self._index.copy()
            self._invariants = {kind: list(known) for kind, known in self._invariants.items()}
            self._shared = False

    def begin(
        self,
        context: ContextState,
        intent: RootIntent | None = None,
        run_id: str = "run",
        source: Mapping[str, JsonValue] | None = None,
        parent: Mapping[str, JsonValue] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Convergence:
        """Return the machine of a new run. The context itself is left as it is.

        ``source`` is kept with the run: whatever is needed to set the same engine up again. ``parent`` names the run
        (``run_id``, ``cycle``, ``head``) that this one is a fork of; ``labels``, such as ``tenant`` and
        ``correlation``, are what runs are found by.
        Raises IntentError with every fault of the intent, MisuseError when the policy requires an unknown check.
        """
        if intent is not None and (faults := [*intent.faults(), *self._strangers(intent.formation)]):
            raise IntentError(tuple(faults))
        setup = self._setup(intent, source, parent, labels)
        stated = intent.constraint_proposals() if intent is not None else ()
        limit = self.validation.max_payload_bytes
        inputs = [draft(p, INPUT, self.payloads, limit, "context-input") for p in (*stated, *context.staged)]
        opening = Lineup(setup).opening(context.version)
        return Convergence(setup, run_id, context.facts(), inputs if opening is None else [*inputs, opening])

    def rebuild(self, entries: Sequence[Entry]) -> Convergence:
        """Return the machine that begins as a recorded run began, under this engine; `replay` feeds it the rest.

        Raises LedgerCorrupt when the entries do not begin a run, PayloadError for a payload no loaded class reads.
        """
        started, intent = _first(entries)
        carried, inputs = [], []
        try:
            for entry in entries[1:]:
                if entry.kind not in (events.FactCarried.kind, events.InputAdmitted.kind):
                    break
                event = read_event(entry.body)
                if isinstance(event, events.FactCarried):
                    carried.append(read_fact({"proposal": event.proposal, "promotion": event.promotion}, self.payloads))
                elif isinstance(event, events.InputAdmitted):
                    if event.cycle is not None:
                        break  # it came when the run had begun
                    inputs.append(read_draft(event.parsed, bearer(event.proposer), self.payloads))
            facts = ContextState(carried).facts()
        except PayloadError:
            raise
        except (SnapshotError, MisuseError, ValueError, KeyError, TypeError, AttributeError) as error:
            place = 1 + len(carried) + len(inputs)
            raise LedgerCorrupt(started.run_id, place, "a fact or input to begin with", str(error)) from error
        setup = self._setup(intent, started.source, started.parent, started.labels)
        return Convergence(setup, started.run_id, facts, inputs, started=entries[0])

    async def run(
        self,
        context: ContextState,
        intent: RootIntent | None = None,
        *,
        run_id: str = "run",
        source: Mapping[str, JsonValue] | None = None,
        executor: Executor | None = None,
        ledger: Ledger | None = None,
        approver: Approver | None = None,
        observers: Sequence[Observer] = (),
        clock: Clock | None = None,
    ) -> ConvergeResult:
        """Take a context to its fixed point, or to another stop; see `converge_core.engine.drive.drive`."""
        run = self.begin(context, intent, run_id, source)
        if ledger is not None:
            await ledger.create_run(run_id)
        return await drive(run, executor=executor, ledger=ledger, approver=approver, observers=observers, clock=clock)

    async def resume(
        self,
        pause: HitlPause,
        decisions: Iterable[GateDecision] = (),
        *,
        executor: Executor | None = None,
        approver: Approver | None = None,
    ) -> ConvergeResult:
        """Go on from a pause with these decisions. The pause stays as it is and can be resumed again.

        Raises MisuseError for a decision that does not count, ReplayDifference when the engine is not the one that
        paused.
        """
        run = replay(self, pause.log)
        refused = run.decide(decisions)
        if refused:
            raise MisuseError("; ".join(f"{refusal.gate}: {refusal.reason}" for refusal in refused))
        return await drive(run, executor=executor, approver=approver, log=pause.log)

    def _human_gates(self, intent: RootIntent | None) -> HitlPolicy | None:
        """Return what people decide: by the engine's policy, and at the approval points of the intent."""
        policy = self.hitl_policy
        if intent is None or not intent.approval_points:
            return policy
        policy = policy or HitlPolicy()
        return replace(policy, gated_keys=tuple(dict.fromkeys((*policy.gated_keys, *intent.approval_points))))

    def _strangers(self, formation: Formation | None) -> Iterator[Problem]:
        """Yield a fault for every suggestor that a formation names and nobody has registered."""
        for steps, name in formation.named() if formation is not None else ():
            if name not in self._positions:
                yield Problem(f"formation.{'.'.join(map(str, steps))}", f"no suggestor {name!r} is registered")

    def _setup(
        self,
        intent: RootIntent | None,
        source: Mapping[str, JsonValue] | None,
        parent: Mapping[str, JsonValue] | None,
        labels: Mapping[str, str] | None,
    ) -> Setup:
        """Return what a run is set up with: for one that brings nothing of its own, that of the run before."""
        self._shared = True
        if intent is not None or source is not None or parent is not None or labels is not None:
            return self._set_up(intent, source, parent, labels)
        policies: tuple[object, ...] = (self.budget, self.hitl_policy, self.validation, self.conflict_policy)
        policies += (self.payloads, self.evaluator, self.flow, self.backends)
        known = self._plain
        if known is None or not all(map(is_, known[0], policies)):
            self._plain = known = policies, self._set_up()
        return known[1]

    def _set_up(
        self,
        intent: RootIntent | None = None,
        source: Mapping[str, JsonValue] | None = None,
        parent: Mapping[str, JsonValue] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Setup:
        packs = frozenset(intent.active_packs) if intent is not None and intent.active_packs else self._packs
        required = self.validation.required_checks
        return Setup(
            suggestors=self._suggestors,
            index=self._index,
            positions=self._positions,
            writes={known.name: known.writes for known in self._suggestors if known.writes},
            invariants=self._invariants,
            payloads=self.payloads,
            gate=PromotionGate(
                self.validation,
                {name: self._checks[name] for name in required if name in self._checks},
                intent.scope if intent is not None else Scope(),
            ),
            budget=intent.budget if intent is not None and intent.budget is not None else self.budget,
            hitl=self._human_gates(intent),
            conflict_policy=self.conflict_policy,
            packs=packs,
            intent=intent,
            evaluator=self.evaluator,
            source=source,
            parent=parent,
            labels=labels,
            flow=self.flow,
            detectors=self._detectors,
            backends=self.backends,
        )


def _checked_name(what: str, name: object) -> str:
    if isinstance(name, str) and name.strip() and name.isprintable() and len(name.encode()) <= MAX_NAME:
        return name
    raise MisuseError(f"a {what} needs a name of 1 to {MAX_NAME} bytes of printable characters, not {name!r:.80}")


def _first(entries: Sequence[Entry]) -> tuple[events.RunStarted, RootIntent | None]:
    try:
        started = read_event(entries[0].body)
        if not isinstance(started, events.RunStarted):
            raise LedgerCorrupt("?", 0, "run_started", started.kind)
        if started.format != events.FORMAT:
            raise LedgerCorrupt(started.run_id, 0, f"events of format {events.FORMAT}", f"format {started.format}")
        return started, None if started.intent is None else RootIntent.from_json(started.intent)
    except (IndexError, MisuseError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerCorrupt("?", 0, "run_started", f"{type(error).__name__}: {error}") from error
