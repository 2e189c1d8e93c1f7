"""`PackSuggestor` in a run: every problem is answered, and no answer is silent."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from converge_core import (
    ContextKey,
    ContextState,
    ConvergeResult,
    Fact,
    FactPayload,
    HitlPolicy,
    MisuseError,
    ProposedFact,
    Replayability,
    SubjectRef,
)
from converge_core.gates.stop import HitlGatePending, SuggestorFailed
from converge_core.packs import (
    DeterminismSpec,
    Finding,
    PackInput,
    PackOutcome,
    PackSuggestor,
    PlanEvaluation,
    PlanVerdict,
    Severity,
    SolveBudgets,
    SolverStop,
)
from tests.core.packs.toy import Change, Coins, Purse, purse, report
from tests.core.stage import SEEDS, SIGNALS, Says, engine_of, play, refs, text

STRATEGIES, EVALUATIONS = ContextKey.STRATEGIES, ContextKey.EVALUATIONS


def problem(id: str, amount: int, *coins: int, subject: SubjectRef | None = None) -> ProposedFact[FactPayload]:
    return ProposedFact(SEEDS, id, Change(amount=amount, coins=coins), subject=subject)


def stage(*proposals: ProposedFact[FactPayload]) -> ContextState:
    context = ContextState()
    for proposal in proposals:
        context.add_proposal(proposal)
    return context


def solve(*proposals: ProposedFact[FactPayload], pack: Coins | None = None, **settings: object) -> ConvergeResult:
    return play(engine_of(PackSuggestor(pack or Coins()), **settings), stage(*proposals)).result


def plans(result: ConvergeResult) -> Sequence[Fact[Purse]]:
    return result.context.get(STRATEGIES, Purse)


def outcome(result: ConvergeResult) -> Fact[PackOutcome]:
    (found,) = result.context.get(EVALUATIONS, PackOutcome)
    return found


def failure(result: ConvergeResult) -> str:
    assert isinstance(result.stop_reason, SuggestorFailed)
    return result.stop_reason.message


# Plans.


def test_a_plan_is_proposed_with_its_confidence_and_the_problem_as_evidence() -> None:
    (plan,) = plans(solve(problem("p", 5, 2, 2, 1)))
    assert plan.payload == purse(2, 2, 1)
    assert (plan.id, plan.confidence, plan.evidence) == ("toy.coins:p", 0.8, ("seeds/p",))


def test_the_subject_of_a_problem_is_that_of_its_plan() -> None:
    subject = SubjectRef("shop://till/3")
    (plan,) = plans(solve(problem("p", 2, 2, subject=subject)))
    assert plan.subject == subject


def test_every_problem_is_solved_not_only_the_first() -> None:
    result = solve(problem("p", 2, 2), problem("q", 3, 2, 1), problem("r", 1, 1))
    assert [plan.payload.coins for plan in plans(result)] == [(2,), (2, 1), (1,)]


def test_a_problem_that_comes_later_is_solved_then_and_the_others_not_again() -> None:
    pack = Coins()
    late = Says("late", problem("q", 3, 2, 1), reads=(STRATEGIES,))
    result = play(engine_of(PackSuggestor(pack), late), stage(problem("p", 2, 2))).result
    assert [plan.id for plan in plans(result)] == ["toy.coins:p", "toy.coins:q"]
    assert len(pack.given) == 2


def test_a_problem_may_be_stated_as_free_json() -> None:
    stated = PackInput(pack="toy.coins", inputs={"amount": 3, "coins": [1, 2]})
    (plan,) = plans(solve(ProposedFact(SEEDS, "p", stated)))
    assert plan.payload.coins == (2, 1)


def test_the_problem_of_another_pack_is_left_to_it() -> None:
    stated = ProposedFact(SEEDS, "p", PackInput(pack="toy.stamps", inputs={}))
    assert refs(solve(stated, text("s"))) == ["seeds/p", "seeds/s"]


def test_the_keys_can_be_others() -> None:
    suggestor = PackSuggestor(Coins(), name="coins", reads=SIGNALS, writes=ContextKey.PROPOSALS, outcomes=SIGNALS)
    fits = ProposedFact(SIGNALS, "fits", Change(amount=2, coins=(2,)))
    fails = ProposedFact(SIGNALS, "fails", Change(amount=1, coins=(2,)))
    result = play(engine_of(suggestor), stage(fits, fails, problem("p", 2, 2))).result
    assert refs(result)[3:] == ["proposals/coins:fits", "signals/coins:fails"]


def test_two_suggestors_with_one_pack_do_not_contradict_each_other() -> None:
    greedy = PackSuggestor(Coins(), name="greedy")
    careful = PackSuggestor(Coins(lambda problem: purse(*problem.coins)), name="careful")
    result = play(engine_of(greedy, careful), stage(problem("p", 2, 1, 1))).result
    assert [plan.id for plan in plans(result)] == ["greedy:p", "careful:p"]


def test_the_limits_and_the_seed_reach_the_pack() -> None:
    pack, budgets, determinism = Coins(), SolveBudgets(time_limit=0.5), DeterminismSpec(seed=3)
    suggestor = PackSuggestor(pack, budgets=budgets, determinism=determinism)
    play(engine_of(suggestor), stage(problem("p", 2, 2)))
    assert pack.given == [(budgets, determinism)]


def test_what_identifies_the_pack_is_in_the_ledger() -> None:
    pack = Coins()
    pack.replayability = Replayability.BEST_EFFORT
    suggestor = PackSuggestor(pack, budgets=SolveBudgets(candidate_cap=9), config={"max_gap": 0.1})
    assert suggestor.version == "7"
    assert suggestor.replayability is Replayability.BEST_EFFORT
    assert suggestor.config == {
        "budgets": {"candidate_cap": 9, "iteration_limit": 100_000, "time_limit": 30.0},
        "determinism": {"seed": 0},
        "pack": "toy.coins",
        "settings": {"max_gap": 0.1},
    }


# No plan.


def test_an_infeasible_problem_is_a_fact_with_its_reason_code() -> None:
    found = outcome(solve(problem("p", 3, 2, 2)))
    assert found.id == "toy.coins:p"
    assert found.evidence == ("seeds/p",)
    assert found.payload.report.stop is SolverStop.INFEASIBLE
    assert found.payload.rationale == "no solution, infeasible by greedy (1 is left)"


def test_a_search_that_was_cut_off_without_a_plan_is_a_fact_with_what_it_proved() -> None:
    cut_off = report(SolverStop.TIME_BUDGET_EXHAUSTED, bound=2)
    found = outcome(solve(problem("p", 3, 2, 1), pack=Coins(lambda problem: cut_off)))
    assert found.payload.report == cut_off


def test_one_problem_without_a_plan_keeps_no_other_from_its_own() -> None:
    result = solve(problem("p", 3, 2, 2), problem("q", 2, 2))
    assert refs(result)[2:] == ["evaluations/toy.coins:p", "strategies/toy.coins:q"]


def test_a_plan_that_breaks_a_critical_invariant_is_turned_away_with_reasons() -> None:
    result = solve(problem("p", 4, 2, 2), pack=Coins(lambda problem: purse(2, 1)))
    assert not plans(result)
    found = outcome(result).payload
    assert found.rationale == "Critical invariant(s) violated: adds-up"
    assert found.findings == (
        Finding(invariant="adds-up", severity=Severity.CRITICAL, reason="the coins are 3, not 4"),
    )
    assert found.plan is not None
    assert found.plan["coins"] == (2, 1)


# Gates.


def test_a_plan_that_breaks_an_advisory_invariant_asks_a_human_at_any_threshold() -> None:
    policy = HitlPolicy(confidence_threshold=0.0)
    result = solve(problem("p", 4, 1, 1, 1, 1), hitl_policy=policy)
    assert isinstance(result.stop_reason, HitlGatePending)
    assert result.pause is not None
    (request,) = result.pause.requests
    assert request.summary.endswith("is-light: 4 coins are a lot")


def test_without_human_gates_a_doubtful_plan_is_a_fact_that_shows_its_doubts() -> None:
    (plan,) = plans(solve(problem("p", 4, 1, 1, 1, 1)))
    assert plan.confidence == plan.payload.confidence == 0.0
    assert [finding.invariant for finding in plan.payload.findings] == ["is-light"]


def test_a_plan_that_keeps_its_invariants_asks_nobody() -> None:
    assert solve(problem("p", 2, 2), hitl_policy=HitlPolicy(confidence_threshold=0.7)).converged


def test_a_pack_may_have_a_gate_of_its_own() -> None:
    class Strict(Coins):
        def evaluate_gate(self, findings: Sequence[Finding]) -> PlanEvaluation:
            return PlanEvaluation(PlanVerdict.REJECT, "the shop is closed")

    assert outcome(solve(problem("p", 2, 2), pack=Strict())).payload.rationale == "the shop is closed"


# Failures.


def test_a_solver_that_raises_fails_the_suggestor() -> None:
    def breaks(problem: Change) -> object:
        raise ZeroDivisionError("no coins")

    assert failure(solve(problem("p", 2, 2), pack=Coins(breaks))) == "ZeroDivisionError: no coins"


def test_free_json_that_is_no_problem_fails_the_suggestor_and_names_the_fact() -> None:
    stated = ProposedFact(SEEDS, "p", PackInput(pack="toy.coins", inputs={"amount": "much"}))
    said = failure(solve(stated))
    assert "fact seeds/p is no problem of toy.coins: amount: " in said
    assert "coins: Field required" in said


@pytest.mark.parametrize("answer", [None, report(objective=3), "a purse"])
def test_an_answer_that_is_neither_plan_nor_report_of_none_fails_the_suggestor(answer: object) -> None:
    said = failure(solve(problem("p", 2, 2), pack=Coins(lambda problem: answer)))
    assert "answers with a plan, or with the report that there is none" in said


def test_a_pack_needs_a_payload_class_of_its_own() -> None:
    class Loose(Coins):
        problem = PackInput  # type: ignore[assignment]

    with pytest.raises(MisuseError, match=r"toy\.coins"):
        PackSuggestor(Loose())
