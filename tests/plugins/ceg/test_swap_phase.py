"""Swaps in the real engine: proposals that pass a gate, and what becomes of them."""

from __future__ import annotations

from typing import Any

from converge_core import GateDecision
from converge_core.governance.hot_swap import SwapTrigger
from converge_plugins.ceg.executor import ExecutionOutcome
from converge_plugins.ceg.facts import (
    CompiledGraph,
    PlannedExecution,
    SwapProposal,
    SwapReview,
)
from converge_plugins.ceg.nodes import (
    ConstraintNode,
    EdgeKind,
)
from converge_plugins.ceg.swapping import Swap
from tests.core.stage import Played
from tests.fakes.approver import Answer
from tests.plugins.ceg.stage import (
    FAR,
    backend,
    converged,
    ended,
    history,
    outcome,
    phases,
    registry,
    request,
    resource,
    said,
)
from tests.plugins.llm.stage import models_of

DEAR = resource("a", role="r", cost_per_token=0.02)
CHEAP = resource("b", role="r", cost_per_token=0.0)


def swapped(answer: Answer | None, *answers: Any) -> Played:
    """A request whose resource is too dear, with another on standby; answers are those of ``b``."""
    providers = registry("a", "b")
    models = models_of(backend("a", "from a"), backend("b", *(answers or ("from b",))), capacity=providers)
    rule = ConstraintNode(id="k", predicate="no_pii")
    context = request(DEAR, CHEAP, rule, edges=[("a", "k", EdgeKind.REQUIRES)], labels=["ops.load"])
    return converged(phases(providers, models), context, answer)


def test_a_swap_is_a_proposal_and_is_made_once_somebody_agrees() -> None:
    played = swapped(lambda gate: GateDecision.approve(gate, "ann"))
    assert [fact.swap.trigger for fact in said(played, SwapProposal)] == [SwapTrigger.COST_SPIKE]
    assert history(played) == ["swapped b", "activated b", "completed b"]
    assert [planned.tick for planned in said(played, PlannedExecution)] == [1]
    assert said(played, CompiledGraph)[-1].graph.requirements_of("b") == ("k",)
    assert [node.id for node in said(played, CompiledGraph)[-1].standby] == ["a"]


def test_nothing_is_planned_while_a_swap_waits_for_an_answer() -> None:
    played = swapped(lambda gate: GateDecision.defer(gate, "ann"))
    assert played.result.pause is not None
    assert said(played, PlannedExecution) == []


def test_a_swap_that_is_turned_down_is_not_made_and_not_asked_for_again() -> None:
    played = swapped(lambda gate: GateDecision.reject(gate, "ann", "no"))
    assert said(played, SwapProposal) == []
    assert outcome(played) is ExecutionOutcome.INFEASIBLE
    assert [len(review.swaps) for review in said(played, SwapReview)] == [1, 0]


def test_whoever_is_asked_about_a_swap_may_name_another_one() -> None:
    third = resource("c", role="r", cost_per_token=0.001)
    providers = registry("a", "b", "c")
    models = models_of(backend("a"), backend("b"), backend("c", "from c"), capacity=providers)
    swap = Swap(role="r", old="a", new="c", trigger=SwapTrigger.MANUAL, reason="it is known to us")
    wanted = SwapProposal(request="q", tick=0, swap=swap)
    made = phases(providers, models)
    played = converged(made, request(DEAR, CHEAP, third), lambda gate: GateDecision.edit(gate, "ann", wanted))
    assert history(played) == ["swapped c", "activated c", "completed c"]


def test_a_swap_for_somebody_who_cannot_take_over_is_refused() -> None:
    wrong = SwapProposal(
        request="q", tick=0, swap=Swap(role="r", old="a", new="nobody", trigger=SwapTrigger.MANUAL, reason="x")
    )
    played = ended(phases(registry("a", "b")), request(DEAR, CHEAP), lambda gate: GateDecision.edit(gate, "ann", wrong))
    reason: Any = played.result.stop_reason
    assert "there is no resource 'nobody'" in reason.message


def test_without_a_gate_a_swap_is_made_at_once() -> None:
    assert history(swapped(None)) == ["swapped b", "activated b", "completed b"]


def test_x16_a_newcomer_that_fails_is_put_back_by_a_proposal_of_its_own() -> None:
    played = swapped(None, FAR)
    proposals = [(fact.swap.old, fact.swap.new, fact.swap.rollback) for fact in said(played, SwapProposal)]
    assert proposals == [("a", "b", False), ("b", "a", True)]
    assert history(played)[:4] == ["swapped b", "activated b", "failed b", "swapped a"]
    assert said(played, CompiledGraph)[-1].graph.requirements_of("a") == ("k",)


def test_x15_x16_the_settings_of_swaps_are_those_of_the_configuration() -> None:
    providers = registry("a", "b")
    models = models_of(backend("a", "from a"), backend("b", "from b"), capacity=providers)
    made = phases(providers, models, swap={"cost_tolerance": 1000})
    played = converged(made, request(DEAR, CHEAP, max_cost=20))
    assert history(played) == ["activated a", "completed a"]
