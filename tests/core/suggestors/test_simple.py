from __future__ import annotations

from converge_core import ContextKey
from converge_core.suggestors import ReactOnceSuggestor, SeedSuggestor
from tests.core.stage import SIGNALS, engine_of, play, refs, seeded


def test_a_seed_is_proposed_once() -> None:
    result = play(engine_of(SeedSuggestor("s1", "words"), SeedSuggestor("s2", "words", SIGNALS))).result
    assert refs(result) == ["seeds/s1", "signals/s2"]
    assert result.cycles == 2


def test_a_seed_that_is_a_fact_already_is_not_proposed() -> None:
    played = play(engine_of(SeedSuggestor("s1", "words")), seeded("s1"))
    assert "effect_received" not in played.kinds


def test_a_reaction_waits_for_the_key_it_reads() -> None:
    reaction = ReactOnceSuggestor("r", "words", reads=SIGNALS, key=ContextKey.VOTES)
    assert refs(play(engine_of(reaction), seeded("s")).result) == ["seeds/s"]


def test_a_reaction_comes_once_and_cites_what_woke_it() -> None:
    context = seeded("a", "b")
    played = play(engine_of(ReactOnceSuggestor("r", "words"), SeedSuggestor("late", "words")), context)
    assert refs(played.result) == ["seeds/a", "seeds/b", "hypotheses/r", "seeds/late"]
    assert played.result.context.facts()[2].evidence == ("seeds/a", "seeds/b")


def test_both_can_be_registered_many_times_under_their_own_names() -> None:
    engine = engine_of(*(SeedSuggestor(f"s{i}", "words") for i in range(3)), ReactOnceSuggestor("s1", "words"))
    assert refs(play(engine).result) == ["seeds/s0", "seeds/s1", "seeds/s2", "hypotheses/s1"]
