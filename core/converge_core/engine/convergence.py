"""`Convergence`: the machine. It performs nothing; it says what is to be done and is told what happened.

Rule 1: everything that changes a run's state is in this module (with its `Roster`, `Judge` and `Desk`), and it knows no
clock, disk, socket, thread or event loop. The driver (`converge_core.engine.drive`) asks `Convergence.next` for a
`Step`, makes what `Convergence.drain` holds durable, does what the step says in the world, and hands the answer back;
in the way of h11.

The life of a run is one generator, `Convergence._script`, which reads from top to bottom::

    admit the staged inputs (cycle 0) through the same gates as everything else
    repeat
        ask those whom the last changes woke                          -> Execute
        judge what they propose, one by one, in registration order
        let people decide what only people may                        -> AwaitDecision
        until nothing changes: settle                                 -> Stopped

It yields a step where the world has to act and goes on when the answer is complete. Nothing a caller does can make it
skip a line: every proposal, whether staged, suggested, edited by a human or stated by the engine, passes
`Judge.hear`. Since its only inputs are recorded as events, in the order in which they came, feeding them to a
new machine gives the same derived events again, byte by byte.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace

from converge_core.context.admission import AdmissionReceipt, AdmissionRequest
from converge_core.context.allowance import NOTHING, UNLIMITED, Allowance, Usage
from converge_core.context.facts import ENGINE, Actor, ActorKind, AnyFact, diagnostic, fact_ref
from converge_core.context.state import Context, ContextState
from converge_core.context.wire import fact_to_json
from converge_core.engine.calls import Call, Failure, Outcome
from converge_core.engine.desk import Desk
from converge_core.engine.judge import Judge, Judged
from converge_core.engine.lineup import Lineup
from converge_core.engine.record import Record
from converge_core.engine.result import ConvergeResult
from converge_core.engine.roster import Roster
from converge_core.engine.setup import ConflictPolicy, Setup
from converge_core.engine.steps import AwaitDecision, Execute, Step, Stopped
from converge_core.errors import AdmissionError, MisuseError
from converge_core.formations.decision import bearer
from converge_core.gates import stop
from converge_core.gates.answers import Gate, Refused, Sanction, edited
from converge_core.gates.budgets import Budget
from converge_core.gates.corrections import correction
from converge_core.gates.drafts import Draft, draft, read_draft
from converge_core.gates.flow import commitment
from converge_core.gates.hitl import GateDecision, HitlPause, Verdict
from converge_core.gates.observations import admitted, is_known, observation
from converge_core.intent.criteria import CriterionOutcome, judge, stop_reason_of
from converge_core.intent.root import StopWhen
from converge_core.invariants import InvariantClass, examine
from converge_core.ledger import events
from converge_core.ledger.events import EffectReceived, Entry, Event, printable
from converge_core.ledger.hashes import ContentHash


class Convergence:
    """One run. Made by `Engine.begin`, or by a replay of its ledger."""

    def __init__(
        self,
        setup: Setup,
        run_id: str,
        carried: Iterable[AnyFact] = (),
        inputs: Iterable[Judged] = (),
        started: Entry | None = None,
    ) -> None:
        self.setup = setup
        self.run_id = run_id
        self.budget: Budget = setup.budget
        self.usage: Usage = NOTHING
        self.elapsed_ms = 0
        self._record = Record()
        self.lineup = Lineup(setup)
        self._roster = Roster(setup, self.lineup)
        self._checked: dict[tuple[InvariantClass, str], int] = {}
        self._desk = Desk(setup, run_id)
        self._judge = Judge(setup, self._record, self._desk)
        self._late: list[tuple[Judged, Sanction | None]] = []
        self._allowance = UNLIMITED
        self._awaited: dict[str, Call] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._answered = False
        self._reopened = False
        self._interrupted: Iterator[Step] | None = None
        self._criteria: tuple[CriterionOutcome, ...] = ()
        self._committed: int | None = None
        self._step: Step | None = None
        self._record.append(started or setup.started(run_id))
        for fact in carried:
            self._record.emit(events.FactCarried(**fact_to_json(fact)))
            self._judge.log.append(fact)
        for item in inputs:
            self._bring_in(item)
        self._life = self._script()

    @property
    def cycles(self) -> int:
        """How many cycles have begun."""
        return self._record.cycle

    # --- what a driver calls ----------------------------------------------------------------------------------------

    def next(self) -> Step:
        """Return what is to be done now. Asking again before it is done gives the same step again."""
        if self._step is None or self._answered:
            self._answered = False
            self._step = next(self._life)
        return self._step

    def drain(self, at_most: int | None = None) -> list[Entry]:
        """Return the entries that were not yet drained (or the first of them), in order; they are the run's ledger."""
        return self._record.drain(at_most)

    @property
    def pending(self) -> int:
        """How many entries wait to be drained."""
        return len(self._record)

    @property
    def open_gates(self) -> list[Gate]:
        """The gates that wait for people, in merge order."""
        return self._desk.waiting

    def receive(self, outcomes: Iterable[Outcome]) -> None:
        """Take outcomes of the calls of an `Execute` step: in any order, all at once or in parts.

        Raises MisuseError for an outcome that is not awaited (no such call, or a second answer); then it takes none.
        """
        awaited, known = self._awaited, self._outcomes
        arrived: dict[str, Outcome] = {}
        for outcome in outcomes:
            name, cycle = outcome.suggestor, outcome.cycle
            if name not in awaited or name in known or name in arrived or cycle != self._record.cycle:
                raise MisuseError(f"nobody asked {name!r} in cycle {cycle}, or it has answered")
            arrived[name] = outcome
        known |= arrived
        if arrived and len(known) == len(awaited):
            for name in awaited:
                self._record.write(EffectReceived.kind, known[name].body())
            self._answered = True

    def decide(self, decisions: Iterable[GateDecision]) -> tuple[events.DecisionRefused, ...]:
        """Take answers to open gates, in any order; return those that do not count, each with the reason.

        Every answer is recorded, refused ones too, and a refused one changes nothing else.
        """
        refusals = []
        for decision in decisions:
            self._record.emit(decision.event())
            followed = self._desk.answer(decision)
            if followed is not None:
                self._record.emit(followed)
            if isinstance(followed, events.DecisionRefused):
                refusals.append(followed)
            else:
                self._answered = True
        return tuple(refusals)

    def cancel(self, reason: str, actor: Actor) -> None:
        """Call the run off: `next` gives `Stopped`, whatever was awaited. Ignored when the run has stopped.

        What was awaited may still come in: it is recorded, and counts if the run is reopened.
        """
        if isinstance(self._step, Stopped) or self._interrupted is not None:
            return
        self._record.emit(events.CancelRequested(cycle=self.cycles, actor=str(actor), reason=printable(reason)))
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
        self._record.emit(events.RunReopened(budget=budget.to_json()))
        self.budget, self._judge.max_facts = budget, budget.max_facts
        self._reopened, self._criteria = True, ()
        self._step = None
        if self._interrupted is not None:
            self._life, self._interrupted = self._interrupted, None

    def admit(self, request: AdmissionRequest) -> AdmissionReceipt:
        """Take an observation from outside, to be judged the next time the run moves; return its receipt.

        One that the run has already is not taken again. A run that has stopped has to be reopened to act on it.
        Raises AdmissionError, and records nothing, where it would contradict what the run has, where it targets a truth
        that the intent does not name, and when the run stopped because something did not hold.
        """
        if isinstance(self._step, Stopped) and self._step.result.stop_reason.stop_class is stop.StopClass.VALIDATION:
            raise AdmissionError(f"the run admits nothing any more: {self._step.result.stop_reason}")
        item = observation(request, self.setup.intent, self.setup.payloads, self.setup.max_payload_bytes)
        may_differ = self.setup.conflict_policy is ConflictPolicy.REJECT
        known = is_known(item, self._judge.view(), [late for late, _ in self._late], may_differ=may_differ)
        if not known:
            self._bring_in(item, self.cycles)
        return request.receipt(staged=not known)

    def form(self, decision: Judged) -> None:
        """Take a decision of the run's formation, as `Lineup` makes them, to be judged the next time the run moves."""
        self._bring_in(decision, self.cycles)

    def _bring_in(self, item: Judged, cycle: int | None = None) -> None:
        """Record an input, and have it judged the next time the run moves."""
        self._record.emit(admitted(item, cycle))
        self._late.append((item, None))
        self.lineup.note(item)

    def accept_changes(self, actor: Actor) -> None:
        """Record that somebody lets the run go on with this engine, though it was recorded with another."""
        self._record.emit(events.ChangesAccepted(actor=str(actor), setup=self.setup.constitution(self.run_id)))

    def correct(self, request: events.CorrectionEvent) -> events.CorrectionRefused | None:
        """Take a correction of a fact, for the next time the run moves; return why it does not count, if it does not.

        A run that has stopped has to be reopened to act on it.
        """
        self._record.emit(replace(request, cycle=self.cycles))
        self._desk.see(request.at)
        setup, desk = self.setup, self._desk
        made = correction(request, self._judge.view(), setup.payloads, desk.approval, desk.now, setup.max_payload_bytes)
        if not isinstance(made, Refused) and self._is_being_corrected(made[0]):
            made = Refused("already_superseded", f"another correction of {request.fact} came first")
        if isinstance(made, Refused):
            refused = events.CorrectionRefused(
                fact=request.fact, actor=request.actor, code=made.code, reason=printable(made.reason)
            )
            self._record.emit(refused)
            return refused
        item, sanction = made
        self._late.append((self._judge.made(item), sanction))
        return None

    def _is_being_corrected(self, item: Draft) -> bool:
        """Say whether another correction of the same fact waits to be judged."""
        return any(isinstance(late, Draft) and late.supersedes is item.supersedes for late, _ in self._late)

    def observe_time(self, elapsed_ms: int) -> None:
        """Tell how long the run has been working, in milliseconds.

        Kept only if there is a limit, it has grown, and the run is at work: nothing happens while it waits.
        """
        if self.budget.time_limit_ms is not None and elapsed_ms > self.elapsed_ms and not self._rests:
            self._record.emit(events.TimeObserved(cycle=self.cycles, elapsed_ms=elapsed_ms))
            self.elapsed_ms = elapsed_ms

    @property
    def _rests(self) -> bool:
        """Whether the run stands where only a person can move it on."""
        return isinstance(self._step, AwaitDecision | Stopped) and not self._answered

    def awaits(self, cycle: int, suggestor: str) -> bool:
        """Say whether a call of this suggestor is asked for and not yet answered."""
        return suggestor in self._awaited and suggestor not in self._outcomes and cycle == self._record.cycle

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
            case events.InputAdmitted() if event.cycle is not None:
                self._bring_in(read_draft(event.parsed, bearer(event.proposer), self.setup.payloads), event.cycle)
            case events.ChangesAccepted():
                self._record.emit(event)
            case events.CorrectionEvent():
                self.correct(event)
            case events.RunReopened():
                self.reopen(Budget.from_json(event.budget))
            case _:
                raise MisuseError(f"{event.kind} is not an input of a running machine")

    def result(self, reason: stop.StopReason | None = None, log: Iterable[Entry] = ()) -> ConvergeResult:
        """Return the run as it stands; without a reason it is paused at its open gates, and carries ``log``."""
        pause = None
        if reason is None:
            requests = tuple(gate.request for gate in self.open_gates)
            pause = HitlPause(self.run_id, self.cycles, requests, tuple(log))
            reason = stop.HitlGatePending(tuple(request.gate_id for request in requests), self.cycles)
        settled = isinstance(reason, stop.Converged | stop.CriteriaMet | stop.HumanInterventionRequired)
        return ConvergeResult(
            run_id=self.run_id,
            context=ContextState.of(self._judge.log, [gate.draft.proposal for gate in self.open_gates]),
            cycles=self.cycles,
            converged=settled,
            stop_reason=reason,
            criteria_outcomes=self._criteria,
            integrity=self._judge.proof,
            pause=pause,
            usage=self.usage,
        )

    # --- the one loop -----------------------------------------------------------------------------------------------

    def _script(self) -> Iterator[Step]:
        """The life of a run."""
        if self._late or self._judge.log.all:
            yield from self._merge(self._take_late())
        while True:
            while (barrier := self._barrier()) is not None:
                yield from self._stop(barrier)
            self._record.cycle += 1
            if self._late:  # a cycle of its own, so that all calls of one number have seen the same context
                yield from self._merge(self._take_late())
                continue
            failures = self._summon()
            if awaited := self._awaited:
                while len(self._outcomes) < len(awaited):
                    missing = tuple([call for name, call in awaited.items() if name not in self._outcomes])
                    yield Execute(self._record.cycle, missing, self._allowance)
                changed = yield from self._merge(self._take_in(failures), failures)
            else:
                changed = bool(failures) and (yield from self._merge((), failures))
            if self._late:
                continue  # came in while people were asked; judged before anything is concluded
            at_rest = not changed and not self._roster.has_waiting
            if (decision := self.lineup.adjourn(self._record.cycle, at_rest, self._judge.log)) is not None:
                self._late.append((self._judge.made(decision), None))
            elif at_rest or self._is_early():
                yield from self._settle()

    def _merge(
        self, items: Sequence[tuple[Judged, Sanction | None]], failures: Sequence[tuple[str, Failure]] = ()
    ) -> Generator[Step, None, bool]:
        """Judge what was proposed, serially; let people decide; report what failed; check what must hold.

        Returns whether the context has changed.
        """
        invariants, before = self.setup.invariants, self._judge.version
        yield from self._judge_all(items)
        if invariants[InvariantClass.STRUCTURAL]:
            yield from self._check(InvariantClass.STRUCTURAL)
        if self._desk.is_busy:
            decided = yield from self._await_decisions()
            yield from self._judge_all([item for gate in decided if (item := self._decided(gate)) is not None])
            yield from self._check(InvariantClass.STRUCTURAL)
        if failures:
            yield from self._report(failures)
        if self.usage is not NOTHING:
            yield from self._overspent()
        changed = self._judge.version > before
        if changed and invariants[InvariantClass.SEMANTIC]:
            yield from self._check(InvariantClass.SEMANTIC)
        return changed

    def _settle(self) -> Iterator[Step]:
        """The fixed point: judge the criteria, check what is to be accepted, stop."""
        ctx = self._judge.view()
        evaluator = self.setup.evaluator
        self._criteria = tuple(judge(criterion, evaluator, ctx) for criterion in self.setup.criteria)
        for outcome in self._criteria:
            self._record.emit(outcome.event())
        yield from self._check(InvariantClass.ACCEPTANCE)
        reason = stop_reason_of(self._criteria)
        if not isinstance(reason, stop.HumanInterventionRequired):  # what waits for people is not concluded
            yield from self._commit()
        if not self._late:
            yield from self._stop(reason)

    def _commit(self) -> Iterator[Step]:
        """Let the flow gate, or a human whom it asks, say whether the fixed point counts, unless it has said so."""
        if self.setup.flow is None or self._judge.version == self._committed:
            return
        proposal, message = commitment(self._judge.version), ""
        yield from self._judge_all([(self._judge.made(draft(proposal, ENGINE.id, self.setup.payloads)), None)])
        for gate in (yield from self._await_decisions()):
            if (item := self._decided(gate)) is not None:
                yield from self._judge_all([item])
            if gate.decision is not None:
                message = f"{gate.decision.verdict} by {gate.decision.by}: {gate.decision.reason or 'no reason'}"
        if fact_ref(proposal.key, proposal.id) not in self._judge.log.by_ref:
            yield from self._stop(stop.CommitRefused(printable(message)))
        self._committed = self._judge.version

    def _is_early(self) -> bool:
        """Whether the intent lets the run end before its fixed point, and every required criterion is met."""
        intent = self.setup.intent
        if intent is None or intent.stop_when is not StopWhen.CRITERIA_MET:
            return False
        outcomes = [judge(criterion, self.setup.evaluator, self._judge.view()) for criterion in self.setup.criteria]
        return isinstance(stop_reason_of(outcomes), stop.CriteriaMet)

    def _stop(self, reason: stop.StopReason, held: int = 0) -> Iterator[Step]:
        """Record the stop, and stay there until the run is reopened."""
        result = self.result(reason)
        self._record.emit(
            events.RunStopped(
                stop=reason.to_json(),
                cycles=self.cycles,
                facts=self._judge.version,
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
        if (cycles := self._record.cycle) >= budget.max_cycles:
            return stop.CycleBudgetExhausted(cycles, budget.max_cycles)
        return None

    def _summon(self) -> list[tuple[str, Failure]]:
        """Await the calls of this cycle, in registration order; return whose ``accepts`` could not answer."""
        limit = self.budget.max_suggestors_per_cycle
        self._allowance = self._left()
        summons = self._roster.summon(self._record.cycle, self._judge.log, self._allowance, limit)
        for name, code in summons.skipped:
            self._record.emit(events.SuggestorSkipped(cycle=self.cycles, suggestor=name, code=code))
        self._awaited, self._outcomes = summons.calls, {}
        return summons.failures

    def _left(self) -> Allowance:
        """What the calls of a cycle may spend, all together."""
        tokens, cost = self.budget.max_tokens, self.budget.max_cost_microusd
        if tokens is None and cost is None:
            return UNLIMITED
        return Allowance(
            None if tokens is None else max(0, tokens - self.usage.tokens),
            None if cost is None else max(0, cost - self.usage.cost_microusd),
        )

    def _take_in(self, failures: list[tuple[str, Failure]]) -> list[tuple[Judged, Sanction | None]]:
        """Return what the calls proposed, in registration order.

        Counts what they consumed, notes up to where each suggestor that succeeded has read, and adds to ``failures``.
        """
        proposed: list[tuple[Judged, Sanction | None]] = []
        for name, call in self._awaited.items():
            outcome = self._outcomes[name]
            if outcome.usage is not NOTHING:
                self.usage += outcome.usage
            if outcome.failure is None:
                self._roster.has_read(name, call.context.version)
            else:
                failures.append((name, outcome.failure))
            proposed += [(item, None) for item in outcome.drafts]
        return proposed

    # --- what is proposed -------------------------------------------------------------------------------------------

    def _take_late(self) -> list[tuple[Judged, Sanction | None]]:
        """Return what was brought in from outside and not yet judged."""
        late, self._late = self._late, []
        return late

    def _judge_all(self, items: Sequence[tuple[Judged, Sanction | None]]) -> Iterator[Step]:
        """Judge proposals one by one; a stop leaves the rest unjudged, and counts them."""
        hear = self._judge.hear
        for place, (item, sanction) in enumerate(items, 1):
            while (reason := hear(item, sanction)) is not None:
                again = isinstance(reason, stop.FactBudgetExhausted)  # is judged, once the run is reopened with room
                yield from self._stop(reason, held=len(items) - place + again)
                if not again:
                    break

    # --- what people decide -----------------------------------------------------------------------------------------

    def _await_decisions(self) -> Generator[Step, None, list[Gate]]:
        """Wait until every gate of this cycle is decided; return them in merge order."""
        while waiting := self.open_gates:
            requests = tuple(gate.request for gate in waiting)
            self._record.emit(events.RunPaused(cycle=self.cycles, waiting=len(requests)))
            yield AwaitDecision(self.cycles, requests)
        return self._desk.clear()

    def _decided(self, gate: Gate) -> tuple[Judged, Sanction | None] | None:
        """Return what a decision lets through the gates, and what lets it."""
        gated, decision = gate.draft, gate.decision
        if decision is None:
            return None
        if decision.verdict is Verdict.APPROVE:
            return gated, gate.sanction
        if decision.verdict is Verdict.EDIT:
            made = edited(gated, decision, self.setup.payloads, self.setup.max_payload_bytes)
            return self._judge.made(made), gate.sanction
        why = decision.reason or "no reason provided"
        self._desk.turn_down(gated)
        code = "timed_out" if decision.by.kind is ActorKind.SYSTEM else "rejected_by_human"
        self._judge.turn_away(gated, code, f"{decision.by}: {why}")
        message = f"HITL gate rejected proposal '{gated.proposal.id}' by {decision.by.id}: {why}"
        statement = diagnostic(
            f"hitl-rejected:{gated.hash[:16]}", "hitl", message, gated.proposal.evidence, about=gated.content[0]
        )
        self._judge.state(statement)
        return None

    # --- what must hold ---------------------------------------------------------------------------------------------

    def _check(self, invariant_class: InvariantClass) -> Iterator[Step]:
        """Check the invariants of a class; the first violation stops the run, with a diagnostic fact."""
        for invariant in self.setup.invariants[invariant_class]:
            version = self._judge.version
            name = (invariant_class, invariant.name)
            violation = examine(invariant, Context(self._judge.log, version, self._checked.get(name, 0)))
            if violation is None:
                self._checked[name] = version
                continue
            reason = stop.InvariantViolated(invariant_class, invariant.name, violation.reason, violation.facts)
            self._record.emit(
                events.InvariantViolatedEvent(
                    cycle=self.cycles,
                    invariant=invariant.name,
                    invariant_class=invariant_class,
                    reason=violation.reason,
                    facts=violation.facts,
                )
            )
            self._judge.state(
                diagnostic(f"violation:{invariant.name}:{version}", invariant.name, str(reason), violation.facts)
            )
            yield from self._stop(reason)

    def _report(self, failures: Iterable[tuple[str, Failure]]) -> Iterator[Step]:
        """State who failed, in the ledger and as diagnostic facts; stop for the first who may not."""
        reasons: list[stop.StopReason] = []
        for name, failure in failures:
            optional = self.setup.is_optional(name)
            self._record.emit(
                events.SuggestorFailedEvent(
                    cycle=self.cycles, suggestor=name, code=failure.code, reason=failure.reason, optional=optional
                )
            )
            message = f"{name} failed ({failure.code}): {failure.reason}"
            self._judge.state(diagnostic(f"suggestor-failed:{str(ContentHash.of(message))[:16]}", name, message))
            if not optional:
                reasons.append(self._failure_stop(name, failure))
                self._roster.ask_again(name)
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
