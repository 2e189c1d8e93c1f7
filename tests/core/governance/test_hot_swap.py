from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from converge_core import MisuseError
from converge_core.governance.dilation import ConvergenceGuard
from converge_core.governance.hot_swap import (
    Edge,
    HotSwapRegistry,
    SwapDecision,
    SwapHysteresis,
    SwapPolicy,
    SwapTrigger,
)
from converge_core.governance.resources import Live, Observed, Resource

A = Resource("a", "acme", frozenset({"chat", "vision"}), 0.00001, 500)
B = replace(A, id="b", provider="bolt")
C = replace(A, id="c", provider="core")
WELL, ILL = Observed(1.0, 400), Observed(0.2, 400)
EDGES = frozenset({Edge("intent", "a", "executes_on", 0.5), Edge("a", "trace", "observes"), Edge("x", "y", "enables")})


def registry(*candidates: Resource, incumbent: Resource = A, **settings: object) -> HotSwapRegistry:
    found = HotSwapRegistry(**settings).fill("chat", incumbent)  # type: ignore[arg-type]  # any field
    for candidate in candidates:
        found = found.register_candidate("chat", candidate)
    return found


def decide(
    found: HotSwapRegistry, live: Live, max_cost: float = 1.0, tick: int = 0, now_ms: int = 0
) -> SwapDecision | None:
    decisions = found.decide(live, max_cost, tick, now_ms)
    assert len(decisions) <= 1
    return decisions[0] if decisions else None


def swapped(found: HotSwapRegistry, live: Live, tick: int = 0, now_ms: int = 0) -> HotSwapRegistry:
    decision = decide(found, live, tick=tick, now_ms=now_ms)
    assert decision is not None
    return found.apply(decision, tick, now_ms)


# --- triggers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "max_cost", "trigger"),
    [
        (Observed(0.4, 1_000), 1.0, None),
        (Observed(0.39, 400), 1.0, SwapTrigger.CAPABILITY_DEGRADED),
        (Observed(1.0, 1_001), 1.0, SwapTrigger.LATENCY_VIOLATION),
        (Observed(1.0, 400), 0.0066, SwapTrigger.COST_SPIKE),
        (Observed(1.0, 400), 0.0067, None),
        (Observed(1.0, 400, authorised=False), 1.0, SwapTrigger.AUTHORITY_REVOKED),
        (Observed(0.1, 9_999, authorised=False), 0.0, SwapTrigger.AUTHORITY_REVOKED),
        (Observed(0.1, 9_999), 0.0, SwapTrigger.CAPABILITY_DEGRADED),
        (Observed(1.0, 9_999), 0.0, SwapTrigger.LATENCY_VIOLATION),
        (Observed(None, None), 1.0, None),
    ],
)
def test_the_first_reason_to_replace_a_resource(seen: Observed, max_cost: float, trigger: SwapTrigger | None) -> None:
    assert SwapPolicy().trigger(A, seen, max_cost) is trigger


def test_x15_the_limit_of_latency_is_the_tolerance_times_the_target_whatever_the_dilation() -> None:
    for latency in (500.0, 500.5, 1_000.0):
        assert decide(registry(B), {"a": Observed(1.0, latency), "b": WELL}) is None
    decision = decide(registry(B), {"a": Observed(1.0, 1_000.5), "b": WELL})
    assert decision is not None
    assert decision.trigger is SwapTrigger.LATENCY_VIOLATION


def test_what_is_exactly_at_its_limit_gives_no_reason() -> None:
    resource = replace(A, cost_per_token=0.0015)
    assert SwapPolicy().trigger(resource, Observed(0.4, 1_000), 1.0) is None


def test_a_role_that_gives_no_reason_is_left_alone() -> None:
    assert decide(registry(B), {"a": WELL, "b": WELL}) is None


def test_a_decision_says_why() -> None:
    decision = decide(registry(B), {"a": ILL, "b": WELL})
    assert decision == SwapDecision(
        "chat",
        SwapTrigger.CAPABILITY_DEGRADED,
        A,
        B,
        True,
        "capability_degraded: health=0.20, latency=400 ms",
    )


def test_each_role_gets_its_decision() -> None:
    found = registry(B).fill("art", replace(A, id="d")).register_candidate("art", C)
    decisions = found.decide({"a": ILL, "b": WELL, "c": WELL, "d": ILL}, 1.0, 0, 0)
    assert [(each.role, each.new) for each in decisions] == [("chat", B), ("art", C)]


def test_somebody_may_want_a_swap() -> None:
    decision = registry(B).choose("chat", SwapTrigger.MANUAL, {"a": WELL, "b": Observed(0.9)}, 1.0, 0, 0)
    assert (decision.new, decision.allowed) == (B, True)
    assert decision.reason == "manual: health=1.00, latency=400 ms"


# --- candidates -------------------------------------------------------------------------------------------------------


def test_a_role_without_a_candidate_is_told_so() -> None:
    decision = decide(registry(), {"a": ILL})
    assert decision is not None
    assert (decision.allowed, decision.reason) == (False, "capability_degraded: nobody else can fill the role")


def test_x16_candidates_are_those_of_the_role_whoever_fills_it() -> None:
    found = swapped(registry(B, C), {"a": ILL, "b": WELL, "c": WELL})
    found = swapped(found, {"a": ILL, "b": ILL, "c": WELL}, now_ms=30_000)
    assert found.roles["chat"].incumbent == C
    found = swapped(found, {"a": WELL, "b": ILL, "c": ILL}, now_ms=60_000)
    assert found.roles["chat"].incumbent == A


@pytest.mark.parametrize(
    ("capabilities", "fits"),
    [(set(), False), ({"chat"}, False), ({"chat", "vision"}, True), ({"chat", "vision", "audio"}, True)],
)
def test_x16_a_candidate_has_every_capability_of_the_one_it_replaces(capabilities: set[str], fits: bool) -> None:
    decision = decide(registry(replace(B, capabilities=capabilities)), {"a": ILL, "b": WELL})
    assert decision is not None
    assert decision.allowed is fits


@pytest.mark.parametrize("fallback", [True, False])
def test_x16_a_dead_candidate_replaces_nobody(fallback: bool) -> None:
    found = registry(B, policy=SwapPolicy(allow_degraded_fallback=fallback), hysteresis=SwapHysteresis(epsilon=-9))
    decision = decide(found, {"a": Observed(0.0), "b": Observed(0.0)})
    assert decision is not None
    assert decision.new is None


def test_x16_a_candidate_whose_authority_is_revoked_replaces_nobody() -> None:
    decision = decide(registry(B), {"a": Observed(authorised=False), "b": Observed(1.0, 400, authorised=False)})
    assert decision is not None
    assert decision.new is None


@pytest.mark.parametrize(("seen", "allowed"), [(Observed(0.3), True), (Observed(), True), (Observed(0.9), True)])
def test_somebody_degraded_or_unknown_may_take_over_who_is_better_still(seen: Observed, allowed: bool) -> None:
    decision = decide(registry(B), {"a": Observed(0.1), "b": seen})
    assert decision is not None
    assert decision.allowed is allowed


@pytest.mark.parametrize(("seen", "allowed"), [(Observed(0.3), False), (Observed(), False), (Observed(0.9), True)])
def test_somebody_degraded_or_unknown_may_be_kept_out(seen: Observed, allowed: bool) -> None:
    found = registry(B, policy=SwapPolicy(allow_degraded_fallback=False))
    decision = decide(found, {"a": Observed(0.1), "b": seen})
    assert decision is not None
    assert decision.allowed is allowed


def test_the_healthiest_takes_over_and_among_equals_the_cheapest_and_the_first() -> None:
    assert decide(registry(B, C), {"a": ILL, "b": Observed(0.8), "c": Observed(0.9)}).new == C  # type: ignore[union-attr]  # decided
    cheap = replace(C, cost_per_token=0.000001)
    assert decide(registry(B, cheap), {"a": ILL, "b": WELL, "c": WELL}).new == cheap  # type: ignore[union-attr]  # decided
    assert decide(registry(B, C), {"a": ILL, "b": WELL, "c": WELL}).new == B  # type: ignore[union-attr]  # decided


def test_for_a_role_that_is_too_slow_somebody_faster_is_found_though_another_is_healthier() -> None:
    live = {"a": Observed(1.0, 2_000), "b": Observed(1.0, 1_999), "c": Observed(0.9, 300)}
    decision = decide(registry(B, C), live)
    assert decision is not None
    assert (decision.new, decision.allowed) == (C, True)


def test_for_a_role_that_is_too_dear_somebody_cheaper_is_found() -> None:
    cheap = replace(C, cost_per_token=0.000001)
    decision = decide(registry(B, cheap), {"a": WELL, "b": WELL, "c": Observed(0.9, 400)}, max_cost=0.001)
    assert decision is not None
    assert (decision.trigger, decision.new, decision.allowed) == (SwapTrigger.COST_SPIKE, cheap, True)


def test_no_provider_fills_more_than_its_share_of_the_roles() -> None:
    found = registry(B, C, incumbent=A).fill("art", replace(B, id="d"))
    live = {"a": ILL, "b": WELL, "c": Observed(0.7), "d": WELL}
    assert decide(found, live).new == C  # type: ignore[union-attr]  # decided
    uncapped = replace(found, policy=SwapPolicy(diversity_cap=1.0))
    assert decide(uncapped, live).new == B  # type: ignore[union-attr]  # decided


def test_when_every_provider_would_have_too_much_the_best_takes_over_all_the_same() -> None:
    assert decide(registry(B, C), {"a": ILL, "b": WELL, "c": Observed(0.7)}).new == B  # type: ignore[union-attr]  # decided


def test_what_stands_elsewhere_in_the_graph_cannot_fill_a_role() -> None:
    found = registry(B, edges=frozenset({Edge("b", "trace", "observes")}))
    decision = decide(found, {"a": ILL, "b": WELL})
    assert decision is not None
    assert decision.new is None


# --- what keeps a swap from being made --------------------------------------------------------------------------------


def test_x16_a_hair_is_no_improvement() -> None:
    decision = decide(registry(B), {"a": Observed(0.30), "b": Observed(0.35)})
    assert decision is not None
    assert (decision.allowed, decision.new) == (False, B)
    assert decision.reason == "capability_degraded: improvement 0.050 <= 0.05"


def test_x16_exactly_the_least_improvement_is_none() -> None:
    hysteresis = SwapHysteresis(epsilon=0.5, stability_threshold=0.5, steadiness={"b": 0.5})
    assert hysteresis.objection("chat", "b", 0.5, 0) == "improvement 0.500 <= 0.5"
    assert hysteresis.objection("chat", "b", 0.51, 0) is None


def test_x16_a_clock_that_steps_back_does_not_lengthen_the_cooldown_that_is_told() -> None:
    hysteresis = SwapHysteresis(swapped={"chat": 1_000})
    assert hysteresis.objection("chat", "b", 1, 0) == "cooldown: 30000 ms left"


def test_x16_a_role_cools_down_after_a_swap() -> None:
    found = swapped(registry(B, C), {"a": ILL, "b": WELL, "c": WELL}, now_ms=1_000)
    live = {"a": ILL, "b": ILL, "c": WELL}
    early, late = decide(found, live, now_ms=30_999), decide(found, live, now_ms=31_000)
    assert early is not None
    assert early.reason == "capability_degraded: cooldown: 1 ms left"
    assert late is not None
    assert late.allowed


def test_x16_somebody_unsteady_does_not_take_over_and_the_unsteady_one_can_go() -> None:
    found = registry(B).observe({"a": Observed(0.0), "b": Observed(0.1)}).observe({"a": ILL, "b": Observed(0.9)})
    decision = decide(found, {"a": ILL, "b": Observed(0.9)})
    assert decision is not None
    assert decision.reason == "capability_degraded: stability of b 0.260 < 0.6"
    steady = registry(B).observe({"a": Observed(0.0), "b": WELL})
    assert decide(steady, {"a": ILL, "b": WELL}).allowed  # type: ignore[union-attr]  # decided


def test_steadiness_is_a_moving_average_of_what_was_seen() -> None:
    hysteresis = SwapHysteresis()
    for health in (1.0, 0.5, None, 0.0):
        hysteresis = hysteresis.observe({"a": Observed(health)})
    assert hysteresis.steadiness == {"a": pytest.approx(0.72)}


def test_a_swap_that_goes_back_and_forth_is_not_made_again() -> None:
    guard = ConvergenceGuard()
    for tick in range(3):
        guard = guard.record("a", "b", tick)
    decision = decide(registry(B, guard=guard), {"a": ILL, "b": WELL}, tick=3)
    assert decision is not None
    assert decision.new is None


def test_x16_nothing_keeps_somebody_in_a_role_whose_authority_is_revoked() -> None:
    guard = ConvergenceGuard(max_swaps=1).record("a", "b", 0)
    found = registry(B, guard=guard, hysteresis=SwapHysteresis(swapped={"chat": 0}))
    decision = decide(found, {"a": Observed(1.0, 400, authorised=False), "b": Observed(0.1)})
    assert decision is not None
    assert (decision.trigger, decision.new, decision.allowed) == (SwapTrigger.AUTHORITY_REVOKED, B, True)


def test_x17_what_is_seen_in_this_tick_counts_and_not_what_was_seen_first() -> None:
    found = registry(B)
    assert decide(found, {"a": WELL, "b": WELL}, tick=0) is None
    assert decide(found, {"a": ILL, "b": WELL}, tick=1) is not None
    assert decide(found, {"a": WELL, "b": WELL}, tick=2) is None


# --- swap and rollback ------------------------------------------------------------------------------------------------


def test_who_takes_over_has_the_edges_of_who_went() -> None:
    found = swapped(registry(B, edges=EDGES), {"a": ILL, "b": WELL}, tick=4, now_ms=7)
    assert found.roles["chat"].incumbent == B
    assert found.edges == {
        Edge("intent", "b", "executes_on", 0.5),
        Edge("b", "trace", "observes"),
        Edge("x", "y", "enables"),
    }
    assert found.guard.swaps == (("a", "b", 4),)
    assert found.hysteresis.swapped == {"chat": 7}


def test_x16_rollback_restores_the_node_and_its_edges() -> None:
    before = registry(B, C, edges=EDGES)
    after = swapped(before, {"a": ILL, "b": WELL, "c": WELL}).rollback("chat")
    assert after.roles == before.roles
    assert after.edges == EDGES
    assert after.guard.swaps == (("a", "b", 0),)


def test_rollback_keeps_what_was_connected_since() -> None:
    found = swapped(registry(B, edges=EDGES), {"a": ILL, "b": WELL})
    found = replace(found, edges=found.edges | {Edge("b", "memory", "transforms_into")}).rollback("chat")
    assert found.edges == EDGES | {Edge("a", "memory", "transforms_into")}


def test_a_role_that_was_never_swapped_has_nothing_to_roll_back() -> None:
    with pytest.raises(MisuseError, match="role 'chat' has not been swapped"):
        registry(B).rollback("chat")
    with pytest.raises(MisuseError, match="has not been swapped"):
        swapped(registry(B), {"a": ILL, "b": WELL}).rollback("chat").rollback("chat")


def test_a_decision_that_allows_no_swap_is_not_applied() -> None:
    found = registry()
    decision = decide(found, {"a": ILL})
    assert decision is not None
    with pytest.raises(MisuseError, match="allows no swap: capability_degraded"):
        found.apply(decision, 0, 0)


def test_a_decision_that_hysteresis_is_against_is_not_applied() -> None:
    found = registry(B)
    decision = decide(found, {"a": Observed(0.30), "b": Observed(0.35)})
    assert decision is not None
    with pytest.raises(MisuseError, match="allows no swap: capability_degraded: improvement"):
        found.apply(decision, 0, 0)


def test_a_decision_for_somebody_who_is_no_candidate_is_not_applied() -> None:
    found = registry(B)
    decision = decide(found, {"a": ILL, "b": WELL})
    assert decision is not None
    with pytest.raises(MisuseError, match="not what it was"):
        found.apply(replace(decision, new=C), 0, 0)


def test_every_swap_of_a_role_can_be_rolled_back() -> None:
    before = registry(B, C, edges=EDGES)
    found = swapped(before, {"a": ILL, "b": WELL, "c": WELL})
    found = swapped(found, {"a": ILL, "b": ILL, "c": WELL}, now_ms=30_000)
    assert found.rollback("chat").roles["chat"].incumbent == B
    assert found.rollback("chat").rollback("chat").roles == before.roles
    assert found.rollback("chat").rollback("chat").edges == EDGES


def test_a_decision_is_applied_once() -> None:
    found = registry(B)
    decision = decide(found, {"a": ILL, "b": WELL})
    assert decision is not None
    with pytest.raises(MisuseError, match="not what it was when the swap was decided"):
        found.apply(decision, 0, 0).apply(decision, 0, 0)


def test_nobody_fills_two_roles() -> None:
    found = registry(C).fill("art", B).register_candidate("art", C)
    first, second = found.decide({"a": ILL, "b": ILL, "c": WELL}, 1.0, 0, 0)
    with pytest.raises(MisuseError, match="'c' cannot fill role 'art'"):
        found.apply(first, 0, 0).apply(second, 0, 0)
    with pytest.raises(MisuseError, match="'a' fills another role"):
        found.fill("third", A)


@pytest.mark.parametrize("role", ["art", ""])
def test_a_role_that_nobody_fills_has_no_candidates(role: str) -> None:
    with pytest.raises(MisuseError, match="there is no role"):
        registry().register_candidate(role, B)


def test_a_role_is_filled_once() -> None:
    with pytest.raises(MisuseError, match="role 'chat' is filled already, by 'a'"):
        registry().fill("chat", B)


def test_the_same_candidate_is_one_and_another_with_its_id_is_refused() -> None:
    found = registry(B)
    assert found.register_candidate("chat", B) is found
    with pytest.raises(MisuseError, match="'b' is another resource already"):
        found.register_candidate("chat", replace(B, provider="other"))


ids = st.sampled_from(["a", "x", "y", "z"])
edges = st.frozensets(st.builds(Edge, ids, ids, st.sampled_from(["requires", "blocks"]), st.floats(0, 1)))
healths = st.none() | st.floats(0, 1)


@given(edges, st.lists(healths, min_size=4, max_size=4))
def test_rollback_is_the_inverse_of_a_swap(connected: frozenset[Edge], seen: list[float | None]) -> None:
    before = registry(B, C, replace(C, id="d"), edges=connected)
    live = {id: Observed(health) for id, health in zip("abcd", seen, strict=True)}
    decision = before.choose("chat", SwapTrigger.MANUAL, live, 1.0, 0, 0)
    assume(decision.allowed)
    after = before.apply(decision, 0, 0)
    assert after.roles["chat"].incumbent == decision.new
    assert {edge.kind for edge in after.edges} == {edge.kind for edge in connected}
    assert len(after.edges) == len(connected)
    assert not any("a" in edge[:2] for edge in after.edges)
    assert (after.rollback("chat").roles, after.rollback("chat").edges) == (before.roles, before.edges)
