from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import MisuseError
from converge_core.governance.claims import (
    CapabilityClaim,
    CapabilityGate,
    CapacityVerifier,
    ClaimRule,
    EnvironmentVerifier,
    GateResult,
    Honesty,
    Verification,
    VerificationMethod,
    Verifier,
)
from converge_core.governance.terms import Boundary
from converge_core.llm.capacity import DreamerTier
from tests.core.stage import finish
from tests.fakes.backend import FakeCapacity

WANDERER, DEEP_DREAMER, GUILD = DreamerTier
ENV, PROBE, ATTESTATION = VerificationMethod
CLAIM = CapabilityClaim("orion", "acme", frozenset({"chat", "save"}))
HOUR_MS = 3_600_000
NOTHING_KNOWN = Honesty()


@dataclass
class Finds:
    """A verifier that finds the same each time, and remembers the claims that it looked at."""

    found: Verification = Verification(True)
    looked_at: list[CapabilityClaim] = field(default_factory=list)

    async def verify(self, claim: CapabilityClaim) -> Verification:
        self.looked_at.append(claim)
        return self.found


class Broken:
    """A verifier that cannot look."""

    async def verify(self, claim: CapabilityClaim) -> Verification:
        raise OSError("secret detail")


@dataclass
class Asked(FakeCapacity):
    """A capacity in which these providers can be asked."""

    providers: tuple[str, ...] = ()

    def chain(self, tier: DreamerTier = WANDERER) -> tuple[str, ...]:
        return self.providers


def refreshed(gate: CapabilityGate, verifier: Verifier, now_ms: int = 0) -> CapabilityGate:
    return finish(gate.refreshed("orion", dict.fromkeys(VerificationMethod, verifier), now_ms))


def verified(claim: CapabilityClaim = CLAIM, now_ms: int = 0, honesty: Honesty = NOTHING_KNOWN) -> CapabilityGate:
    return refreshed(CapabilityGate(honesty=honesty).register(claim), Finds(), now_ms)


def ask(
    gate: CapabilityGate,
    *required: str,
    tier: DreamerTier = WANDERER,
    now_ms: int = 0,
    boundary: Boundary | None = None,
    routable: bool | None = None,
) -> GateResult:
    return gate.check("orion", frozenset(required), tier, now_ms, boundary, routable)


# --- the rules --------------------------------------------------------------------------------------------------------


def test_a_verified_claim_allows_what_it_names() -> None:
    result = ask(verified(), "chat")
    assert result == GateResult(CLAIM, 1.0)
    assert result.allowed
    assert result.objection is None


def test_an_agent_without_a_claim_is_denied() -> None:
    result = ask(CapabilityGate(), "chat")
    assert (result.broken, result.claim) == (ClaimRule.CLAIM, None)
    assert result.objection == "no capability claim registered for 'orion'"


def test_a_claim_that_nobody_has_looked_at_is_worth_nothing() -> None:
    result = ask(CapabilityGate().register(CLAIM), "chat")
    assert (result.broken, result.reason) == (
        ClaimRule.VERIFICATION,
        "the claim of 'orion' is not verified: nobody has looked",
    )


def test_a_provider_that_cannot_be_asked_is_denied_and_an_unknown_one_is_not() -> None:
    denied = ask(verified(), "chat", routable=False)
    assert (denied.broken, denied.reason) == (ClaimRule.CAPACITY, "provider 'acme' is not routable")
    assert ask(verified(), "chat", routable=None).allowed
    assert ask(verified(), "chat", routable=True).allowed


def test_what_was_not_claimed_is_missing() -> None:
    result = ask(verified(), "vision", "chat", "audio")
    assert (result.broken, result.reason) == (ClaimRule.CAPABILITIES, "missing capabilities: audio, vision")


@pytest.mark.parametrize(
    ("claimed", "needed", "allowed"),
    [
        (Boundary.LOCAL, Boundary.LOCAL, True),
        (Boundary.LOCAL, Boundary.CLOUD, False),
        (Boundary.CLOUD, Boundary.LOCAL, False),
        (Boundary.HYBRID, Boundary.CLOUD, True),
        (Boundary.HYBRID, Boundary.LOCAL, True),
        (Boundary.CLOUD, None, True),
    ],
)
def test_a_claim_holds_within_its_boundary(claimed: Boundary, needed: Boundary | None, allowed: bool) -> None:
    result = ask(verified(replace(CLAIM, boundary=claimed)), "chat", boundary=needed)
    assert result.allowed is allowed
    assert allowed or result.reason == f"boundary mismatch: need {needed}, have {claimed}"


def test_the_first_rule_that_is_broken_decides() -> None:
    gate = verified(honesty=Honesty(half_life_ms=10**12).record("orion", {"a"}, set(), 0))
    strict, cloud = replace(gate, honesty_floor=0.9), Boundary.CLOUD
    results = (
        ask(strict, "art_generation", now_ms=60_001, boundary=cloud, routable=False),
        ask(strict, "art_generation", boundary=cloud, routable=False),
        ask(strict, "art_generation", boundary=cloud),
        ask(gate, "art_generation", boundary=cloud),
        ask(gate, "art_generation", tier=GUILD, boundary=cloud),
        ask(gate, "chat", boundary=cloud),
    )
    rules = [rule for rule in ClaimRule if rule not in (ClaimRule.CLAIM, ClaimRule.VERIFICATION)]
    assert [result.broken for result in results] == rules


# --- verification -----------------------------------------------------------------------------------------------------


def test_x03_a_claim_whose_time_is_over_is_looked_at_again_when_it_is_used() -> None:
    gate, verifier = verified(), Finds()
    assert ask(gate, "chat", now_ms=60_000).allowed
    denied = ask(gate, "chat", now_ms=60_001)
    assert (denied.broken, denied.reason) == (ClaimRule.EXPIRY, "the verification of the claim of 'orion' is over")
    gate = refreshed(gate, verifier, 61_000)
    assert verifier.looked_at == [CLAIM]
    assert ask(gate, "chat", now_ms=121_000).allowed


def test_x03_a_claim_that_is_good_is_not_looked_at() -> None:
    gate, verifier = verified(), Finds()
    assert refreshed(gate, verifier, 60_000) is gate
    assert verifier.looked_at == []


def test_x03_a_claim_is_bound_to_the_provider_being_alive() -> None:
    claim = replace(CLAIM, method=PROBE)
    gate = refreshed(CapabilityGate().register(claim), CapacityVerifier(Asked(providers=("acme",))))
    assert ask(gate, "chat").allowed
    gate = refreshed(gate, CapacityVerifier(Asked()), 61_000)
    assert ask(gate, "chat", now_ms=61_000).reason.endswith("provider 'acme' cannot be asked now")
    gate = refreshed(gate, CapacityVerifier(Asked(providers=("acme",))), 62_000)
    assert ask(gate, "chat", now_ms=62_000).allowed


def test_a_claim_without_a_validity_is_verified_for_good() -> None:
    assert ask(verified(replace(CLAIM, validity_ms=None)), "chat", now_ms=10**15).allowed


def test_a_claim_that_was_not_found_true_is_denied_with_what_was_found() -> None:
    gate = refreshed(CapabilityGate().register(CLAIM), Finds(Verification(False, "the key is gone")))
    assert ask(gate, "chat").reason == "the claim of 'orion' is not verified: the key is gone"
    assert ask(gate, "chat", now_ms=10**9).broken is ClaimRule.VERIFICATION


def test_a_claim_that_was_not_found_true_is_looked_at_each_time() -> None:
    verifier = Finds(Verification(False))
    gate = refreshed(refreshed(CapabilityGate().register(CLAIM), verifier), verifier)
    assert len(verifier.looked_at) == 2
    assert ask(gate, "chat").reason.endswith("it was not found true")


def test_a_verifier_that_raises_has_verified_nothing_and_tells_no_details() -> None:
    gate = refreshed(CapabilityGate().register(CLAIM), Broken())
    assert ask(gate, "chat").reason == "the claim of 'orion' is not verified: the verifier raised OSError"


def test_a_method_for_which_there_is_nobody_verifies_nothing() -> None:
    gate = CapabilityGate().register(replace(CLAIM, method=ATTESTATION))
    gate = finish(gate.refreshed("orion", {ENV: Finds()}, 0))
    assert ask(gate, "chat").reason.endswith("nobody here verifies by attestation")


def test_nobody_is_looked_at_who_has_no_claim() -> None:
    gate, verifier = CapabilityGate(), Finds()
    assert refreshed(gate, verifier) is gate
    assert verifier.looked_at == []


def test_a_new_claim_of_an_agent_replaces_the_old_one_and_its_verification() -> None:
    gate = verified().register(replace(CLAIM, capabilities=frozenset({"fly"})))
    assert ask(gate, "fly").broken is ClaimRule.VERIFICATION


@pytest.mark.parametrize(
    ("settings", "there", "found"),
    [
        ({"acme": "ACME_KEY"}, {"ACME_KEY"}, Verification(True)),
        ({"acme": "ACME_KEY"}, set(), Verification(False, "ACME_KEY is not set")),
        ({}, set(), Verification(True)),
    ],
)
def test_the_environment_has_what_a_provider_needs_or_not(
    settings: Mapping[str, str], there: set[str], found: Verification
) -> None:
    verifier = EnvironmentVerifier(settings, there.__contains__)
    assert finish(verifier.verify(CLAIM)) == found


def test_what_is_claimed_and_was_not_found_is_missing() -> None:
    gate = refreshed(CapabilityGate().register(CLAIM), Finds(Verification(True, "", frozenset({"chat", "fly"}))))
    assert ask(gate, "chat").allowed
    assert ask(gate, "save").broken is ClaimRule.CAPABILITIES
    assert ask(gate, "fly").broken is ClaimRule.CAPABILITIES


# --- tiers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tier", DreamerTier)
def test_x04_every_tier_may_use_what_an_agent_claims(tier: DreamerTier) -> None:
    assert ask(verified(), "chat", tier=tier).allowed


@pytest.mark.parametrize(
    ("capability", "least"),
    [
        ("art_generation", DEEP_DREAMER),
        ("3door_full", DEEP_DREAMER),
        ("advanced_symbolic_tools", DEEP_DREAMER),
        ("art_generation_unlimited", GUILD),
        ("guild_override", GUILD),
    ],
)
@pytest.mark.parametrize("tier", DreamerTier)
def test_x04_a_capability_is_for_those_who_are_entitled_to_it(
    capability: str, least: DreamerTier, tier: DreamerTier
) -> None:
    result = ask(verified(replace(CLAIM, capabilities=frozenset({capability}))), capability, tier=tier)
    assert result.allowed is (tier.rank >= least.rank)
    assert result.broken in (None, ClaimRule.TIER)


def test_x04_a_denial_names_the_first_capability_that_needs_a_higher_tier() -> None:
    needed = ["guild_override", "art_generation", "advanced_symbolic_tools", "3door_full", "art_generation_unlimited"]
    gate = verified(replace(CLAIM, capabilities=frozenset(needed)))
    assert ask(gate, *needed).reason == "'3door_full' is for tier deep_dreamer and above, not for wanderer"


def test_x04_a_claim_has_no_tier() -> None:
    assert "tier" not in CapabilityClaim.__dataclass_fields__


# --- honesty ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("misses", "score"), [(0, 1.0), (1, 0.75), (2, 0.6), (3, 0.5), (4, 0.429), (5, 0.375), (6, 0.333), (7, 0.3)]
)
def test_honesty_falls_with_every_promise_that_is_broken(misses: int, score: float) -> None:
    honesty = Honesty()
    for _ in range(misses):
        honesty = honesty.record("orion", {"art"}, {"chat"}, 0)
    assert honesty.score("orion", 0) == score
    assert honesty.score("lantern", 0) == 1.0


def test_a_promise_counts_half_after_each_half_life_and_in_full_before_its_time() -> None:
    honesty = Honesty(half_life_ms=1_000).record("orion", {"art"}, set(), 5_000)
    assert [honesty.score("orion", now_ms) for now_ms in (0, 5_000, 6_000, 7_000)] == [0.75, 0.75, 0.857, 0.923]


def test_an_agent_at_the_floor_of_honesty_is_allowed() -> None:
    honesty = Honesty(half_life_ms=10**12).record("orion", {"art"}, set(), 0)
    assert ask(replace(verified(honesty=honesty), honesty_floor=0.75), "chat").allowed
    assert ask(replace(verified(honesty=honesty), honesty_floor=0.751), "chat").broken is ClaimRule.HONESTY


def test_only_the_last_promises_count() -> None:
    honesty = Honesty()
    for _ in range(30):
        honesty = honesty.record("orion", {"art"}, set(), 0)
    assert honesty.score("orion", 0) == 0.13
    for _ in range(20):
        honesty = honesty.record("orion", {"art"}, {"art"}, 0)
    assert honesty.score("orion", 0) == 1.0


def test_x05_a_part_of_what_was_required_is_no_promise_kept() -> None:
    assert Honesty().record("orion", {"chat", "vision"}, {"chat"}, 0).score("orion", 0) == 0.75
    assert Honesty().record("orion", {"chat"}, {"chat", "vision"}, 0).score("orion", 0) == 1.0


def test_x05_an_agent_below_the_floor_recovers() -> None:
    honesty = Honesty()
    for _ in range(4):
        honesty = honesty.record("orion", {"art"}, {"chat"}, 0)
    gate = verified(replace(CLAIM, validity_ms=None), honesty=honesty)
    result = ask(gate, "chat")
    assert (result.broken, result.reason) == (ClaimRule.HONESTY, "honesty 0.429 < floor 0.5")
    assert ask(gate, "chat", now_ms=HOUR_MS).allowed


def test_x05_being_asked_for_what_was_never_claimed_is_no_lie() -> None:
    gate = verified()
    for _ in range(10):
        assert ask(gate, "art").broken is ClaimRule.CAPABILITIES
    assert ask(gate, "chat").honesty == 1.0


def test_claiming_more_than_a_verifier_finds_is_a_promise_broken() -> None:
    gate = CapabilityGate().register(CLAIM)
    assert refreshed(gate, Finds(Verification(True, "", frozenset({"chat"})))).honesty.score("orion", 0) == 0.75
    assert (
        refreshed(gate, Finds(Verification(True, "", frozenset({"chat", "save", "x"})))).honesty.score("orion", 0)
        == 1.0
    )
    assert refreshed(gate, Finds(Verification(True))).honesty.promises == {}


promises = st.lists(st.tuples(st.booleans(), st.integers(0, 10 * HOUR_MS)), max_size=40)


@given(promises, st.integers(0, 10 * HOUR_MS), st.integers(0, 100 * HOUR_MS))
def test_honesty_stays_within_bounds_and_never_falls_by_waiting(
    told: list[tuple[bool, int]], now_ms: int, wait_ms: int
) -> None:
    honesty = Honesty()
    for kept, at_ms in told:
        honesty = honesty.record("orion", {"a"}, {"a"} if kept else set(), at_ms)
    latest = max([now_ms, *(at_ms for _, at_ms in told)])
    assert 0 < honesty.score("orion", latest) <= honesty.score("orion", latest + wait_ms) <= 1
    assert honesty.score("orion", latest + 40 * HOUR_MS) == 1.0


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"agent": " "}, "needs the id of an agent"),
        ({"validity_ms": 0}, "validity is at least 1 ms, not 0"),
        ({"capabilities": "chat"}, "capabilities: 'chat' is one text"),
        ({"boundary": "clout"}, "claim of 'orion', boundary: 'clout' is none of"),
        ({"method": "guess"}, "claim of 'orion', method: 'guess' is none of"),
    ],
)
def test_a_claim_that_means_nothing_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(MisuseError, match=message):
        replace(CLAIM, **fields)  # type: ignore[arg-type]  # any field


def test_x06_a_misspelt_tier_or_boundary_in_a_question_is_refused() -> None:
    with pytest.raises(MisuseError, match="tier: 'gild'"):
        verified().check("orion", {"chat"}, "gild", 0)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(MisuseError, match="boundary: 'clout'"):
        verified().check("orion", {"chat"}, WANDERER, 0, "clout")  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize("floor", [-0.1, 1.1, float("nan")])
def test_a_floor_outside_the_bounds_is_refused(floor: float) -> None:
    with pytest.raises(MisuseError, match="floor of honesty"):
        CapabilityGate(honesty_floor=floor)


def test_the_least_of_everything_is_enough() -> None:
    assert CapabilityGate(honesty_floor=0).honesty_floor == 0
    assert CapabilityGate(honesty_floor=1).honesty_floor == 1
    assert Honesty(window=1, half_life_ms=1).record("a", {"x"}, set(), 0).score("a", 0) == 0.75
    assert ask(verified(replace(CLAIM, validity_ms=1)), "chat", now_ms=1).allowed


@pytest.mark.parametrize("fields", [{"window": 0}, {"half_life_ms": 0}])
def test_honesty_without_a_memory_is_refused(fields: dict[str, int]) -> None:
    with pytest.raises(MisuseError, match="at least one promise"):
        Honesty(**fields)  # type: ignore[arg-type]  # any field
