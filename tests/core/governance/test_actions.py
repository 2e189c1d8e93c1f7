from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any, NoReturn

import pytest
from pydantic import ValidationError

from converge_core import (
    AgentEffect,
    Context,
    ContextKey,
    ContextState,
    Engine,
    Entry,
    LedgerError,
    MisuseError,
    PayloadError,
    SnapshotError,
    Suggestor,
    restore,
    snapshot,
)
from converge_core.context.snapshot import facts_root
from converge_core.experience.records import ExperienceRecord
from converge_core.governance.actions import (
    MAX_SUMMARY,
    ActionQuery,
    ActionRecord,
    ActionStatus,
    ActionType,
    AgentActor,
    Gate,
    GatePassage,
    GateTrace,
    action_proposal,
    actions_in,
    actions_told,
    causal_chain,
    count_by_status,
    pass_gates,
)
from converge_core.governance.claims import CapabilityClaim, CapabilityGate, CapacityVerifier, VerificationMethod
from converge_core.governance.classification import DREAM_LABELS, Classification
from converge_core.governance.negative_authority import DREAMER_SAFETY, AuthorityGate
from converge_core.ledger.canonical import canonical
from converge_core.llm.capacity import DreamerTier
from tests.core.experience.told import ended, records
from tests.core.stage import SEEDS, Says, engine_of, finish, play, seeded
from tests.fakes.backend import FakeCapacity
from tests.fakes.ledger import FakeLedger

ORDER = ["dcf", "nap", "ccf", "pcsf", "aapf"]
PASSED = tuple(GatePassage(gate=gate) for gate in Gate)
TURNED_AWAY = (
    GatePassage(gate=Gate.CLASSIFICATION),
    GatePassage(gate=Gate.NEGATIVE_AUTHORITY, denial="we do not trade"),
    GatePassage(gate=Gate.RECORD),
)


def action(
    agent: str = "orion", status: ActionStatus = ActionStatus.OK, kind: ActionType = ActionType.CHAT, **more: Any
) -> ActionRecord:
    gates = TURNED_AWAY if status is ActionStatus.DENIED else PASSED
    actor = AgentActor(agent_id=agent, provider_id="" if status is ActionStatus.DENIED else "acme")
    return ActionRecord(**{"action_type": kind, "actor": actor, "status": status, "gates": gates, **more})


def recorded(*actions: ActionRecord) -> ContextState:
    """A run in which an agent, woken by a seed, has recorded these actions."""
    proposals = [action_proposal(f"act-{n}", record, ["seeds/s"]) for n, record in enumerate(actions)]
    return play(engine_of(Says("agent", *proposals, reads=[SEEDS])), seeded("s")).result.context


# --- the record -------------------------------------------------------------------------------------------------------


def test_td002_a_record_holds_what_the_action_was_allowed_by() -> None:
    record = action(
        capability_claim="orion",
        nap_profile="dreamer-safety",
        dcf_ref="datum-1",
        plan="plan-1",
        data_classes=("dream_content",),
        tier=DreamerTier.DEEP_DREAMER,
        metadata={"art": "art-1"},
    )
    [fact] = actions_in(recorded(record))
    assert fact.payload == record
    assert ActionRecord.from_text(canonical(record.body())) == record


def test_a_record_is_read_with_any_engine() -> None:
    assert Engine().payloads.families()["converge.action"] is ActionRecord


def test_a_summary_is_cut_to_its_beginning() -> None:
    record = action(input_summary="x" * 201, output_summary="y" * 200)
    assert record.input_summary == "x" * (MAX_SUMMARY - 1) + "…"
    assert record.output_summary == "y" * MAX_SUMMARY


def test_a_record_can_be_read_in_one_line() -> None:
    assert action("o").summary() == "o: chat ok"
    assert action(status=ActionStatus.DENIED).summary() == "orion: chat denied, we do not trade"
    assert action(status=ActionStatus.ERROR, error="no answer").summary() == "orion: chat error, no answer"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gates": PASSED[:-1]}, "the trace ends before gate aapf"),
        ({"gates": ()}, "the trace ends before gate dcf"),
        ({"gates": TURNED_AWAY}, "denied where a gate has turned it away, and only there"),
        ({"status": ActionStatus.DENIED}, "denied where a gate has turned it away, and only there"),
        ({"latency_ms": -1}, "latency_ms"),
        ({"tier": "gild"}, "tier"),
        ({"boundary": "clout"}, "boundary"),
        ({"actor": AgentActor.model_construct(agent_id="")}, "agent_id"),
    ],
)
def test_a_record_that_cannot_be_true_is_refused(fields: dict[str, object], message: str) -> None:
    body = {**action().model_dump(mode="json"), **{name: _plain(value) for name, value in fields.items()}}
    with pytest.raises(ValidationError, match=message):
        ActionRecord.model_validate(body)


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [each.model_dump(mode="json") for each in value]
    return value.model_dump(mode="json") if isinstance(value, AgentActor) else value


@pytest.mark.parametrize(
    "fields", [{"actor": AgentActor(agent_id="orion", provider_id="acme")}, {"output_summary": "words"}]
)
def test_a_denied_action_has_asked_no_provider_and_has_no_output(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="has asked no provider and has no output"):
        action(status=ActionStatus.DENIED, **fields)


def test_x11_a_record_does_not_change_after_it_was_made() -> None:
    record = action(metadata={"art": "art-1"})
    with pytest.raises(ValidationError, match="frozen"):
        record.status = ActionStatus.ERROR
    with pytest.raises(TypeError, match="immutable"):
        record.metadata["art"] = "another"  # type: ignore[index]  # the mistake


def test_x11_a_record_that_was_changed_in_storage_is_noticed() -> None:
    context = recorded(action())
    stored, root = snapshot(context), facts_root(tuple(context.facts()))
    forged = stored.replace('"status":"ok"', '"status":"error"')
    assert forged != stored
    assert restore(stored, root, Engine().payloads).facts() == context.facts()
    with pytest.raises(SnapshotError):
        restore(forged, root, Engine().payloads)


# --- the order of the gates -------------------------------------------------------------------------------------------


def test_x30_the_gates_have_one_order() -> None:
    assert [gate.value for gate in Gate] == ORDER
    asked: list[str] = []

    def noted(gate: Gate) -> Callable[[], None]:
        return lambda: asked.append(gate.value)

    for order in permutations([gate for gate in Gate if gate is not Gate.RECORD]):
        asked.clear()
        trace = pass_gates({gate: noted(gate) for gate in order}).after(Gate.RECORD)
        assert [*asked, "aapf"] == [passage.gate.value for passage in trace.passages] == ORDER
        assert trace.due is None


@pytest.mark.parametrize("denying", [gate for gate in Gate if gate is not Gate.RECORD])
def test_x30_who_is_turned_away_comes_to_the_record_and_to_no_other_gate(denying: Gate) -> None:
    asked: list[Gate] = []

    def objection(gate: Gate) -> str | None:
        asked.append(gate)
        return "no" if gate is denying else None

    trace = pass_gates({gate: lambda gate=gate: objection(gate) for gate in list(Gate)[:-1]})  # type: ignore[misc]  # bound now
    assert asked == list(Gate)[: list(Gate).index(denying) + 1]
    assert (trace.due, trace.granted) == (Gate.RECORD, False)
    assert trace.denial == GatePassage(gate=denying, denial="no")


def test_x30_a_gate_out_of_its_turn_is_refused() -> None:
    trace = GateTrace().after(Gate.CLASSIFICATION)
    with pytest.raises(MisuseError, match="gate ccf is not due: nap is"):
        trace.after(Gate.CAPABILITY)
    with pytest.raises(MisuseError, match="gate ccf is not due: aapf is"):
        trace.after(Gate.NEGATIVE_AUTHORITY, "no").after(Gate.CAPABILITY)
    with pytest.raises(MisuseError, match="gate aapf is not due: nothing is"):
        GateTrace(PASSED).after(Gate.RECORD)


def test_td002_no_gate_is_left_out_and_none_is_added() -> None:
    with pytest.raises(MisuseError, match="passes the gates dcf, nap, ccf, pcsf; no other"):
        pass_gates({Gate.CLASSIFICATION: lambda: None})
    with pytest.raises(MisuseError, match="none is left out"):
        pass_gates({gate: lambda: None for gate in Gate})


def test_an_action_is_granted_when_every_gate_before_the_record_let_it_pass() -> None:
    assert not GateTrace(PASSED[:3]).granted
    assert GateTrace(PASSED[:4]).granted


class OneProvider(FakeCapacity):
    def chain(self, tier: DreamerTier = DreamerTier.WANDERER) -> tuple[str, ...]:
        return ("acme",)


@pytest.mark.parametrize(
    ("what", "agent", "labels", "now_ms", "denied_by"),
    [
        ("chat", "orion", {"dream_content"}, 0, None),
        ("chat", "orion", {"user_identity"}, 10**12, Gate.CLASSIFICATION),
        ("data_deletion", "nobody", {"dream_content"}, 0, Gate.NEGATIVE_AUTHORITY),
        ("chat", "nobody", {"dream_content"}, 0, Gate.CAPABILITY),
    ],
)
def test_td002_the_gates_of_the_house_make_one_trace(
    what: str, agent: str, labels: set[str], now_ms: int, denied_by: Gate | None
) -> None:
    capacity = OneProvider()
    claims = CapabilityGate().register(
        CapabilityClaim("orion", "acme", frozenset({"chat"}), method=VerificationMethod.HEALTH_PROBE)
    )
    claims = finish(claims.refreshed("orion", {VerificationMethod.HEALTH_PROBE: CapacityVerifier(capacity)}, now_ms))
    datum, denials, tier = Classification("d", labels, 0), AuthorityGate((DREAMER_SAFETY,)), DreamerTier.WANDERER

    def capacity_objection() -> str | None:
        leave = capacity.admit("acme")
        return None if leave.permit is not None else leave.reason

    trace = pass_gates(
        {
            Gate.CAPACITY: capacity_objection,
            Gate.CAPABILITY: lambda: claims.check(agent, {"chat"}, tier, now_ms).objection,
            Gate.CLASSIFICATION: lambda: datum.objection(DREAM_LABELS, now_ms),
            Gate.NEGATIVE_AUTHORITY: lambda: denials.check(what, None, None, datum.all_labels, tier, now_ms).objection,
        }
    )
    assert (None if trace.denial is None else trace.denial.gate) is denied_by
    assert capacity.out == (denied_by is None)


# --- in the ledger ----------------------------------------------------------------------------------------------------


class Calls(Suggestor):
    """Calls a provider and records the action."""

    name, dependencies = "agent", (SEEDS,)
    calls = 0

    def execute(self, ctx: Context) -> AgentEffect:
        self.calls += 1
        return AgentEffect.with_proposal(action_proposal("act", action()))


class FullDisk(FakeLedger):
    """A ledger that cannot write."""

    async def append(self, run_id: str, expected_size: int, entries: Sequence[Entry]) -> NoReturn:
        raise LedgerError("the disk is full")


def test_x10_where_the_ledger_cannot_write_nobody_is_called() -> None:
    agent = Calls()
    with pytest.raises(LedgerError, match="the disk is full"):
        play(engine_of(agent), seeded("s"), ledger=FullDisk())
    assert agent.calls == 0
    play(engine_of(agent), seeded("s"), ledger=FakeLedger())
    assert agent.calls == 1


def test_an_action_has_the_chain_of_its_causes() -> None:
    first = action_proposal("first", action(), ["seeds/s", "https://example.org"])
    second = action_proposal("second", action(), ["evaluations/first", "evaluations/unknown"])
    ctx = play(engine_of(Says("agent", first, second, reads=[SEEDS])), seeded("s", "t")).result.context
    assert [fact.ref for fact in causal_chain(ctx, "evaluations/second")] == [
        "seeds/s",
        "evaluations/first",
        "evaluations/second",
    ]
    assert causal_chain(ctx, "evaluations/unknown") == ()


def test_facts_that_cite_each_other_have_a_chain_that_ends() -> None:
    one = action_proposal("one", action(), ["evaluations/two"])
    two = action_proposal("two", action(), ["evaluations/one"])
    ctx = play(engine_of(Says("agent", one, two, reads=[SEEDS])), seeded("s")).result.context
    assert [fact.id for fact in causal_chain(ctx, "evaluations/one")] == ["one", "two"]


def test_an_action_stands_under_the_key_that_it_is_given() -> None:
    assert action_proposal("act", action()).key is ContextKey.EVALUATIONS
    assert action_proposal("act", action(), key=ContextKey.DIAGNOSTIC).key is ContextKey.DIAGNOSTIC


# --- queries ----------------------------------------------------------------------------------------------------------

MIXED = (
    action("orion"),
    action("lantern", ActionStatus.ERROR),
    action("orion", ActionStatus.DENIED, ActionType.SAVE),
    action("orion", ActionStatus.OK, ActionType.SAVE),
)


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (ActionQuery(), ["act-0", "act-1", "act-2", "act-3"]),
        (ActionQuery(agent="orion"), ["act-0", "act-2", "act-3"]),
        (ActionQuery(action_type=ActionType.SAVE), ["act-2", "act-3"]),
        (ActionQuery(status=ActionStatus.OK), ["act-0", "act-3"]),
        (ActionQuery(agent="orion", action_type=ActionType.SAVE, status=ActionStatus.DENIED), ["act-2"]),
        (ActionQuery(agent="nobody"), []),
        (ActionQuery(limit=3), ["act-1", "act-2", "act-3"]),
        (ActionQuery(agent="orion", limit=2), ["act-2", "act-3"]),
    ],
)
def test_actions_are_found_by_actor_type_and_status_the_last_ones_where_there_is_a_limit(
    query: ActionQuery, ids: list[str]
) -> None:
    assert [fact.id for fact in actions_in(recorded(*MIXED), query)] == ids
    assert [told.entry.subject for told in actions_told(told_of(*MIXED), query)] == [f"evaluations/{id}" for id in ids]


def told_of(*actions: ActionRecord) -> list[ExperienceRecord]:
    proposals = [action_proposal(f"act-{n}", record) for n, record in enumerate(actions)]
    return records(ended(engine_of(Says("agent", *proposals, reads=[SEEDS]))))


def test_an_action_of_a_past_run_is_told_as_it_was_recorded() -> None:
    [told] = actions_told(told_of(MIXED[2]))
    assert told.record == MIXED[2]
    assert (told.entry.run_id, told.entry.kind) == ("past", "fact_promoted")


def test_an_action_that_was_only_proposed_is_none() -> None:
    [told] = actions_told(told_of(MIXED[0]))
    assert actions_told([replace(told.entry, kind="proposal_gated", entry="proposal_gated")]) == ()


def test_an_action_of_a_newer_program_is_not_guessed_at() -> None:
    [told] = actions_told(told_of(MIXED[0]))
    content = {**(told.entry.content or {}), "version": 2}
    with pytest.raises(PayloadError, match="newer than this program"):
        actions_told([ExperienceRecord("past", 1, "fact_promoted", "fact_promoted", "", {}, {}, None, content)])


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(MisuseError, match="at least 1, not 0"):
        ActionQuery(limit=0)
    assert [fact.id for fact in actions_in(recorded(*MIXED), ActionQuery(limit=1))] == ["act-3"]


def test_actions_are_counted_by_how_they_ended() -> None:
    assert count_by_status(MIXED) == {
        ActionStatus.OK: 2,
        ActionStatus.ERROR: 1,
        ActionStatus.DENIED: 1,
        ActionStatus.TIMEOUT: 0,
    }
