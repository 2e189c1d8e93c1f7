"""``ring``: every claim is looked at, every look leaves a vote, and the quorum decides."""

from __future__ import annotations

import json

import anyio
import pytest

from converge_adapters.deadlines import AnyioDeadlines
from converge_adapters.event_loop import run_async
from converge_adapters.ledgers.memory import MemoryLedger
from converge_core import (
    ContextKey,
    ContextState,
    DataPayload,
    Engine,
    IntentError,
    LedgerCorrupt,
    ProposedFact,
    Site,
    TextPayload,
    verify,
)
from converge_core.gates.stop import SuggestorFailed
from converge_core.validation import (
    Abstained,
    CannotSay,
    Claim,
    Finding,
    ValidationOutcome,
    ValidationVote,
    Validator,
    digest_of,
)
from converge_core.votes import Decision, Vote
from converge_plugins.votes import Consensus, ConsensusConfig, ConsensusOutcome
from tests.core.stage import finish
from tests.plugins.validation_ring.stage import KEY, Says, claims, no_code, outcomes, ring, run, votes


def three(*said: bool | Exception) -> dict[str, Says]:
    """Three validators of three strategies."""
    return {name: Says(f"by-{name}", one) for name, one in zip("abc", said, strict=True)}


class Hangs:
    """A validator that never answers."""

    strategy = "by-waiting"

    async def validate(self, claim: Claim) -> Finding:
        await anyio.sleep_forever()
        raise AssertionError


def test_every_validator_leaves_a_vote_with_the_digest_of_its_evidence() -> None:
    result = run(claims("a.txt"), ring(three(True, False, CannotSay("no idea"))))
    cast = votes(result)
    assert {voter: vote.decision.value for voter, vote in cast.items()} == {"a": "yes", "b": "no", "c": "abstain"}
    assert [vote.evidence for vote in cast.values()] == [
        digest_of({"said": True}),
        digest_of({"said": False}),
        digest_of({}),
    ]
    assert outcomes(result)["c1"].evidence == tuple(vote.evidence for vote in cast.values())


def test_an_outcome_cites_its_votes_and_a_vote_its_claim() -> None:
    result = run(claims("a.txt"), ring(three(True, True, True)))
    [outcome] = result.context.get(ValidationOutcome)
    assert outcome.ref == "consensus_outcomes/ring:c1"
    assert outcome.evidence == ("votes/ring:c1:a", "votes/ring:c1:b", "votes/ring:c1:c")
    assert {fact.evidence for fact in result.context.get(ValidationVote)} == {(f"{KEY}/c1",)}


@pytest.mark.parametrize(("needed", "status"), [(2, "validated"), (3, "disputed")])
def test_td006_two_of_three_is_a_matter_of_the_quorum(needed: int, status: str) -> None:
    assert outcomes(run(claims("a.txt"), ring(three(True, True, False), needed=needed)))["c1"].status == status


def test_td006_validators_of_one_strategy_are_a_fault_of_the_configuration() -> None:
    same = {name: Says("the same", True) for name in "abc"}
    with pytest.raises(IntentError, match="validators: a quorum of 2 needs as many different strategies; there are 1"):
        ring(same)


def test_td006_one_validator_that_always_says_yes_cannot_flip_a_rejected_claim() -> None:
    assert outcomes(run(claims("a.txt"), ring(three(False, False, False))))["c1"].status == "rejected"
    assert outcomes(run(claims("a.txt"), ring(three(True, False, False))))["c1"].status == "disputed"


def test_the_faults_of_all_validators_are_told_at_once() -> None:
    with pytest.raises(IntentError) as raised:
        ring(three(True, True, True), validators=["a", "a", {"use": "b", "name": "a"}, "b"])
    assert [problem.path for problem in raised.value.problems] == ["validators.1.name", "validators.2.name"]


def test_pr002_a_validator_that_hangs_is_a_vote_and_the_others_are_heard() -> None:
    hanging: dict[str, Validator] = {"a": Says("by-a", True), "b": Says("by-b", True), "late": Hangs()}
    result = run(claims("a.txt", "b.txt"), ring(hanging, deadlines=AnyioDeadlines(), deadline_ms=50))
    for claim in ("c1", "c2"):
        assert votes(result, claim)["late"].abstained is Abstained.TIMEOUT
        assert outcomes(result)[claim].status == "validated"
        assert outcomes(result)[claim].abstain == ("by-waiting",)


def test_pr002_nothing_is_locked_while_validators_look() -> None:
    """Somebody else appends to the ledger in the middle of a look."""
    ledger = MemoryLedger()

    class Appends:
        strategy = "by-appending"

        async def validate(self, claim: Claim) -> Finding:
            await ledger.create_run("another")
            return Finding(True, {})

    validators: dict[str, Validator] = {"a": Appends(), "b": Says("by-b", True)}
    assert outcomes(run(claims("a.txt"), ring(validators), ledger))["c1"].status == "validated"
    assert {info.run_id for info in run_async(ledger.runs)} == {"run", "another"}


def test_pr002_critical_claims_come_first_and_are_never_put_off() -> None:
    validators = three(True, True, True)
    rows = [{"severity": "medium"}] * 12 + [{"severity": "critical"}, {"severity": "low"}, {"severity": "critical"}]
    result = run(claims(*rows), ring(validators, max_jobs=1))
    assert validators["a"].asked[:2] == ["claim 13", "claim 15"]
    cycles = {fact.payload.topic: fact.promotion.cycle for fact in result.context.get(ValidationOutcome)}
    assert (cycles[f"{KEY}/c13"], cycles[f"{KEY}/c15"], cycles[f"{KEY}/c1"]) == (1, 1, 2)


def test_x19_every_claim_leaves_a_record_whatever_the_bound() -> None:
    validators = three(True, True, True)
    rows = [{"severity": "medium"}] * 12 + [{"severity": "critical"}, {"severity": "low"}, {"severity": "high"}]
    result = run(claims(*rows), ring(validators, max_jobs=10))
    assert len(outcomes(result)) == 15
    assert validators["a"].asked[:2] == ["claim 13", "claim 15"]
    assert validators["a"].asked[-1] == "claim 14"


def test_a_claim_is_looked_at_once() -> None:
    validators = three(True, True, True)
    run(claims("a.txt", "b.txt"), ring(validators, max_jobs=1))
    assert validators["a"].asked == ["claim 1", "claim 2"]


def test_other_facts_under_the_key_are_left_alone() -> None:
    context = claims("a.txt").add_input(KEY, "note", "nothing to validate")
    context.add_proposal(ProposedFact(KEY, "row", DataPayload(data={"path": "a.txt"})))
    context.add_proposal(ProposedFact(KEY, "typed", Claim(claim="typed", path="a.txt")))
    assert list(outcomes(run(context, ring(three(True, True, True))))) == ["c1", "typed"]


def test_a_claim_that_is_none_stops_the_run_with_its_name() -> None:
    result = run(claims({"severity": "fatal"}), ring(three(True, True, True)))
    assert isinstance(result.stop_reason, SuggestorFailed)
    assert f"fact {KEY}/c1 is not a claim: severity" in result.stop_reason.message
    assert "fatal" not in result.stop_reason.message.partition("severity")[0]


def test_without_claims_nobody_is_asked() -> None:
    validators = three(True, True, True)
    result = run(ContextState().add_proposal(ProposedFact(KEY, "n", TextPayload(text="n"))), ring(validators))
    assert (result.cycles, validators["a"].asked) == (1, [])


@pytest.mark.parametrize("key", [ContextKey.VOTES, ContextKey.CONSENSUS_OUTCOMES])
def test_claims_are_not_read_from_where_the_ring_writes(key: ContextKey) -> None:
    with pytest.raises(ValueError, match="the ring writes there itself"):
        ring(three(True, True, True), key=key)


def test_people_and_validators_vote_in_one_run_and_each_are_counted_by_their_own() -> None:
    engine = Engine()
    count = ConsensusConfig.model_validate({"rule": "unanimous", "eligible_voters": ["ann"]})
    engine.register_suggestor(Consensus(count, Site("count", no_code)))
    engine.register_suggestor(ring(three(True, True, False)))
    ballot = claims("a.txt").add_proposal(
        ProposedFact(ContextKey.VOTES, "ann", Vote(topic="lunch", voter="ann", decision=Decision.YES))
    )
    result = finish(engine.run(ballot))
    assert outcomes(result)["c1"].status == "validated"
    assert [fact.payload.topic for fact in result.context.get(ConsensusOutcome)] == ["lunch"]


# --- the chain is the ledger ------------------------------------------------------------------------------------------


def test_td010_a_changed_vote_is_named_by_its_place_in_the_ledger() -> None:
    ledger = MemoryLedger()
    run(claims("a.txt", "b.txt"), ring(three(True, True, True)), ledger)
    stored = list(run_async(ledger.read, "run"))
    verify("run", stored)
    [place, *_] = [entry.sequence for entry in stored if '"converge.validation.vote"' in entry.body]
    body = stored[place].body.replace('"decision":"yes"', '"decision":"no"', 1)
    assert body != stored[place].body
    stored[place] = stored[place]._replace(body=body)
    with pytest.raises(LedgerCorrupt) as raised:
        verify("run", stored)
    assert raised.value.sequence == place


def test_x20_a_chain_that_was_cut_is_refused_and_never_begun_anew() -> None:
    ledger = MemoryLedger()
    run(claims("a.txt"), ring(three(True, True, True)), ledger)
    stored, head = run_async(ledger.read, "run"), run_async(ledger.head, "run")
    with pytest.raises(LedgerCorrupt):
        verify("run", stored[:-1], head)
    torn = [*stored[:-1], stored[-1]._replace(body=stored[-1].body[:-5])]
    with pytest.raises(LedgerCorrupt):
        verify("run", torn)


def test_the_ledger_says_who_looked_at_what() -> None:
    ledger = MemoryLedger()
    run(claims("a.txt"), ring(three(True, False, True)), ledger)
    received = [json.loads(entry.body) for entry in run_async(ledger.read, "run") if entry.kind == "effect_received"]
    assert [len(event["proposals"]) for event in received] == [4]
