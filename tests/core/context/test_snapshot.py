from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from converge_core import (
    ContextState,
    FactPayload,
    MerkleRoot,
    PayloadError,
    PayloadRegistry,
    ProposedFact,
    SnapshotError,
    Stopped,
    SubjectRef,
    canonical,
    replay,
    restore,
    snapshot,
)
from converge_core.context.snapshot import facts_root
from tests.core.scenarios import corrects
from tests.core.stage import SEEDS, SIGNALS, Says, advance, data, engine_of, play, seeded, text


class Invoice(FactPayload):
    family: ClassVar[str] = "test.invoice"
    cents: int


@pytest.fixture(scope="module")
def context() -> ContextState:
    """Three facts that use every field, and a staged input."""
    full = text("s1", confidence=0.25, subject=SubjectRef("erp://invoice/7"), evidence=("mail:1", "mail:2"))
    start = seeded().add_proposal(full).add_proposal(data("s2", lines=[1, {"a": None}]))
    result = play(engine_of(Says("rule", text("n1", "é \x00", SIGNALS), reads=[SEEDS])), start).result
    return ContextState(result.context.facts(), [text("later", provenance="me")])


@pytest.fixture(scope="module")
def root(context: ContextState) -> MerkleRoot:
    return facts_root(tuple(context.facts()))


def test_a_context_is_restored_as_it_was(context: ContextState, root: MerkleRoot) -> None:
    restored = restore(snapshot(context), root)

    assert list(restored.facts()) == list(context.facts())
    assert restored.staged == context.staged
    assert restored.version == context.version
    assert snapshot(restored) == snapshot(context)


def test_the_empty_context_is_restored() -> None:
    empty = ContextState()
    assert len(restore(snapshot(empty), facts_root(())).facts()) == 0


def test_a_root_from_elsewhere_is_required(context: ContextState) -> None:
    with pytest.raises(TypeError):
        restore(snapshot(context))  # type: ignore[call-arg]


def test_another_root_restores_nothing(context: ContextState) -> None:
    with pytest.raises(SnapshotError, match="not the ones that the Merkle root covers"):
        restore(snapshot(context), MerkleRoot.of("another run"))


# --- every field of a fact and of its promotion is covered ------------------------------------------------------------


def alter(value: Any) -> Any:
    """Another value of the same type."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value[:-1] + ("0" if value[-1:] != "0" else "1")
        case list():
            return [*value[:-1], alter(value[-1])]
        case dict():
            return {**value, "more": 1}
        case _:
            return "something"


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value inside a JSON value, itself excluded."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [found for step, item in items for found in ((*path, step), *places(item, (*path, step)))]


def changed(text: str, path: tuple[str | int, ...], change: Callable[[Any], Any]) -> str:
    value = json.loads(text)
    parent = value
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = change(parent[path[-1]])
    return canonical(value)


RECORD = ("approver", "authority", "cycle", "gate", "id", "key", "kind", "lamport", "policy", "proposal", "proposer")
PROPOSAL = {
    "confidence": 0,
    "evidence": [0, 0],
    "id": 0,
    "key": 0,
    "payload": {"body": {"text": 0}, "family": 0, "version": 0},
    "provenance": 0,
    "subject": 0,
}
FACT_PLACES: list[tuple[str | int, ...]] = [
    *(("facts", 0, "promotion", name) for name in RECORD),
    *(("facts", 0, "proposal", *path) for path in places(PROPOSAL)),
]


@pytest.mark.parametrize("other", ["seeds/other", None], ids=str)
def test_a_correction_that_supersedes_another_fact_is_refused(other: str | None) -> None:
    run = engine_of().begin(seeded("s"))
    advance(run)
    corrects(run)
    run.reopen()
    step = advance(run)
    assert isinstance(step, Stopped)
    context = step.result.context
    root = facts_root(tuple(context.facts()))
    assert list(restore(snapshot(context), root).facts()) == list(context.facts())

    value = json.loads(snapshot(context))
    promotion = value["facts"][-1]["promotion"]
    assert promotion.pop("supersedes") == "seeds/s"
    if other is not None:
        promotion["supersedes"] = other
    with pytest.raises(SnapshotError):
        restore(canonical(value), root)


def test_the_list_of_altered_fields_is_complete(context: ContextState) -> None:
    stored = json.loads(snapshot(context))["facts"][0]
    assert {("facts", 0, *path) for path in places(stored)} - {("facts", 0, "promotion"), ("facts", 0, "proposal")} == {
        *FACT_PLACES
    }


@pytest.mark.parametrize("path", FACT_PLACES, ids=lambda path: ".".join(map(str, path[2:])))
def test_a_fact_with_an_altered_field_is_refused(
    context: ContextState, root: MerkleRoot, path: tuple[str | int, ...]
) -> None:
    with pytest.raises(SnapshotError):
        restore(changed(snapshot(context), path, alter), root)


@pytest.mark.parametrize("path", FACT_PLACES, ids=lambda path: ".".join(map(str, path[2:])))
def test_a_fact_with_a_missing_field_is_refused(
    context: ContextState, root: MerkleRoot, path: tuple[str | int, ...]
) -> None:
    value = json.loads(snapshot(context))
    parent = value
    for step in path[:-1]:
        parent = parent[step]
    del parent[path[-1]]

    with pytest.raises(SnapshotError):
        restore(canonical(value), root)


def test_an_altered_fact_is_refused_even_with_its_own_hashes_made_anew(context: ContextState, root: MerkleRoot) -> None:
    """What a forger can do without the root: a whole other fact, consistent in itself."""
    forged = play(engine_of(), seeded().add_proposal(text("s1", "forged"))).result.context
    value = json.loads(snapshot(context))
    value["facts"][0] = json.loads(snapshot(forged))["facts"][0]

    with pytest.raises(SnapshotError, match="not the ones that the Merkle root covers"):
        restore(canonical(value), root)


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts[:-1],
        lambda facts: [facts[1], facts[0], *facts[2:]],
        lambda facts: [*facts, facts[-1]],
        lambda facts: [],
    ],
    ids=["dropped", "swapped", "repeated", "emptied"],
)
def test_facts_that_are_not_all_in_their_places_are_refused(
    context: ContextState, root: MerkleRoot, change: Callable[[Any], Any]
) -> None:
    with pytest.raises(SnapshotError, match="not the ones that the Merkle root covers"):
        restore(changed(snapshot(context), ("facts",), change), root)


def test_facts_of_another_order_are_refused_under_a_root_made_for_them(context: ContextState) -> None:
    swapped = list(context.facts())[::-1]
    wrong = facts_root(tuple(swapped))
    text = changed(snapshot(context), ("facts",), lambda facts: facts[::-1])

    with pytest.raises(SnapshotError, match="does not stand at place 1"):
        restore(changed(text, ("merkle_root",), lambda _: str(wrong)), wrong)


def test_a_snapshot_that_names_another_root_is_refused(context: ContextState, root: MerkleRoot) -> None:
    with pytest.raises(SnapshotError):
        restore(changed(snapshot(context), ("merkle_root",), alter), root)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON"),
        ("[]", "not a snapshot of a context"),
        ('{"facts":[],"format":2,"merkle_root":"","staged":[]}', "a snapshot of format 2; this program reads 1"),
        ('{"facts":{},"format":1,"merkle_root":"","staged":[]}', "not a snapshot of a context"),
        ('{"facts":[1],"format":1,"merkle_root":"","staged":[]}', "a stored fact cannot be read"),
    ],
)
def test_what_is_no_snapshot_is_refused(text: str, why: str, root: MerkleRoot) -> None:
    with pytest.raises(SnapshotError, match=why):
        restore(text, root)


def test_a_staged_input_that_cannot_be_read_is_refused(context: ContextState, root: MerkleRoot) -> None:
    with pytest.raises(SnapshotError, match="a staged input cannot be read"):
        restore(changed(snapshot(context), ("staged", 0, "key"), lambda _: "nowhere"), root)


# --- payload classes of plugins ---------------------------------------------------------------------------------------


def invoiced() -> ContextState:
    return play(engine_of(), seeded().add_proposal(ProposedFact(SEEDS, "i1", Invoice(cents=120)))).result.context


def test_a_fact_of_an_unknown_family_is_a_loud_error_that_blames_no_one_else() -> None:
    context = invoiced()
    with pytest.raises(PayloadError, match=r"test\.invoice v1: unknown family"):
        restore(snapshot(context), facts_root(tuple(context.facts())))


def test_a_fact_of_a_registered_family_is_restored_with_its_class() -> None:
    context, payloads = invoiced(), PayloadRegistry()
    payloads.register(Invoice)
    restored = restore(snapshot(context), facts_root(tuple(context.facts())), payloads)
    assert restored.get(Invoice)[0].payload.cents == 120


class InvoiceV2(FactPayload):
    family: ClassVar[str] = "test.invoice"
    version: ClassVar[int] = 2
    cents: int
    currency: str


def newer() -> PayloadRegistry:
    """The registry of a program that has moved on."""
    payloads = PayloadRegistry()
    payloads.register(InvoiceV2, {1: lambda body: {**body, "currency": "EUR"}})  # type: ignore[dict-item]
    return payloads


def test_a_fact_of_an_older_version_is_restored_as_the_newer_and_stored_as_it_was() -> None:
    text = snapshot(invoiced())
    root = facts_root(tuple(invoiced().facts()))

    context = restore(text, root, newer())

    assert context.get(InvoiceV2)[0].payload == InvoiceV2(cents=120, currency="EUR")
    assert snapshot(context) == text
    assert list(restore(snapshot(context), root, newer()).facts()) == list(context.facts())


def test_a_run_that_starts_from_facts_of_an_older_version_replays() -> None:
    root = facts_root(tuple(invoiced().facts()))
    engine = engine_of(payloads=newer())
    played = play(engine, restore(snapshot(invoiced()), root, newer()))
    assert played.result.integrity.merkle_root == root
    replay(engine_of(payloads=newer()), played.log)


def test_a_run_of_an_older_version_is_read_by_a_program_that_has_moved_on() -> None:
    played = play(engine_of(), seeded().add_proposal(ProposedFact(SEEDS, "i1", Invoice(cents=120))))
    run = replay(engine_of(payloads=newer()), played.log)
    context = run.result().context
    assert context.get(InvoiceV2)[0].payload.currency == "EUR"
    assert snapshot(context) == snapshot(played.result.context)
