"""``votes.consensus``: rules, outcomes and disagreements, counted by a real engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pluggy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from converge_core import (
    Catalog,
    Context,
    ContextKey,
    ContextState,
    Convergence,
    ConvergeResult,
    DataPayload,
    Engine,
    Entry,
    FactPayload,
    MisuseError,
    Observer,
    PayloadError,
    PayloadRegistry,
    ProposedFact,
    Site,
    Suggestor,
    TextPayload,
    canonical,
    drive,
    hookspec,
    suggestor,
)
from converge_core.gates.stop import SuggestorFailed
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.events import CorrectionEvent
from converge_core.votes import Decision, Vote
from converge_plugins import votes
from converge_plugins.votes import (
    Consensus,
    ConsensusConfig,
    ConsensusOutcome,
    ConsensusRule,
    Disagreement,
    Tally,
    outcome_of,
)

YES, NO, ABSTAIN = Decision.YES, Decision.NO, Decision.ABSTAIN
MAJORITY, SUPERMAJORITY = ConsensusRule.MAJORITY, ConsensusRule.SUPERMAJORITY
UNANIMOUS, LEAD, ADVISORY = ConsensusRule.UNANIMOUS, ConsensusRule.LEAD_DECIDES, ConsensusRule.ADVISORY_ONLY

TALLIES = st.builds(Tally, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))


def no_code(text: str) -> Callable[..., object]:
    raise LookupError(text)


def consensus(*voters: str, **changes: object) -> Consensus:
    """A count by majority among the voters."""
    config = {"rule": "majority", "eligible_voters": voters or ("ann", "bob", "cy"), **changes}
    return Consensus(ConsensusConfig.model_validate(config), Site("count", no_code))


def ballot(*cast: FactPayload | tuple[str, str]) -> ContextState:
    """Votes v1, v2, ..., each a payload or (voter, decision) on the topic `t`."""
    context = ContextState()
    for number, item in enumerate(cast, 1):
        payload = item if isinstance(item, FactPayload) else Vote(topic="t", voter=item[0], decision=Decision(item[1]))
        context.add_proposal(ProposedFact(ContextKey.VOTES, f"v{number}", payload))
    return context


class Kinds:
    """An observer that keeps the kinds of the entries."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def recorded(self, run_id: str, entries: Sequence[Entry]) -> None:
        self.seen += [entry.kind for entry in entries]


def run(context: ContextState, *suggestors: Suggestor, observer: Observer | None = None) -> ConvergeResult:
    engine = Engine()
    for one in suggestors:
        engine.register_suggestor(one)
    return asyncio.run(engine.run(context, observers=[observer] if observer else []))


def outcomes(result: ConvergeResult) -> dict[str, ConsensusOutcome]:
    assert result.converged, result.stop_reason
    found = result.context.get(ContextKey.CONSENSUS_OUTCOMES, ConsensusOutcome)
    return {fact.id: fact.payload for fact in found}


def dissent(result: ConvergeResult) -> dict[str, Disagreement]:
    assert result.converged, result.stop_reason
    return {fact.id: fact.payload for fact in result.context.get(ContextKey.DISAGREEMENTS, Disagreement)}


def failure(result: ConvergeResult) -> str:
    assert isinstance(result.stop_reason, SuggestorFailed)
    return result.stop_reason.message


def outcome(**changes: object) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "topic": "t",
        "rule": "majority",
        "yes_votes": 2,
        "no_votes": 1,
        "abstain_votes": 0,
        "total_voters": 3,
        "passes": True,
    }
    return fields | changes


# The rules.


@pytest.mark.parametrize(
    ("rule", "eligible", "enough"),
    [
        (MAJORITY, 1, 1),
        (MAJORITY, 2, 2),
        (MAJORITY, 3, 2),
        (MAJORITY, 4, 3),
        (MAJORITY, 5, 3),
        (SUPERMAJORITY, 1, 1),
        (SUPERMAJORITY, 2, 2),
        (SUPERMAJORITY, 3, 2),
        (SUPERMAJORITY, 4, 3),
        (SUPERMAJORITY, 5, 4),
        (SUPERMAJORITY, 6, 4),
        (UNANIMOUS, 1, 1),
        (UNANIMOUS, 5, 5),
        (LEAD, 1, 1),
        (LEAD, 5, 1),
        (ADVISORY, 1, 0),
        (ADVISORY, 5, 0),
    ],
)
def test_a_rule_passes_from_so_many_yes_votes_on(rule: ConsensusRule, eligible: int, enough: int) -> None:
    passing = [yes for yes in range(eligible + 1) if rule.passes(Tally(yes, 0, 0), eligible)]
    assert passing == list(range(enough, eligible + 1))


@given(st.sampled_from(ConsensusRule), TALLIES, st.integers(1, 9))
def test_more_votes_than_voters_never_pass(rule: ConsensusRule, tally: Tally, eligible: int) -> None:
    if sum(tally) > eligible:
        assert not rule.passes(tally, eligible)


@pytest.mark.parametrize("rule", ConsensusRule)
def test_where_nobody_is_eligible_there_is_no_consensus_to_speak_of(rule: ConsensusRule) -> None:
    with pytest.raises(MisuseError, match="at least one eligible voter"):
        rule.passes(Tally(0, 0, 0), 0)


@given(st.sampled_from(ConsensusRule), TALLIES, st.integers(0, 9))
def test_what_is_not_a_yes_counts_as_silence(rule: ConsensusRule, tally: Tally, silent: int) -> None:
    eligible = max(1, sum(tally) + silent)
    assert rule.passes(tally, eligible) == rule.passes(Tally(tally.yes, 0, 0), eligible)


@given(st.sampled_from(ConsensusRule), TALLIES)
def test_one_more_yes_never_hurts(rule: ConsensusRule, tally: Tally) -> None:
    eligible = sum(tally) + 1
    if rule.passes(tally, eligible):
        assert rule.passes(tally._replace(yes=tally.yes + 1), eligible)


# Outcomes as payloads.


@given(st.sampled_from(ConsensusRule), TALLIES, st.integers(0, 9))
def test_an_outcome_survives_its_json(rule: ConsensusRule, tally: Tally, silent: int) -> None:
    made = ConsensusOutcome.of("t", rule, tally, sum(tally) + silent + 1, ["votes/v9"])
    assert ConsensusOutcome.from_text(made.model_dump_json()) == made


@given(st.sampled_from(ConsensusRule), TALLIES, st.integers(0, 9))
def test_an_outcome_that_says_it_passes_when_it_does_not_is_refused(
    rule: ConsensusRule, tally: Tally, silent: int
) -> None:
    made = ConsensusOutcome.of("t", rule, tally, sum(tally) + silent + 1)
    said = f"serialized consensus outcome pass flag mismatch: expected {made.passes}, got {not made.passes}"
    with pytest.raises(ValidationError, match=said):
        ConsensusOutcome.model_validate(made.model_dump() | {"passes": not made.passes})


def test_an_outcome_has_no_more_votes_than_voters() -> None:
    with pytest.raises(ValidationError, match="4 votes are more than the 3 eligible voters have"):
        ConsensusOutcome.model_validate(outcome(no_votes=2, passes=False))


@given(st.sampled_from(ConsensusRule), TALLIES)
def test_a_tally_of_more_votes_than_voters_makes_no_outcome(rule: ConsensusRule, tally: Tally) -> None:
    eligible = max(1, sum(tally) - 1)
    if sum(tally) > eligible:
        with pytest.raises(ValidationError, match=f"{sum(tally)} votes are more than the {eligible} eligible voters"):
            ConsensusOutcome.model_validate(
                ConsensusOutcome.of("t", rule, Tally(0, 0, 0), eligible).model_dump()
                | {"yes_votes": tally.yes, "no_votes": tally.no, "abstain_votes": tally.abstain}
            )
        with pytest.raises(ValidationError, match="are more than"):
            ConsensusOutcome.of("t", rule, tally, eligible)


def test_an_outcome_in_a_ledger_with_a_wrong_flag_is_not_read() -> None:
    payloads = PayloadRegistry()
    payloads.register(ConsensusOutcome)
    with pytest.raises(PayloadError, match="pass flag mismatch"):
        payloads.decode(ConsensusOutcome.family, 1, canonical(outcome(ignored=[], passes=False)))


@pytest.mark.parametrize("changes", [{"total_voters": 0}, {"yes_votes": -1}, {"rule": "loudest"}])
def test_an_outcome_without_sense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ConsensusOutcome.model_validate(outcome(**changes))


# Counting.


def test_votes_become_an_outcome() -> None:
    result = run(ballot(("ann", "yes"), ("bob", "no"), ("cy", "yes")), consensus())
    assert outcomes(result) == {"consensus:t:1": ConsensusOutcome.model_validate(outcome())}


def test_an_outcome_cites_the_votes_that_count() -> None:
    result = run(ballot(("ann", "no"), ("eve", "yes"), ("bob", "yes"), ("ann", "yes")), consensus("ann", "bob"))
    (fact,) = result.context.get(ContextKey.CONSENSUS_OUTCOMES)
    assert sorted(fact.evidence) == ["votes/v3", "votes/v4"]


def test_the_last_vote_of_a_voter_counts() -> None:
    result = run(ballot(("ann", "yes"), ("bob", "no"), ("ann", "no")), consensus("ann", "bob"))
    (found,) = outcomes(result).values()
    assert (found.yes_votes, found.no_votes, found.passes) == (0, 2, False)


def test_a_vote_of_somebody_else_is_ignored_visibly() -> None:
    result = run(ballot(("ann", "no"), ("eve", "yes"), ("mallory", "yes")), consensus("ann"))
    (found,) = outcomes(result).values()
    assert (found.yes_votes, found.no_votes, found.total_voters) == (0, 1, 1)
    assert found.ignored == ("votes/v2", "votes/v3")


def test_topics_are_counted_apart() -> None:
    cast = [Vote(topic=topic, voter="ann", decision=said) for topic, said in [("a", YES), ("b", NO), ("c", ABSTAIN)]]
    found = outcomes(run(ballot(*cast), consensus("ann")))
    assert {name: one.passes for name, one in found.items()} == {
        "consensus:a:1": True,
        "consensus:b:1": False,
        "consensus:c:1": False,
    }


def test_rows_of_data_are_votes_too() -> None:
    row = DataPayload(data={"id": "7", "topic": "t", "voter": "ann", "decision": "yes", "reason": "cheap"})
    (found,) = outcomes(run(ballot(row), consensus("ann"))).values()
    assert found.yes_votes == 1


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (DataPayload(data={"topic": "t", "voter": "ann", "decision": "maybe"}), "decision: Input should be"),
        (DataPayload(data={"topic": "t", "decision": "yes"}), "voter: Field required"),
        (DataPayload(data={"topic": "", "voter": "ann", "decision": "yes"}), "topic: String should have"),
        (TextPayload(text="yes!"), "it is a converge.text"),
    ],
)
def test_what_is_not_a_vote_fails_the_count(payload: FactPayload, reason: str) -> None:
    message = failure(run(ballot(payload), consensus()))
    assert f"suggestor 'count' failed (invalid_input): fact votes/v1 is not a vote: {reason}" in message


def test_a_full_quorum_waits_for_everyone() -> None:
    assert outcomes(run(ballot(("ann", "yes"), ("bob", "yes"), ("eve", "yes")), consensus(quorum="all"))) == {}


def test_no_quorum_counts_what_there_is() -> None:
    found = outcomes(run(ballot(("ann", "yes"), ("bob", "yes")), consensus(quorum="none")))
    assert found["consensus:t:1"].passes


@suggestor(reads=ContextKey.CONSENSUS_OUTCOMES, writes=ContextKey.VOTES)
def reconsider(ctx: Context) -> ProposedFact[Vote]:
    """Ann comes to another view once she sees how the vote stands."""
    return ProposedFact(ContextKey.VOTES, "v4", Vote(topic="t", voter="ann", decision=NO))


def test_a_later_vote_leads_to_another_outcome() -> None:
    result = run(ballot(("ann", "yes"), ("bob", "no"), ("cy", "yes")), consensus(), reconsider)
    assert {name: one.passes for name, one in outcomes(result).items()} == {
        "consensus:t:1": True,
        "consensus:t:2": False,
    }


def test_a_repeated_vote_leads_to_another_outcome_though_it_says_the_same() -> None:
    result = run(ballot(("ann", "no"), ("bob", "no"), ("cy", "yes")), consensus(), reconsider)
    first, second = outcomes(result).values()
    assert first == second


# How a vote stands.


def test_the_last_outcome_is_how_a_vote_stands() -> None:
    result = run(ballot(("ann", "yes"), ("bob", "no"), ("cy", "yes")), consensus(), reconsider)
    standing = outcome_of(result.context, "t")
    assert standing is not None
    assert (standing.id, standing.payload.passes) == ("consensus:t:2", False)


def test_a_topic_that_nobody_has_counted_does_not_stand_anywhere() -> None:
    result = run(ballot(("ann", "yes")), consensus("ann"))
    assert outcome_of(result.context, "u") is None


def test_a_reader_of_an_earlier_moment_sees_how_the_vote_stood_then() -> None:
    result = run(ballot(("ann", "yes"), ("bob", "no"), ("cy", "yes")), consensus(), reconsider)
    [first, _] = result.context.get(ContextKey.CONSENSUS_OUTCOMES)
    seen: list[str] = []

    @suggestor(reads=ContextKey.CONSENSUS_OUTCOMES)
    def reader(ctx: Context) -> None:
        standing = outcome_of(ctx, "t")
        seen.append(standing.id if standing is not None else "none")

    run(ballot(("ann", "yes"), ("bob", "no"), ("cy", "yes")), consensus(), reconsider, reader)
    assert seen == [first.id, "consensus:t:2"]


# Corrections.


def correct(machine: Convergence, ref: str, payload: FactPayload) -> ConvergeResult:
    """Correct a fact of a run that has stopped, and drive it on."""
    wire: dict[str, JsonValue] = {"body": payload.body(), "family": payload.family, "version": payload.version}
    event = CorrectionEvent(fact=ref, actor="human:ann", reason_code="data_error", reason="a slip", payload=wire)
    assert machine.correct(event) is None
    machine.reopen()
    return asyncio.run(drive(machine))


def counted(*cast: tuple[str, str] | FactPayload, **changes: object) -> Convergence:
    """A count of the votes of Ann and Bob that has come to its end."""
    engine = Engine()
    engine.register_suggestor(consensus("ann", "bob", **changes))
    machine = engine.begin(ballot(*cast))
    asyncio.run(drive(machine))
    return machine


def vote(voter: str, decision: Decision, topic: str = "t") -> Vote:
    return Vote(topic=topic, voter=voter, decision=decision)


def standing(ctx: Context, topic: str = "t") -> tuple[int, int, bool]:
    fact = outcome_of(ctx, topic)
    assert fact is not None
    return fact.payload.yes_votes, fact.payload.no_votes, fact.payload.passes


def test_a_corrected_vote_leads_to_another_outcome() -> None:
    ctx = correct(counted(("ann", "yes"), ("bob", "no")), "votes/v2", vote("bob", YES)).context
    assert standing(ctx) == (2, 0, True)


def test_a_corrected_vote_is_no_later_vote() -> None:
    machine = counted(("ann", "yes"), ("bob", "yes"), ("ann", "no"))
    ctx = correct(machine, "votes/v1", vote("ann", ABSTAIN)).context
    assert standing(ctx) == (1, 1, False)


def test_a_vote_that_a_correction_takes_to_another_topic_counts_there_and_no_longer_here() -> None:
    ctx = correct(counted(("ann", "yes"), ("bob", "yes"), quorum="none"), "votes/v2", vote("bob", YES, "u")).context
    assert standing(ctx) == (1, 0, False)
    assert standing(ctx, "u") == (1, 0, False)


def test_a_vote_that_turns_out_to_be_of_one_who_may_not_vote_no_longer_counts() -> None:
    ctx = correct(counted(("ann", "yes"), ("bob", "yes")), "votes/v2", vote("eve", YES)).context
    assert standing(ctx) == (1, 0, False)
    assert outcome_of(ctx, "t").payload.ignored == ("votes/v2~2",)  # type: ignore[union-attr]  # it stands


def test_an_earlier_outcome_that_is_corrected_does_not_come_last() -> None:
    wrong = ConsensusOutcome.of("t", MAJORITY, Tally(2, 0, 0), 2)
    machine = counted(("ann", "yes"), ("bob", "no"))
    correct(machine, "votes/v2", vote("bob", ABSTAIN))
    ctx = correct(machine, "consensus_outcomes/consensus:t:1", wrong).context
    assert [fact.id for fact in ctx.get(ConsensusOutcome)] == ["consensus:t:2", "consensus:t:1~2"]
    assert standing(ctx) == (1, 0, False)


def test_what_was_no_vote_can_be_corrected() -> None:
    row = {"topic": "t", "voter": "ann"}
    machine = counted(DataPayload(data={**row, "decision": "maybe"}), ("bob", "yes"))
    result = correct(machine, "votes/v1", DataPayload(data={**row, "decision": "yes"}))
    assert standing(result.context) == (2, 0, True)


def test_a_topic_without_new_votes_is_not_counted_again() -> None:
    @suggestor(reads=ContextKey.CONSENSUS_OUTCOMES, writes=ContextKey.VOTES)
    def next_topic(ctx: Context) -> ProposedFact[Vote]:
        return ProposedFact(ContextKey.VOTES, "next", Vote(topic="u", voter="ann", decision=NO))

    kinds = Kinds()
    result = run(ballot(("ann", "yes")), consensus("ann"), next_topic, observer=kinds)
    assert list(outcomes(result)) == ["consensus:t:1", "consensus:u:1"]
    assert kinds.seen.count("proposal_duplicate") == 1  # of `next_topic`, which says the same again


@given(st.sampled_from(ConsensusRule), st.lists(st.sampled_from(Decision), min_size=1, max_size=5))
def test_an_outcome_is_what_the_rule_says_of_the_tally(rule: ConsensusRule, said: list[Decision]) -> None:
    voters = [f"voter-{number}" for number in range(len(said))]
    result = run(ballot(*zip(voters, said, strict=True)), consensus(*voters, rule=rule.value))
    (found,) = outcomes(result).values()
    tally = Tally(said.count(YES), said.count(NO), said.count(ABSTAIN))
    assert found == ConsensusOutcome.of("t", rule, tally, len(voters))


# Disagreements.


def test_a_no_that_was_outvoted_is_stated() -> None:
    no = Vote(topic="t", voter="bob", decision=NO, reason="too dear")
    result = run(ballot(("ann", "yes"), no, ("cy", "yes")), consensus())
    assert dissent(result) == {"disagreement:v2": Disagreement(topic="t", dissenter="bob", reason="too dear")}
    (fact,) = result.context.get(ContextKey.DISAGREEMENTS)
    assert fact.evidence == ("votes/v2",)


@pytest.mark.parametrize(
    "cast",
    [
        pytest.param([("ann", "yes"), ("bob", "no"), ("cy", "no")], id="the topic did not pass"),
        pytest.param([("ann", "yes"), ("bob", "abstain"), ("cy", "yes")], id="an abstention is no disagreement"),
        pytest.param([("ann", "yes"), ("bob", "yes"), ("cy", "yes"), ("eve", "no")], id="eve may not vote"),
        pytest.param([("bob", "no"), ("ann", "yes"), ("bob", "yes"), ("cy", "yes")], id="bob came round"),
    ],
)
def test_there_is_no_disagreement_where(cast: list[tuple[str, str]]) -> None:
    assert dissent(run(ballot(*cast), consensus())) == {}


def test_a_disagreement_is_stated_once() -> None:
    @suggestor(reads=ContextKey.CONSENSUS_OUTCOMES, writes=ContextKey.VOTES)
    def late(ctx: Context) -> ProposedFact[Vote]:
        return ProposedFact(ContextKey.VOTES, "v4", Vote(topic="t", voter="eve", decision=NO))

    kinds = Kinds()
    run(ballot(("ann", "yes"), ("bob", "no"), ("cy", "yes")), consensus(), late, observer=kinds)
    assert kinds.seen.count("proposal_duplicate") == 1  # of `late`, which says the same again


# Configuration and plugin.


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"rule": "loudest"}, ("rule",)),
        ({"eligible_voters": ()}, ("eligible_voters",)),
        ({"eligible_voters": ("ann", "bob", "ann")}, ("eligible_voters",)),
        ({"quorum": "half"}, ("quorum",)),
        ({"extra": 1}, ("extra",)),
    ],
)
def test_a_configuration_without_sense_is_refused(changes: dict[str, object], place: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        consensus(**changes)
    assert [fault["loc"] for fault in caught.value.errors()] == [place]


def test_a_count_declares_what_it_does() -> None:
    one = consensus("ann")
    assert one.name == "count"
    assert one.config == {"rule": "majority", "eligible_voters": ["ann"], "quorum": "all"}


def test_the_plugin_offers_the_suggestor_and_its_payloads() -> None:
    manager = pluggy.PluginManager("converge")
    manager.add_hookspecs(hookspec)
    manager.register(votes)
    manager.check_pending()
    catalog, payloads = Catalog[Suggestor]("suggestor"), PayloadRegistry()
    manager.hook.converge_register_suggestors(catalog=catalog)
    manager.hook.converge_register_payloads(registry=payloads)
    assert [(entry.name, entry.config) for entry in catalog] == [("votes.consensus", ConsensusConfig)]
    assert {Vote, Disagreement, ConsensusOutcome} <= set(payloads.families().values())
