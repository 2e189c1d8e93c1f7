from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core import Head, LedgerCorrupt, MerkleRoot, StoredEntry, canonical, verify
from converge_core.ledger.merkle import EMPTY_ROOT, leaf_hash, root_of
from tests.core.scenarios import SCRIPTS
from tests.core.stage import finish
from tests.fakes.ledger import FakeLedger

each_script = pytest.mark.parametrize("name", SCRIPTS)
RUN = "run"
Store = list[StoredEntry]


@cache
def stored_in(name: str) -> tuple[StoredEntry, ...]:
    ledger, size = FakeLedger(), 0
    finish(ledger.create_run(RUN))
    for append in SCRIPTS[name].play():
        size = finish(ledger.append(RUN, size, append)).size
    return tuple(finish(ledger.read(RUN)))


@pytest.fixture
def store() -> Store:
    """A run of three appends, the second of several entries."""
    return list(stored_in("quick start"))


def corrupt(stored: Sequence[StoredEntry], head: Head | None = None) -> LedgerCorrupt:
    with pytest.raises(LedgerCorrupt) as found:
        verify(RUN, stored, head)
    assert found.value.run_id == RUN
    return found.value


def ends(stored: Sequence[StoredEntry]) -> list[int]:
    """The places where an append ended."""
    return [entry.sequence for entry in stored if entry.root is not None]


def rewritten(entry: StoredEntry, **changes: Any) -> StoredEntry:
    """The entry with another body, under the leaf hash of that body."""
    body = canonical({**json.loads(entry.body), **changes})
    return entry._replace(body=body, leaf=leaf_hash(body.encode()))


def rerooted(stored: Sequence[StoredEntry]) -> Store:
    """The store as somebody leaves it who can rewrite all of it, roots included."""
    leaves = [entry.leaf for entry in stored]
    return [
        entry if entry.root is None else entry._replace(root=root_of(leaves[: place + 1]))
        for place, entry in enumerate(stored)
    ]


# --- intact -----------------------------------------------------------------------------------------------------------


@each_script
def test_a_run_that_was_written_is_intact_and_its_head_is_returned(name: str) -> None:
    stored = stored_in(name)
    head = verify(RUN, stored)
    assert head == Head(len(stored), root_of(entry.leaf for entry in stored))
    assert verify(RUN, stored, head) == head


@each_script
def test_every_past_head_is_a_head_of_the_run(name: str) -> None:
    stored = stored_in(name)
    leaves = [entry.leaf for entry in stored]
    for size in range(len(stored) + 1):
        verify(RUN, stored, Head(size, root_of(leaves[:size])))


def test_a_run_without_entries_is_intact() -> None:
    assert verify(RUN, []) == Head(0, EMPTY_ROOT)


# --- one entry --------------------------------------------------------------------------------------------------------


@each_script
def test_a_changed_body_is_found_at_its_place(name: str) -> None:
    stored = stored_in(name)
    for place, entry in enumerate(stored):
        changed = [*stored]
        changed[place] = entry._replace(body=canonical({**json.loads(entry.body), "more": 1}))
        assert corrupt(changed).sequence == place


@given(st.data())
def test_a_single_changed_character_is_found_at_its_place(data: st.DataObject) -> None:
    stored = list(stored_in("messy inputs"))
    place = data.draw(st.integers(0, len(stored) - 1))
    body = stored[place].body
    at = data.draw(st.integers(0, len(body) - 1))
    other = data.draw(st.characters().filter(lambda character: character != body[at]))
    stored[place] = stored[place]._replace(body=body[:at] + other + body[at + 1 :])
    assert corrupt(stored).sequence == place


def test_a_body_of_unpaired_surrogates_is_found_at_its_place(store: Store) -> None:
    store[1] = store[1]._replace(body='{"kind":"\ud800"}')
    assert corrupt(store).sequence == 1


def test_a_changed_leaf_is_found_at_its_place(store: Store) -> None:
    store[2] = store[2]._replace(leaf=bytes(32))
    assert corrupt(store).sequence == 2


def test_a_leaf_that_is_no_hash_is_found_at_its_place(store: Store) -> None:
    store[2] = store[2]._replace(leaf=b"short")
    assert corrupt(store).sequence == 2


def test_a_body_rewritten_with_its_leaf_is_found_by_the_root_of_its_append(store: Store) -> None:
    first, second, *_ = ends(store)
    store[second] = rewritten(store[second], cycle=99)
    assert corrupt(store).sequence == first + 1


@pytest.mark.parametrize(
    "body", ['"run_stopped"', "[]", "not JSON", "{}", '{"kind":"run_started"}', '{"kind":"a","kind":"a"}']
)
def test_a_body_that_is_no_event_of_its_kind_is_found_at_its_place(store: Store, body: str) -> None:
    last = len(store) - 1
    store[last] = store[last]._replace(body=body, leaf=leaf_hash(body.encode()))
    assert corrupt(rerooted(store)).sequence == last


def test_a_changed_kind_is_found_at_its_place(store: Store) -> None:
    store[2] = store[2]._replace(kind="effect_received" if store[2].kind != "effect_received" else "fact_promoted")
    assert corrupt(store).sequence == 2


def test_a_changed_sequence_number_is_found_at_its_place(store: Store) -> None:
    store[2] = store[2]._replace(sequence=7)
    found = corrupt(store)
    assert (found.sequence, found.expected, found.found) == (2, "entry 2", "entry 7")


# --- entries against each other ---------------------------------------------------------------------------------------


def renumbered(stored: Sequence[StoredEntry]) -> Store:
    return [entry._replace(sequence=place) for place, entry in enumerate(stored)]


def end_after(stored: Sequence[StoredEntry], place: int) -> int:
    """Where the append ends that holds the entry after a place: there a root shows what happened at the latest."""
    return next(end for end in ends(stored) if end > place)


@each_script
def test_a_dropped_entry_is_found_at_the_latest_where_its_append_ends(name: str) -> None:
    stored = stored_in(name)
    for place in range(len(stored) - 1):
        dropped = stored[:place] + stored[place + 1 :]
        assert corrupt(renumbered(dropped)).sequence <= end_after(stored, place)
        assert corrupt(dropped).sequence <= place, "and at once if the numbers were left as they are"


@each_script
def test_a_repeated_entry_is_found_at_the_latest_where_its_append_ends(name: str) -> None:
    stored = stored_in(name)
    for place, entry in enumerate(stored[:-1]):
        twice = [*stored[: place + 1], entry._replace(root=None), *stored[place + 1 :]]
        assert corrupt(renumbered(twice)).sequence <= end_after(stored, place) + 1


def test_the_last_entry_twice_lacks_a_root(store: Store) -> None:
    store.append(store[-1]._replace(sequence=len(store), root=None))
    assert corrupt(store).sequence == len(store) - 1


def test_entries_swapped_within_an_append_are_found_at_its_first(store: Store) -> None:
    first, second, *_ = ends(store)
    a, b = first + 1, second
    assert a < b, "the append has entries to swap"
    store[a], store[b] = store[b]._replace(sequence=a, root=None), store[a]._replace(sequence=b, root=store[b].root)
    assert corrupt(store).sequence == first + 1


def test_entries_swapped_across_appends_are_found_at_the_first_of_them(store: Store) -> None:
    first, second, *_ = ends(store)
    store[first], store[second] = (
        store[second]._replace(root=store[first].root),
        store[first]._replace(root=store[second].root),
    )
    assert corrupt(renumbered(store)).sequence == 0


def test_a_changed_root_is_found_at_the_first_entry_of_its_append(store: Store) -> None:
    first, second, *_ = ends(store)
    store[second] = store[second]._replace(root=bytes(32))
    assert corrupt(store).sequence == first + 1


def test_a_root_in_the_middle_of_an_append_has_to_be_right_too(store: Store) -> None:
    first, second, *_ = ends(store)
    assert second > first + 1
    store[first + 1] = store[first + 1]._replace(root=bytes(32))
    assert corrupt(store).sequence == first + 1


def test_a_missing_root_at_the_end_is_found(store: Store) -> None:
    *_, before, last = ends(store)
    store[last] = store[last]._replace(root=None)
    assert corrupt(store).sequence == before + 1


# --- the run as a whole -----------------------------------------------------------------------------------------------


def test_another_run_under_this_name_is_found(store: Store) -> None:
    with pytest.raises(LedgerCorrupt, match=r"the start of 'other'.*that of 'run'") as found:
        verify("other", store)
    assert found.value.sequence == 0


def test_a_run_that_does_not_say_whose_it_is_is_found(store: Store) -> None:
    promoted = next(entry for entry in store if entry.kind == "fact_promoted")
    found = corrupt(rerooted([promoted._replace(sequence=0, root=b"")]))
    assert (found.sequence, found.expected) == (0, "the start of 'run'")


@pytest.mark.parametrize("name", ["quick start", "carried facts", "gates answered", "a failure mended"])
def test_a_wrong_root_of_the_facts_is_found_where_the_run_stopped(name: str) -> None:
    stored = list(stored_in(name))
    place = next(entry.sequence for entry in stored if entry.kind == "run_stopped")
    stored[place] = rewritten(stored[place], merkle_root=str(MerkleRoot.of("forged")))
    assert corrupt(rerooted(stored)).sequence == place


def test_a_fact_that_was_rewritten_contradicts_the_root_of_the_facts(store: Store) -> None:
    place = next(entry.sequence for entry in store if entry.kind == "fact_promoted")
    store[place] = rewritten(store[place], approver="human:mallory")
    found = corrupt(rerooted(store))
    assert store[found.sequence].kind == "run_stopped"


def test_a_carried_fact_without_a_promotion_is_found() -> None:
    stored = list(stored_in("carried facts"))
    body = canonical({"kind": "fact_carried", "proposal": {}})
    stored[1] = stored[1]._replace(body=body, leaf=leaf_hash(body.encode()))
    assert corrupt(rerooted(stored)).sequence >= 1


# --- against a head that was kept elsewhere ---------------------------------------------------------------------------


@each_script
def test_a_run_that_was_cut_off_at_an_append_shows_only_against_a_head(name: str) -> None:
    stored = stored_in(name)
    head = verify(RUN, stored)
    for end in ends(stored)[:-1]:
        cut = stored[: end + 1]
        assert verify(RUN, cut).size == end + 1
        found = corrupt(cut, head)
        assert (found.sequence, found.found) == (end + 1, f"{end + 1} entries")


def test_a_run_that_was_rewritten_as_a_whole_shows_only_against_a_head(store: Store) -> None:
    head = verify(RUN, store)
    effect = next(entry.sequence for entry in store if entry.kind == "effect_received")
    store[effect] = rewritten(store[effect], suggestor="mallory")
    forged = rerooted(store)
    assert verify(RUN, forged).size == head.size
    assert corrupt(forged, head).sequence == head.size - 1


def test_a_past_head_shows_that_what_came_before_it_was_rewritten(store: Store) -> None:
    first = ends(store)[0]
    past = Head(first + 1, root_of(entry.leaf for entry in store[: first + 1]))
    store[0] = rewritten(store[0], source={"forged": True})
    assert corrupt(rerooted(store), past).sequence == first


@pytest.mark.parametrize("size", [0, 1, 5])
def test_a_head_of_another_log_is_refused(store: Store, size: int) -> None:
    corrupt(store, Head(size, MerkleRoot.of("another log")))


def test_an_empty_head_says_nothing_and_is_right(store: Store) -> None:
    assert verify(RUN, store, Head(0, EMPTY_ROOT)).size == len(store)


@given(st.data())
def test_whatever_is_done_to_the_store_is_found(data: st.DataObject) -> None:
    """Except at the end: a run may have been shorter."""
    stored = list(stored_in(data.draw(st.sampled_from(sorted(SCRIPTS)))))
    head = verify(RUN, stored)
    places = st.integers(0, len(stored) - 1)
    deeds: list[Callable[[Store], Store]] = [
        lambda s: [*s[: (a := data.draw(places))], *s[a + 1 :]],
        lambda s: [*s, s[data.draw(places)]],
        lambda s: s[: data.draw(st.integers(0, len(s) - 1))],
        lambda s: data.draw(st.permutations(s)),
    ]
    done = renumbered(data.draw(st.sampled_from(deeds))(stored))
    if [entry.body for entry in done] != [entry.body for entry in stored]:
        corrupt(done, head)
