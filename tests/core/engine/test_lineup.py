"""Formations in the machine: decided through the gates, recorded, and obeyed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from converge_core import (
    Blocked,
    Budget,
    Context,
    ContextKey,
    ContextState,
    Criterion,
    CriterionResult,
    Engine,
    FactPayload,
    HitlPolicy,
    IntentError,
    Met,
    MisuseError,
    ProposedFact,
    RootIntent,
    SetupChanged,
    Suggestor,
    Unmet,
    replay,
)
from converge_core.engine.drive import drive
from converge_core.formations.decision import FormationDecision, FormationOutcome
from converge_core.formations.kinds import (
    DeliberatedFormation,
    Formation,
    FormationKind,
    OpenClawFormation,
    ScoredFormation,
    ScoringWeights,
    StaticFormation,
)
from converge_core.formations.profiles import SuggestorProfile
from converge_core.gates.flow import RejectAllFlowGateAuthorizer
from converge_core.gates.hitl import GateDecision
from converge_core.gates.stop import Converged, CriteriaMet, CycleBudgetExhausted, HumanInterventionRequired
from converge_core.llm.capability import CapabilityKind
from converge_core.llm.profiles import CostClass, ProviderProfile
from tests.core.stage import (
    SEEDS,
    SIGNALS,
    Played,
    Says,
    approve,
    edit,
    engine_of,
    finish,
    play,
    refs,
    reject,
    seeded,
    text,
)
from tests.fakes.approver import FakeApprover

STRATEGIES = ContextKey.STRATEGIES
BY_FORMATION = HitlPolicy(gated_suggestors=("formation",))
ONLY_SURE = ScoringWeights(cost=0, latency=0, confidence=1, role_coverage=0)


def says(name: str, confidence: float = 1.0, profile: SuggestorProfile | None = None) -> Says:
    """A suggestor that is woken by seeds, and says one thing."""
    made = Says(name, text(f"by-{name}", key=SIGNALS, confidence=confidence), reads=[SEEDS])
    made.profile = profile or SuggestorProfile()
    return made


class Shown:
    """Meets a criterion by the fact that it names; ``ask`` waits for a human."""

    def evaluate(self, criterion: Criterion, ctx: Context) -> CriterionResult:
        if criterion.id == "ask":
            return Blocked("law", "ap:1")
        return Met((criterion.id,)) if ctx.resolve(criterion.id) is not None else Unmet("not yet")


def trio(**settings: Any) -> Engine:
    """Three suggestors, a, b and c."""
    return engine_of(says("a"), says("b"), says("c"), evaluator=Shown(), **settings)


def intent(formation: Formation, *criteria: str, **more: Any) -> RootIntent:
    return RootIntent("i", formation=formation, success=tuple(Criterion(id) for id in criteria), **more)


def played(formation: Formation, *criteria: str, engine: Engine | None = None, **more: Any) -> Played:
    return play(engine or trio(), seeded("s"), intent(formation, *criteria), **more)


def asked(played: Played) -> list[str]:
    return [body["suggestor"] for body in played.bodies("effect_received")]


def decisions(played: Played) -> list[FormationDecision]:
    return [fact.payload for fact in played.result.context.get(FormationDecision)]


def told(name: str, candidates: str, selected: str) -> ProposedFact[FactPayload]:
    payload = FormationDecision(
        kind=FormationKind.STATIC, candidates=tuple(candidates), selected=tuple(selected), rationale="told so"
    )
    return ProposedFact(STRATEGIES, name, payload)


def told_by_somebody(*said: ProposedFact[FactPayload]) -> Played:
    context = seeded("s")
    for decision in said:
        context.add_proposal(decision)
    return play(trio(), context)


# Decisions of anybody.


def test_without_a_decision_everybody_is_asked() -> None:
    assert asked(told_by_somebody()) == ["a", "b", "c"]


def test_a_candidate_that_is_not_selected_is_not_asked_and_that_is_recorded() -> None:
    run = told_by_somebody(told("d", candidates="ab", selected="b"))
    assert asked(run) == ["b", "c"]
    skipped = [(body["suggestor"], body["code"]) for body in run.bodies("suggestor_skipped")]
    assert skipped == [("a", "not_in_formation")]


def test_the_latest_decision_counts() -> None:
    assert asked(told_by_somebody(told("d", "abc", "a"), told("e", "abc", "bc"))) == ["b", "c"]


def test_nobody_may_be_selected() -> None:
    assert asked(told_by_somebody(told("d", "abc", ""))) == []


def test_whoever_is_selected_later_sees_all_that_it_has_missed() -> None:
    change = Says("change", told("e", "abc", "c"), reads=[(SIGNALS, type(text("t").payload))])
    seen: list[list[str]] = []

    class Sees(Says):
        def execute(self, ctx: Context) -> Any:
            seen.append([fact.id for fact in ctx.fresh(SEEDS)])
            return super().execute(ctx)

    late = Sees("c", text("by-c", key=SIGNALS), reads=[SEEDS])
    context = seeded("s", "t").add_proposal(told("d", "abc", "a"))
    run = play(engine_of(says("a"), says("b"), late, change), context)
    assert asked(run) == ["a", "change", "c", "change"]
    assert seen == [["s", "t"]]


def test_whoever_has_read_everything_is_not_asked_again_for_being_selected() -> None:
    change = Says("change", told("e", "abc", "ab"), reads=[SIGNALS])
    run = play(engine_of(says("a"), says("b"), change), seeded("s").add_proposal(told("d", "abc", "a")))
    assert asked(run) == ["a", "change", "b", "change"]


# Static and scored.


def test_a_formation_begins_with_a_decision_that_is_an_input() -> None:
    run = played(StaticFormation(names=("b",)))
    proposers = [body["proposer"] for body in run.bodies("input_admitted")]
    assert proposers == ["input", "formation"]
    assert refs(run.result)[:2] == ["seeds/s", "strategies/formation:0"]
    assert asked(run) == ["b"]


def test_whoever_is_no_candidate_is_asked_as_ever() -> None:
    assert asked(played(StaticFormation(candidates=("a", "b"), names=("b",)))) == ["b", "c"]


def test_the_best_are_asked() -> None:
    profiles = [SuggestorProfile(confidence=confidence) for confidence in (0.2, 0.9, 0.5)]
    engine = engine_of(*[says(name, profile=profile) for name, profile in zip("abc", profiles, strict=True)])
    run = played(ScoredFormation(top_n=2, weights=ONLY_SURE), engine=engine)
    assert asked(run) == ["b", "c"]
    assert [each.suggestor for each in decisions(run)[0].scores] == ["b", "c", "a"]


def test_capabilities_are_those_of_the_registered_suggestors() -> None:
    engine = engine_of(says("a"), says("b", profile=SuggestorProfile(capabilities=("analytics",))))
    run = played(StaticFormation(names=("a", "b"), capabilities=("analytics",)), engine=engine)
    assert asked(run) == ["b"]
    assert [(each.suggestor, each.reason) for each in decisions(run)[0].refused] == [("a", "lacks analytics")]


def test_backends_are_those_of_the_engine() -> None:
    needy = says("a", profile=SuggestorProfile(backend=("reasoning",)))
    backend = ProviderProfile("b", "p", "m", CostClass.LOW, 10, 0.5, {CapabilityKind.REASONING})
    formation = StaticFormation(names=("a",))
    assert asked(played(formation, engine=engine_of(needy))) == []
    assert asked(played(formation, engine=engine_of(needy, backends=[backend]))) == ["a"]


def test_a_candidate_whose_pack_is_not_active_plays_no_role() -> None:
    planner = SuggestorProfile(roles=("planning",))
    engine = engine_of(says("b", profile=planner))
    engine.register_suggestor(says("a", profile=planner), pack="other")
    engine.set_active_packs(["mine"])
    run = played(StaticFormation(names=("a", "b"), roles=("planning",)), engine=engine)
    assert decisions(run)[0].selected == ("b",)
    assert decisions(run)[0].refused[0].reason == "its pack 'other' is not active"


# Gates.


def test_a_human_can_be_asked_about_a_formation() -> None:
    approver = FakeApprover({"strategies/formation:0": [approve("ann")]})
    run = played(StaticFormation(names=("b",)), engine=trio(hitl_policy=BY_FORMATION), approver=approver)
    assert asked(run) == ["b"]
    [fact] = run.result.context.get(FormationDecision)
    assert str(fact.promotion.approver) == "human:ann"


def test_a_formation_that_a_human_rejects_lets_nobody_in() -> None:
    approver = FakeApprover({"strategies/formation:0": [reject("ann", "no")]})
    run = played(
        StaticFormation(candidates=("a", "b"), names=("b",)),
        engine=trio(hitl_policy=BY_FORMATION),
        approver=approver,
    )
    assert asked(run) == ["c"]


def test_a_human_can_select_another() -> None:
    changed = told("x", "abc", "c").payload
    approver = FakeApprover({"strategies/formation:0": [edit(changed, "ann")]})
    run = played(StaticFormation(names=("b",)), engine=trio(hitl_policy=BY_FORMATION), approver=approver)
    assert asked(run) == ["c"]


def test_a_formation_that_covers_few_roles_is_unsure_enough_to_ask_a_human() -> None:
    policy = HitlPolicy(confidence_threshold=0.4)
    run = played(StaticFormation(names=("a",), roles=("planning",)), engine=trio(hitl_policy=policy))
    assert run.result.pause is not None
    [request] = run.result.pause.requests
    assert request.summary == "static: a of 3; named by the intent; nobody for planning"


def test_a_formation_that_the_flow_gate_rejects_lets_nobody_in() -> None:
    run = played(StaticFormation(names=("b",)), engine=trio(flow=RejectAllFlowGateAuthorizer()))
    assert asked(run) == []


# Deliberated.


def talkers() -> Engine:
    """Three who differ in confidence."""
    return engine_of(says("a", 0.5), says("b", 0.6), says("c", 0.9))


class Chain(Suggestor):
    """Adds one seed a cycle until there are as many as it was told."""

    name = "chain"
    dependencies = (SEEDS,)

    def __init__(self, length: int) -> None:
        self.length = length

    def execute(self, ctx: Context) -> Any:
        count = ctx.count(SEEDS)
        return () if count >= self.length else [text(f"s{count}")]


def test_after_a_huddle_those_stay_who_were_sure_enough() -> None:
    run = played(DeliberatedFormation(), engine=talkers())
    first, last = decisions(run)
    assert (first.selected, first.rationale) == (("a", "b", "c"), "a huddle of at most 3 cycles")
    assert last.selected == ("c", "b")
    assert last.refused[0].reason == "a mean confidence of 0.5 is below 0.6"


def test_a_huddle_ends_when_its_cycles_are_used_up() -> None:
    engine = engine_of(Chain(9), says("a", 0.5), says("b", 0.9))
    formation = DeliberatedFormation(candidates=("a", "b"), huddle_max_cycles=2)
    run = played(formation, engine=engine)
    by_cycle = [(body["cycle"], body["suggestor"]) for body in run.bodies("effect_received")]
    assert [cycle for cycle, name in by_cycle if name == "a"] == [1, 2]
    assert [cycle for cycle, name in by_cycle if name == "b"] == [1, 2, *range(4, 11)]  # 3 is the decision's own
    last = run.result.context.get(FormationDecision)[-1]
    assert (last.promotion.cycle, last.proposer) == (3, "formation")


def test_a_huddle_ends_before_when_nobody_has_anything_new_to_say() -> None:
    run = played(DeliberatedFormation(huddle_max_cycles=50), engine=talkers())
    assert len(decisions(run)) == 2
    assert run.result.cycles < 10


def test_the_decision_after_a_huddle_is_gated_like_any_other() -> None:
    engine = engine_of(says("a", 0.5), says("b", 0.9), hitl_policy=BY_FORMATION)
    answers = {"strategies/formation:0": [approve("ann")], "strategies/formation:4": [approve("bob")]}
    run = played(DeliberatedFormation(), engine=engine, approver=FakeApprover(answers))
    approvers = [fact.promotion.approver.id for fact in run.result.context.get(FormationDecision)]
    assert approvers == ["ann", "bob"]


def test_only_those_of_the_huddle_can_stay() -> None:
    engine = trio(hitl_policy=BY_FORMATION)
    answers: dict[str, list[Callable[[str], GateDecision]]] = {
        "strategies/formation:0": [edit(told("x", "abc", "ab").payload)],
        "strategies/formation:4": [approve()],
    }
    run = played(DeliberatedFormation(), engine=engine, approver=FakeApprover(answers))
    assert decisions(run)[-1].selected == ("a", "b")
    assert decisions(run)[-1].refused[0].reason == "was not in the huddle"


@pytest.mark.parametrize("times", [10, 109])  # where a sum, and a correctly rounded one, come out below
def test_whoever_is_six_tenths_sure_each_time_is_so_on_average(times: int) -> None:
    made = [text(f"x{number}", key=SIGNALS, confidence=0.6) for number in range(times)]
    run = played(DeliberatedFormation(), engine=engine_of(Says("a", *made, reads=[SEEDS])))
    assert decisions(run)[-1].selected == ("a",)


# Open.


def open_run(*criteria: str, loops: int = 5, engine: Engine | None = None, **more: Any) -> Played:
    formation = OpenClawFormation(variants=(("a",), ("b",), ("c",)), max_extra_loops=loops)
    return played(formation, *criteria, engine=engine, **more)


def test_an_open_formation_tries_variants_until_the_criteria_are_met() -> None:
    run = open_run("signals/by-b")
    assert asked(run) == ["a", "b"]
    assert isinstance(run.result.stop_reason, CriteriaMet)
    assert [decision.variant for decision in decisions(run)] == [1, 2]


def test_where_the_first_variant_is_enough_no_other_is_tried() -> None:
    assert asked(open_run("signals/by-a")) == ["a"]


def test_no_more_loops_are_made_than_allowed() -> None:
    run = open_run("signals/none", loops=1)
    assert asked(run) == ["a", "b"]
    assert type(run.result.stop_reason) is Converged
    assert not run.result.criteria_met


def test_no_more_loops_are_made_than_there_are_variants() -> None:
    assert asked(open_run("signals/none")) == ["a", "b", "c"]


def test_an_extra_loop_is_an_input_and_a_reopened_run() -> None:
    run = open_run("signals/by-b")
    stopped = run.kinds.index("run_stopped")
    assert run.kinds[stopped + 1 : stopped + 4] == ["input_admitted", "run_reopened", "fact_promoted"]
    assert run.bodies("input_admitted")[-1]["proposer"] == "formation"


def test_what_waits_for_a_human_is_not_tried_again() -> None:
    run = open_run("ask")
    assert asked(run) == ["a"]
    assert isinstance(run.result.stop_reason, HumanInterventionRequired)


def test_an_extra_loop_keeps_to_the_budget() -> None:
    run = open_run("signals/by-c", engine=trio(budget=Budget(max_cycles=4)))
    assert isinstance(run.result.stop_reason, CycleBudgetExhausted)
    assert run.result.cycles == 4


def test_a_variant_that_a_human_rejects_is_followed_by_the_next() -> None:
    answers: dict[str, list[Callable[[str], GateDecision]]] = {
        "strategies/formation:0": [approve()],
        "strategies/formation:3": [reject()],
        "strategies/formation:4": [approve()],
    }
    engine = trio(hitl_policy=BY_FORMATION)
    assert asked(open_run("signals/by-c", engine=engine, approver=FakeApprover(answers))) == ["a", "c"]


def test_an_open_formation_without_a_required_criterion_is_refused() -> None:
    formation = OpenClawFormation(variants=(("a",),))
    optional = RootIntent("i", formation=formation, success=(Criterion("signals/x", required=False),))
    with pytest.raises(IntentError, match="an open one needs a required success criterion"):
        trio().begin(ContextState(), optional)


# What is recorded.


ALL = [
    intent(StaticFormation(names=("b",))),
    intent(ScoredFormation(top_n=1, roles=("planning",))),
    intent(DeliberatedFormation(huddle_max_cycles=1)),
    intent(OpenClawFormation(variants=(("a",), ("b",), ("c",)), max_extra_loops=2), "signals/by-c"),
]


@pytest.mark.parametrize("stated", ALL, ids=lambda stated: stated.formation.kind)
def test_a_run_that_is_broken_off_anywhere_goes_on_to_the_same_end(stated: RootIntent) -> None:
    whole = play(trio(), seeded("s"), stated)
    for place in range(1, len(whole.appends) + 1):
        log = [entry for append in whole.appends[:place] for entry in append]
        resumed = replay(trio(), log)
        result = finish(drive(resumed))
        assert refs(result) == refs(whole.result)
        assert result.integrity == whole.result.integrity


def test_a_replay_does_not_need_the_backends_that_were_there() -> None:
    backend = ProviderProfile("b", "p", "m", CostClass.LOW, 10, 0.5, {CapabilityKind.REASONING})
    profile = SuggestorProfile(backend=("reasoning",))
    for formation in (StaticFormation(names=("a",)), DeliberatedFormation()):
        log = played(formation, engine=engine_of(says("a", profile=profile), backends=[backend])).log
        assert asked(Played(replay(engine_of(says("a", profile=profile)), log).result(), [log])) == ["a"]


def test_a_run_goes_on_under_the_formation_that_its_ledger_names() -> None:
    log = played(ScoredFormation(top_n=1)).log
    assert replay(trio(), log).setup.formation == ScoredFormation(top_n=1)


def test_a_changed_profile_is_a_changed_suggestor() -> None:
    log = played(ScoredFormation(top_n=1)).log
    changed = engine_of(says("a", profile=SuggestorProfile(confidence=0.1)), says("b"), says("c"), evaluator=Shown())
    with pytest.raises(SetupChanged, match="suggestor 'a' changed: profile"):
        replay(changed, log)


def test_a_formation_that_is_decided_again_contradicts_no_earlier_decision() -> None:
    """Section 6.5, item 14: the id by which a decision was looked up was not the one that it was given."""
    earlier = played(DeliberatedFormation()).result.context
    again = play(trio(), ContextState(earlier.facts()), intent(StaticFormation(names=("b",))))
    assert again.result.converged
    ids = [fact.id for fact in again.result.context.get(FormationDecision)]
    assert ids == ["formation:0", "formation:5", "formation:6"]
    assert again.bodies("proposal_conflicted") == []


def test_the_outcome_of_a_formation_says_who_was_used_and_how_often_it_was_tried() -> None:
    run = open_run("signals/by-b")
    expected = FormationOutcome(FormationKind.OPEN, ("a", "b"), True, run.result.cycles, 1)
    assert run.result.formation == expected
    assert told_by_somebody().result.formation is None


# Misuse.


def test_whoever_a_formation_names_has_to_be_registered() -> None:
    formation = OpenClawFormation(candidates=("a", "x"), variants=(("a",), ("a", "x")))
    with pytest.raises(IntentError) as caught:
        trio().begin(ContextState(), intent(formation, "signals/s"))
    assert [(problem.path, problem.message) for problem in caught.value.problems] == [
        ("formation.candidates.1", "no suggestor 'x' is registered"),
        ("formation.variants.1.1", "no suggestor 'x' is registered"),
    ]


def test_no_suggestor_speaks_for_the_formation() -> None:
    with pytest.raises(MisuseError, match="'formation' is reserved"):
        trio().register_suggestor(says("formation"))
