"""`Convergence`: the machine. It performs nothing; it says what is to be done and is told what happened.

Rule 1: everything that changes a run's state is in this module, and it knows no clock, disk, socket, thread or event
loop. The driver (`converge_core.engine.drive`) asks `Convergence.next` for a `Step`, makes what `Convergence.drain`
holds durable, does what the step says in the world, and hands the answer back; in the way of h11.

The life of a run is one generator, `Convergence._script`, which reads from top to bottom::

    admit the staged inputs (cycle 0) through the same gates as everything else
    repeat
        ask those whom the last changes woke                          -> Execute
        judge what they propose, one by one, in registration order
        let people decide what only people may                        -> AwaitDecision
        until nothing changes: settle                                 -> Stopped

It yields a step where the world has to act and goes on when the answer is complete. Nothing a caller does can make it
skip a line: every proposal, whether staged, suggested, edited by a human or stated by the engine, passes
`Convergence._judge`. Since its only inputs are recorded as events, in the order in which they came, feeding them to a
new machine gives the same derived events again, byte by byte.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace

from converge_core.context.allowance import NOTHING, Allowance, Usage
from converge_core.context.facts import ENGINE, Actor, AnyFact, AnyProposal, diagnostic
from converge_core.context.state import Context, ContextState, FactLog, Selector
from converge_core.context.wire import fact_to_json
from converge_core.engine.calls import Call, Failure, Outcome
from converge_core.engine.result import ConvergeResult
from converge_core.engine.setup import ConflictPolicy, Setup
from converge_core.engine.steps import AwaitDecision, Execute, Step, Stopped
from converge_core.errors import MisuseError, PayloadError
from converge_core.gates import stop
from converge_core.gates.answers import Gate, Refused, answer
from converge_core.gates.budgets import Budget
from converge_core.gates.drafts import Draft, Malformed, draft
from converge_core.gates.hitl import GateDecision, GateRequest, HitlPause, Verdict, approval_id
from converge_core.gates.promotion import ENGINE_GATE, HUMAN_GATE, Rejection
from converge_core.intent.criteria import CriterionOutcome, judge, stop_reason_of
from converge_core.invariants import InvariantClass, examine
from converge_core.ledger import events
from converge_core.ledger.canonical import canonical
from converge_core.ledger.events import Entry, Event, printable
from converge_core.ledger.hashes import ContentHash, IntegrityProof
from converge_core.ledger.merkle import MerkleLog

Judged = Draft | Malformed


class Convergence:
    """One run. Made by `Engine.begin`, or by a replay of its ledger."""

    def __init__(
        self, setup: Setup, run_id: str, carried: Iterable[AnyFact] = (), inputs: Iterable[Judged] = ()
    ) -> None:
        self.setup = setup
        self.run_id = run_id
        self.budget: Budget = setup.budget
        self.cycles = 0
        self.usage: Usage = NOTHING
        self.elapsed_ms = 0
        self._log = FactLog()
        self._facts_tree = MerkleLog()
        self._entries: deque[Entry] = deque()
        self._inputs = tuple(inputs)
        self._dirty: set[Selector] = set()
        self._postponed: list[int] = []
        self._seen: dict[int, int] = {}
        self._checked: dict[tuple[InvariantClass, str], int] = {}
        self._gates: dict[str, Gate] = {}
        self._now = ""
        self._refused: set[tuple[str, str]] = set()
        self._asked: set[tuple[str, str]] = set()
        self._awaited: dict[str, int] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._answered = False
        self._reopened = False
        self._interrupted: Iterator[Step] | None = None
        self._criteria: tuple[CriterionOutcome, ...] = ()
        self._cancelled: stop.StopReason | None = None
        self._step: Step | None = None
        self._emit(setup.run_started(run_id))
        for fact in carried:
            self._emit(events.FactCarried(**fact_to_json(fact)))
            self._append(fact)
        for item in self._inputs:
            self._emit(events.InputAdmitted(proposer=item.proposer, proposal=item.text))
        self._life = self._script()

    # --- what a driver calls ----------------------------------------------------------------------------------------

    def next(self) -> Step:
        """Return what is to be done now. Asking again before it is done gives the same step again."""
        if self._step is None or self._answered:
            self._answered = False
            self._step = next(self._life)
        return self._step

    def drain(self, at_most: int | None = None) -> list[Entry]:
        """Return the entries that were not yet drained (or the first of them), in order; they are the run's ledger."""
        entries = self._entries
        if at_most is None:
            drained = list(entries)
            entries.clear()
            return drained
        return [entries.popleft() for _ in range(min(at_most, len(entries)))]

    @property
    def pending(self) -> int:
        """How many entries wait to be drained."""
        return len(self._entries)

    def receive(self, outcomes: Iterable[Outcome]) -> None:
        """Take outcomes of the calls of an `Execute` step: in any order, all at once or in parts.

        Raises MisuseError for an outcome that is not awaited (no such call, or a second answer); then it takes none.
        """
        arrived: dict[str, Outcome] = {}
        for outcome in outcomes:
            if outcome.suggestor in arrived or not self.awaits(outcome.cycle, outcome.suggestor):
                raise MisuseError(f"nobody asked {outcome.suggestor!r} in cycle {outcome.cycle}, or it has answered")
            arrived[outcome.suggestor] = outcome
        self._outcomes |= arrived
        if arrived and len(self._outcomes) == len(self._awaited):
            for name in self._awaited:
                self._emit(self._outcomes[name].event())
            self._answered = True

    def decide(self, decisions: Iterable[GateDecision]) -> tuple[events.DecisionRefused, ...]:
        """Take answers to open gates, in any order; return those that do not count, each with the reason.

        Every answer is recorded, refused ones too, and a refused one changes nothing else.
        """
        refusals = []
        for decision in decisions:
            self._emit(decision.event())
            self._now = max(self._now, decision.at or "")  # authority that has ended does not come back with the clock
            gate = self._answer(decision)
            if isinstance(gate, Refused):
                named = {"gate": decision.gate_id, "actor": str(decision.by)}
                refusals.append(events.DecisionRefused(**named, code=gate.code, reason=gate.reason))
                self._emit(refusals[-1])
            else:
                self._answered = True
                self._count(decision, gate)
                self._gates[decision.gate_id] = gate
        return tuple(refusals)

    def cancel(self, reason: str, actor: Actor) -> None:
        """Call the run off: `next` gives `Stopped`, whatever was awaited. Ignored when the run has stopped.

        What was awaited may still come in: it is recorded, and counts if the run is reopened.
        """
        if isinstance(self._step, Stopped) or self._interrupted is not None:
            return
        self._emit(events.CancelRequested(cycle=self.cycles, actor=str(actor), reason=printable(reason)))
        self._interrupted = self._life
        self._life = self._stop(stop.UserCancelled(str(actor), printable(reason)))
        self._answered = True

    def reopen(self, budget: Budget | None = None) -> None:
        """Go on after a stop, under another budget if one is given; whoever failed is asked again.

        Raises MisuseError when the run has not stopped, or when it stopped because something did not hold.
        """
        if not isinstance(self._step, Stopped) or self._step.result.stop_reason.stop_class is stop.StopClass.VALIDATION:
            raise MisuseError("only a run that has stopped, and violates nothing, can be reopened")
        budget = budget or self.budget
        self._emit(events.RunReopened(budget=budget.to_json()))
        self.budget = budget
        self._reopened = True
        self._step = None
        if self._interrupted is not None:
            self._life, self._interrupted = self._interrupted, None

    def observe_time(self, elapsed_ms: int) -> None:
        """Tell how long the run has been working, in milliseconds; kept only if there is a limit and it has grown."""
        if self.budget.time_limit_ms is not None and elapsed_ms > self.elapsed_ms:
            self._emit(events.TimeObserved(cycle=self.cycles, elapsed_ms=elapsed_ms))
            self.elapsed_ms = elapsed_ms

    def awaits(self, cycle: int, suggestor: str) -> bool:
        """Say whether a call of this suggestor is asked for and not yet answered."""
        return cycle == self.cycles and suggestor in self._awaited and suggestor not in self._outcomes

    def feed(self, event: Event) -> None:
        """Take an input as it was recorded. Raises MisuseError for an effect that is not awaited."""
        match event:
            case events.EffectReceived():
                self.receive([Outcome.from_event(event, self.setup.payloads)])
            case events.DecisionReceived():
                self.decide([GateDecision.from_event(event)])
            case events.TimeObserved():
                self.observe_time(event.elapsed_ms)
            case events.CancelRequested():
                self.cancel(event.reason, Actor.parse(event.actor))
            case events.RunReopened():
                self.reopen(Budget.from_json(event.budget))
            case _:
                raise MisuseError(f"{event.kind} is not an input of a running machine")

    def result(self, reason: stop.StopReason | None = None, log: Iterable[Entry] = ()) -> ConvergeResult:
        """Return the run as it stands; without a reason it is paused at its open gates, and carries ``log``."""
        pause = None
        if reason is None:
            requests = tuple(gate.request for gate in self._open_gates())
            pause = HitlPause(self.run_id, self.cycles, requests, tuple(log))
            reason = stop.HitlGatePending(tuple(request.gate_id for request in requests), self.cycles)
        settled = isinstance(reason, stop.Converged | stop.CriteriaMet | stop.HumanInterventionRequired)
        return ConvergeResult(
            run_id=self.run_id,
            context=ContextState.of(self._log, [gate.draft.proposal for gate in self._open_gates()]),
            cycles=self.cycles,
            converged=settled,
            stop_reason=reason,
            criteria_outcomes=self._criteria,
            integrity=IntegrityProof(self._facts_tree.root(), len(self._log.all), len(self._log.all)),
            pause=pause,
            usage=self.usage,
        )

    # --- the one loop -----------------------------------------------------------------------------------------------

    def _script(self) -> Iterator[Step]:
        """The life of a run."""
        if self._inputs or self._log.all:
            yield from self._merge(self._inputs)
        while True:
            while (barrier := self._barrier()) is not None:
                yield from self._stop(barrier)
            self.cycles += 1
            calls, failures = self._eligible()
            if calls:
                while missing := [call for call in calls if call.name not in self._outcomes]:
                    yield Execute(self.cycles, tuple(missing), missing[0].context.allowance)
                outcomes = [self._outcomes[name] for name in self._awaited]
                failures += [(outcome.suggestor, outcome.failure) for outcome in outcomes if outcome.failure]
                self._take_in(outcomes)
                changed = yield from self._merge([d for outcome in outcomes for d in outcome.drafts], failures)
            else:
                changed = bool(failures) and (yield from self._merge((), failures))
            if not changed and not self._postponed:
                yield from self._settle()

    def _merge(
        self, drafts: Iterable[Judged], failures: Iterable[tuple[str, Failure]] = ()
    ) -> Generator[Step, None, bool]:
        """Judge what was proposed, serially; let people decide; report what failed; check what must hold.

        Returns whether the context has changed.
        """
        before = len(self._log.all)
        yield from self._judge_all((item, None) for item in drafts)
        yield from self._check(InvariantClass.STRUCTURAL)
        if self._gates:
            decided = yield from self._await_decisions()
            yield from self._judge_all(self._decided(gate) for gate in decided)
            yield from self._check(InvariantClass.STRUCTURAL)
        yield from self._report(failures)
        yield from self._overspent()
        changed = len(self._log.all) > before
        if changed:
            yield from self._check(InvariantClass.SEMANTIC)
        return changed

    def _settle(self) -> Iterator[Step]:
        """The fixed point: judge the criteria, check what is to be accepted, stop."""
        ctx = self._view()
        evaluator = self.setup.evaluator
        self._criteria = tuple(judge(criterion, evaluator, ctx) for criterion in self.setup.criteria)
        for outcome in self._criteria:
            self._emit(outcome.event())
        yield from self._check(InvariantClass.ACCEPTANCE)
        yield from self._stop(stop_reason_of(self._criteria))

    def _stop(self, reason: stop.StopReason, held: int = 0) -> Iterator[Step]:
        """Record the stop, and stay there until the run is reopened."""
        result = self.result(reason)
        self._emit(
            events.RunStopped(
                stop=reason.to_json(),
                cycles=self.cycles,
                facts=len(self._log.all),
                merkle_root=str(result.integrity.merkle_root),
                usage=self.usage.to_json(),
                held=held,
            )
        )
        self._reopened = False
        while not self._reopened:
            yield Stopped(result)

    # --- who is asked -----------------------------------------------------------------------------------------------

    def _barrier(self) -> stop.StopReason | None:
        """Say why the next cycle may not begin, if it may not."""
        budget = self.budget
        if budget.time_limit_ms is not None and self.elapsed_ms >= budget.time_limit_ms:
            return stop.TimeBudgetExhausted(self.elapsed_ms, budget.time_limit_ms)
        if self.cycles >= budget.max_cycles:
            return stop.CycleBudgetExhausted(self.cycles, budget.max_cycles)
        return None

    def _eligible(self) -> tuple[list[Call], list[tuple[str, Failure]]]:
        """Return the calls of this cycle in registration order, and whose ``accepts`` could not answer."""
        setup = self.setup
        candidates = setup.index.candidates(self._dirty, self._postponed)
        limit = self.budget.max_suggestors_per_cycle
        if limit is not None:  # whoever had to wait is asked first, or the first registered would starve the others
            candidates.sort(key=set(candidates).difference(self._postponed).__contains__)
        self._dirty, self._postponed = set(), []
        calls: dict[int, Call] = {}
        failures: list[tuple[str, Failure]] = []
        allowance = self._allowance()
        version = len(self._log.all)
        for position in candidates:
            registration = setup.suggestors[position]
            if registration.pack is not None and setup.packs is not None and registration.pack not in setup.packs:
                self._skip(registration.name, "pack_inactive")
                continue
            ctx = Context(self._log, version, self._seen.get(position, 0), allowance)
            try:
                accepts = registration.suggestor.accepts(ctx)
            except Exception as error:  # one that cannot even say whether it wants to run has failed
                failures.append(
                    (registration.name, Failure("accepts_raised", printable(f"{type(error).__name__}: {error}")))
                )
                continue
            if not accepts:
                continue
            if limit is not None and len(calls) >= limit:
                if self._seen.get(position, -1) < version:  # one that has read all of this has nothing to wait for
                    self._postponed.append(position)
                self._skip(registration.name, "suggestors_per_cycle")
                continue
            calls[position] = Call(self.cycles, registration.suggestor, ctx, setup.payloads, setup.max_payload_bytes)
        self._awaited = {setup.suggestors[position].name: position for position in sorted(calls)}
        self._outcomes = {}
        return [calls[position] for position in self._awaited.values()], failures

    def _skip(self, name: str, code: str) -> None:
        self._emit(events.SuggestorSkipped(cycle=self.cycles, suggestor=name, code=code))

    def _allowance(self) -> Allowance:
        """What the calls of this cycle may spend, all together."""
        tokens, cost = self.budget.max_tokens, self.budget.max_cost_microusd
        return Allowance(
            None if tokens is None else max(0, tokens - self.usage.tokens),
            None if cost is None else max(0, cost - self.usage.cost_microusd),
        )

    def _take_in(self, outcomes: Iterable[Outcome]) -> None:
        """Count what the calls consumed, and note up to where each suggestor that succeeded has read."""
        for outcome in outcomes:
            if outcome.usage is not NOTHING:
                self.usage += outcome.usage
            if outcome.failure is None:
                self._seen[self._awaited[outcome.suggestor]] = len(self._log.all)

    # --- what is proposed -------------------------------------------------------------------------------------------

    def _judge_all(self, items: Iterable[tuple[Judged, Gate | None] | None]) -> Iterator[Step]:
        """Judge proposals one by one; a stop leaves the rest unjudged, and counts them."""
        queue = deque(item for item in items if item is not None)
        ctx = self._view()
        while queue:
            item, passed = queue.popleft()
            ctx.version = len(self._log.all)
            reason = self._judge(item, passed, ctx)
            if isinstance(reason, stop.FactBudgetExhausted):
                queue.appendleft((item, passed))
            if reason is not None:
                yield from self._stop(reason, held=len(queue))

    def _judge(self, item: Judged, passed: Gate | None, ctx: Context) -> stop.StopReason | None:
        """Take one proposal through all gates: rejected, duplicate, conflict, gated, or promoted.

        ``passed`` is the human gate that lets it through, if one does.
        """
        if isinstance(item, Malformed):
            self._turn_away(item, item.code, item.reason)
            return None
        proposal = item.proposal
        writes = self.setup.writes.get(item.proposer)
        if writes is not None and proposal.key not in writes:
            self._turn_away(item, "undeclared_key", f"{item.proposer!r} does not declare that it writes {proposal.key}")
            return None
        validated = self.setup.gate.validate(item, ctx)
        if isinstance(validated, Rejection):
            self._turn_away(item, validated.code, validated.reason)
            return None
        existing = self._log.by_ref.get(f"{proposal.key}/{proposal.id}")
        if existing is not None:
            return self._meet(existing, item)
        if passed is None and item.proposer != ENGINE.id and self._gate(item):
            return None
        if len(self._log.all) >= self.budget.max_facts:
            return stop.FactBudgetExhausted(len(self._log.all), self.budget.max_facts)
        gate_id, approver, authority = ENGINE_GATE, ENGINE, "policy"
        if passed is not None and passed.decision is not None:
            gate_id, approver, authority = HUMAN_GATE, passed.decision.by, passed.authority
        lamport = len(self._log.all) + 1
        fact, body = self.setup.gate.promote(validated, approver, authority, self.cycles, lamport, gate_id)
        self._entries.append(Entry("fact_promoted", body, fact.hash))
        self._append(fact)
        return None

    def _meet(self, existing: AnyFact, item: Draft) -> stop.StopReason | None:
        """A fact of this key and id exists: the proposal says the same, or contradicts it."""
        if existing.same_content(item.proposal):
            self._duplicate(item, "fact")
            return None
        self._emit(events.ProposalConflicted(cycle=self.cycles, **item.named, fact=existing.promotion.proposal_hash))
        if self.setup.conflict_policy is ConflictPolicy.REJECT:
            return None
        return stop.ConflictDetected(existing.ref, item.proposer)

    def _gate(self, item: Draft) -> bool:
        """Hold a proposal for a human if one must decide, and say whether it is held (or was refused before)."""
        policy = self.setup.hitl
        if policy is None:
            return False
        if self._refused and item.content in self._refused:
            self._turn_away(item, "refused_before", "a human has rejected the same content in this run")
            return True
        if self._asked and item.content in self._asked:
            self._duplicate(item, "gated")
            return True
        code = policy.reason_to_ask(item)
        if code is None:
            return False
        self._asked.add(item.content)
        gate_id = approval_id(self.run_id, self.cycles, item.hash)
        self._gates[gate_id] = Gate(item, GateRequest.of(item, gate_id, self.cycles, code, policy.timeout))
        self._emit(events.ProposalGated(cycle=self.cycles, **item.named, gate=gate_id, code=code))
        return True

    def _turn_away(self, item: Judged, code: str, reason: str) -> None:
        self._emit(events.ProposalRejected(cycle=self.cycles, **item.named, code=code, reason=printable(reason)))

    def _duplicate(self, item: Draft, code: str) -> None:
        self._emit(events.ProposalDuplicate(cycle=self.cycles, **item.named, code=code))

    def _state(self, proposal: AnyProposal) -> None:
        """Promote a statement of the engine's own through the same gates; a full budget leaves it an event."""
        item = self._made(draft(proposal, ENGINE.id, self.setup.payloads))
        if self._judge(item, None, self._view()) is not None:
            self._turn_away(item, "fact_budget", f"{self.budget.max_facts} facts are allowed")

    def _made(self, item: Judged) -> Judged:
        """Record a proposal that no input brought, before it is judged."""
        self._emit(events.ProposalMade(cycle=self.cycles, proposer=item.proposer, proposal=item.text))
        return item

    # --- what people decide -----------------------------------------------------------------------------------------

    def _open_gates(self) -> list[Gate]:
        return [gate for gate in self._gates.values() if gate.decision is None]

    def _await_decisions(self) -> Generator[Step, None, list[Gate]]:
        """Wait until every gate of this cycle is decided; return them in merge order."""
        while waiting := self._open_gates():
            requests = tuple(gate.request for gate in waiting)
            self._emit(events.RunPaused(cycle=self.cycles, gates=tuple(request.gate_id for request in requests)))
            yield AwaitDecision(self.cycles, requests)
        decided, self._gates, self._asked = list(self._gates.values()), {}, set()
        return decided

    def _answer(self, decision: GateDecision) -> Gate | Refused:
        """Return what an answer makes of its gate, or why it does not count."""
        gate, policy = self._gates.get(decision.gate_id), self.setup.hitl
        if gate is None or policy is None:
            return Refused("unknown_gate", "no such gate is open in this run")
        answered = answer(gate, decision, policy.approval, self._now)
        if isinstance(answered, Gate) and decision.verdict is Verdict.EDIT:
            edited = self._edited(gate.draft, decision)
            if isinstance(edited, Malformed):
                return Refused(edited.code, edited.reason)
        return answered

    def _count(self, decision: GateDecision, gate: Gate) -> None:
        """Record an approval that others have to join."""
        policy = self.setup.hitl
        if policy is not None and gate.decision is None and decision.verdict is Verdict.APPROVE:
            have, needs = len(gate.approvals), policy.approval.needs
            self._emit(events.ApprovalCounted(gate=decision.gate_id, actor=str(decision.by), have=have, needs=needs))

    def _edited(self, gated: Draft, decision: GateDecision) -> Judged:
        """Return the proposal that a human puts in the place of a gated one."""
        wire = decision.payload or {}
        original = gated.proposal
        try:
            payload = self.setup.payloads.decode(
                str(wire["family"]), int(str(wire["version"])), canonical(wire["body"])
            )
        except (PayloadError, KeyError, ValueError) as error:
            return Malformed(str(decision.by), original.key, original.id, "invalid_payload", printable(str(error)))
        proposal = replace(original, payload=payload, confidence=1.0, provenance=str(decision.by))
        return draft(proposal, str(decision.by), self.setup.payloads, self.setup.max_payload_bytes)

    def _decided(self, gate: Gate) -> tuple[Judged, Gate] | None:
        """Return what a decision lets through the gates, with the gate that lets it."""
        gated, decision = gate.draft, gate.decision
        if decision is None:
            return None
        if decision.verdict is Verdict.APPROVE:
            return gated, gate
        if decision.verdict is Verdict.EDIT:
            return self._made(self._edited(gated, decision)), gate
        why = decision.reason or "no reason provided"
        self._refused.add(gated.content)
        self._turn_away(gated, "rejected_by_human", f"{decision.by}: {why}")
        message = f"HITL gate rejected proposal '{gated.proposal.id}' by {decision.by.id}: {why}"
        self._state(diagnostic(f"hitl-rejected:{gated.hash[:16]}", "hitl", message))
        return None

    # --- what must hold ---------------------------------------------------------------------------------------------

    def _check(self, invariant_class: InvariantClass) -> Iterator[Step]:
        """Check the invariants of a class; the first violation stops the run, with a diagnostic fact."""
        for invariant in self.setup.invariants[invariant_class]:
            version = len(self._log.all)
            name = (invariant_class, invariant.name)
            violation = examine(invariant, Context(self._log, version, self._checked.get(name, 0)))
            if violation is None:
                self._checked[name] = version
                continue
            reason = stop.InvariantViolated(invariant_class, invariant.name, violation.reason, violation.facts)
            self._emit(
                events.InvariantViolatedEvent(
                    cycle=self.cycles,
                    invariant=invariant.name,
                    invariant_class=invariant_class,
                    reason=violation.reason,
                    facts=violation.facts,
                )
            )
            self._state(
                diagnostic(f"violation:{invariant.name}:{version}", invariant.name, str(reason), violation.facts)
            )
            yield from self._stop(reason)

    def _report(self, failures: Iterable[tuple[str, Failure]]) -> Iterator[Step]:
        """State who failed, in the ledger and as diagnostic facts; stop for the first who may not."""
        reasons: list[stop.StopReason] = []
        for name, failure in failures:
            optional = self.setup.is_optional(name)
            self._emit(
                events.SuggestorFailedEvent(
                    cycle=self.cycles, suggestor=name, code=failure.code, reason=failure.reason, optional=optional
                )
            )
            message = f"{name} failed ({failure.code}): {failure.reason}"
            self._state(diagnostic(f"suggestor-failed:{str(ContentHash.of(message))[:16]}", name, message))
            if not optional:
                reasons.append(self._failure_stop(name, failure))
                self._postponed.append(self.setup.positions[name])
        if reasons:
            yield from self._stop(reasons[0])

    def _failure_stop(self, name: str, failure: Failure) -> stop.StopReason:
        """A call that the budget did not allow is a budget stop; any other failure is the suggestor's."""
        if failure.code == "tokens_budget":
            return stop.TokenBudgetExhausted(self.usage.tokens, self.budget.max_tokens or 0)
        if failure.code == "cost_budget":
            return stop.CostBudgetExhausted(self.usage.cost_microusd, self.budget.max_cost_microusd or 0)
        return stop.SuggestorFailed(name, failure.code, failure.reason)

    def _overspent(self) -> Iterator[Step]:
        """Stop when suggestors report more than they were allowed: what they did not reserve is spent already."""
        tokens, cost = self.budget.max_tokens, self.budget.max_cost_microusd
        if tokens is not None and self.usage.tokens > tokens:
            yield from self._stop(stop.TokenBudgetExhausted(self.usage.tokens, tokens))
        if cost is not None and self.usage.cost_microusd > cost:
            yield from self._stop(stop.CostBudgetExhausted(self.usage.cost_microusd, cost))

    # --- the small print --------------------------------------------------------------------------------------------

    def _view(self) -> Context:
        return Context(self._log, len(self._log.all))

    def _emit(self, event: Event) -> None:
        self._entries.append(event.entry())

    def _append(self, fact: AnyFact) -> None:
        """Add a fact to the context, to the proof, and to what wakes suggestors."""
        self._log.append(fact)
        self._facts_tree.append(fact.hash)
        payload = type(fact.payload)
        self._dirty.update((fact.key, payload, (fact.key, payload)))
