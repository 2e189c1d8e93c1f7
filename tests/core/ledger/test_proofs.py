"""Proofs from real runs, and everything that must not pass for one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ParamSpec

import anyio
import pytest

from converge_core import ContextKey, ContextState, ConvergeResult, Engine, Entry, Head, LedgerError, MerkleLog
from converge_core.errors import ProofRefused
from converge_core.ledger.canonical import JsonValue
from converge_core.ledger.hashes import MerkleRoot
from converge_core.ledger.merkle import EMPTY_ROOT, inclusion_proof
from converge_core.ledger.proofs import (
    ConsistencyProof,
    FactProof,
    Proof,
    prove_fact,
    prove_growth,
    read_proof,
)
from converge_core.suggestors import ReactOnceSuggestor
from tests.fakes.observer import FakeObserver

P = ParamSpec("P")

REFS = [*(f"seeds/s-{number}" for number in range(5)), "hypotheses/hyp-1"]
SUBJECT = "seeds/s-3"


def record(context: ContextState) -> tuple[list[Entry], ConvergeResult]:
    engine, observer = Engine(), FakeObserver()
    engine.register_suggestor(ReactOnceSuggestor("hyp-1", "derived insight"))
    result = anyio.run(partial(engine.run, context, run_id="audited", observers=[observer]))
    return observer.entries, result


def inputs(texts: Sequence[str]) -> ContextState:
    context = ContextState()
    for number, text in enumerate(texts):
        context.add_input(ContextKey.SEEDS, f"s-{number}", text)
    return context


ENTRIES, RESULT = record(inputs(["plain", 'quoted "text"', "line\nbreak \x1f", "Grüße, 漢字, 🙂", "x" * 100]))
LEAVES = [entry.leaf for entry in ENTRIES]
HEADS = [MerkleLog(LEAVES[:size]).head for size in range(len(LEAVES) + 1)]
HEAD = HEADS[-1]


def text_of(proof: Proof) -> str:
    return json.dumps(proof.to_json(), ensure_ascii=False)


def check(proof: Proof) -> None:
    """Check a proof against the heads that its checker holds."""
    if isinstance(proof, FactProof):
        proof.check(HEAD)
    else:
        proof.check(HEADS[5], HEAD)


def check_text(data: bytes) -> None:
    check(read_proof(data.decode()))


def refuses(read: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> bool:
    """Say whether something is refused as it should be, by one of these two errors and no other."""
    try:
        read(*args, **kwargs)
    except (ProofRefused, ValueError):
        return True
    return False


def flipped(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


FACT, GROWTH = prove_fact(ENTRIES, SUBJECT), prove_growth(LEAVES, HEADS[5])


@pytest.mark.parametrize("ref", REFS)
def test_every_fact_of_a_run_can_be_proven_at_its_head(ref: str) -> None:
    prove_fact(ENTRIES, ref).check(HEAD)


@pytest.mark.parametrize("proof", [FACT, GROWTH])
def test_a_proof_survives_its_json_form(proof: Proof) -> None:
    assert read_proof(text_of(proof)) == proof


def test_a_fact_proof_tells_the_whole_proposal_and_its_promotion() -> None:
    payload = FACT.statement["payload"]
    assert isinstance(payload, Mapping)
    assert payload["body"] == {"text": "Grüße, 漢字, 🙂"}
    assert (FACT.promotion.key, FACT.promotion.id, FACT.promotion.proposer) == ("seeds", "s-3", "input")
    assert ENTRIES[FACT.sequence].body == FACT.entry


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("proof", [FACT, prove_fact(ENTRIES, "seeds/s-2"), GROWTH])
def test_a_flipped_bit_in_a_proof_is_refused(proof: Proof, bit: int) -> None:
    data = text_of(proof).encode()
    forged = [flipped(data, place, bit) for place in range(len(data))]
    assert [text for text in forged if not refuses(check_text, text)] == []


@pytest.mark.parametrize("proof", [FACT, GROWTH])
def test_a_proof_that_is_cut_off_anywhere_is_refused(proof: Proof) -> None:
    text = text_of(proof)
    assert [end for end in range(len(text)) if not refuses(read_proof, text[:end])] == []


OTHER = prove_fact(ENTRIES, "seeds/s-1")
NODE = bytes([FACT.path[0][0] ^ 1]) + FACT.path[0][1:]


@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        (replace(FACT, sequence=FACT.sequence + 1), "is not entry"),
        (replace(FACT, sequence=-1), "is not entry"),
        (replace(FACT, sequence=len(ENTRIES)), "is not entry"),
        (replace(FACT, path=OTHER.path), "is not entry"),
        (replace(FACT, path=(NODE, *FACT.path[1:])), "is not entry"),
        (replace(FACT, path=FACT.path[:-1]), "is not entry"),
        (replace(FACT, path=(*FACT.path, NODE)), "is not entry"),
        (replace(FACT, path=()), "is not entry"),
        (replace(FACT, entry=FACT.entry.replace('"input"', '"human:eve"')), "is not entry"),
        (replace(FACT, proposal=FACT.proposal.replace("漢字", "汉字")), "not the one that was promoted"),
        (replace(FACT, head=HEADS[-2]), "is for the head"),
    ],
)
def test_a_fact_proof_with_one_field_forged_is_refused_with_the_reason(forged: FactProof, reason: str) -> None:
    with pytest.raises(ProofRefused, match=reason):
        forged.check(HEAD)


@pytest.mark.parametrize("head", [*HEADS[:-1], Head(HEAD.size + 1, HEAD.root), Head(HEAD.size, EMPTY_ROOT)])
def test_a_fact_proof_is_refused_for_any_head_but_its_own(head: Head) -> None:
    with pytest.raises(ProofRefused, match="is for the head"):
        FACT.check(head)


def test_a_proof_from_an_invented_log_proves_nothing_against_a_head_that_was_kept() -> None:
    invented, _ = record(inputs(["another past"] * 5))
    proof = prove_fact(invented, SUBJECT)
    proof.check(proof.head)
    with pytest.raises(ProofRefused):
        proof.check(HEAD)


def test_the_proposal_of_another_fact_cannot_be_put_into_a_proof() -> None:
    with pytest.raises(ValueError, match="about the same fact"):
        replace(FACT, proposal=OTHER.proposal)


@pytest.mark.parametrize("sequence", [place for place, entry in enumerate(ENTRIES) if entry.kind != "fact_promoted"])
def test_an_entry_of_another_kind_proves_no_promotion_though_it_is_in_the_log(sequence: int) -> None:
    with pytest.raises(ValueError, match="is a fact_promoted"):
        FactProof(ENTRIES[sequence].body, FACT.proposal, sequence, HEAD, inclusion_proof(LEAVES, sequence))


@pytest.mark.parametrize(
    ("entry", "proposal"),
    [
        (FACT.entry.replace(",", ", "), FACT.proposal),
        (FACT.entry, FACT.proposal.replace(",", ", ")),
        (FACT.entry, "[]"),
        (FACT.entry, "not JSON"),
        ("not JSON", FACT.proposal),
        ("{}", FACT.proposal),
        (FACT.entry.replace('"cycle":0,', ""), FACT.proposal),
        (FACT.entry.replace('"cycle":0,', '"cycle":null,'), FACT.proposal),
        (FACT.entry.replace('"cycle":0,', '"cycle":0,"cycle":0,'), FACT.proposal),
    ],
)
def test_an_entry_and_a_proposal_are_the_canonical_texts_or_no_proof(entry: str, proposal: str) -> None:
    assert (entry, proposal) != (FACT.entry, FACT.proposal)
    assert refuses(replace, FACT, entry=entry, proposal=proposal)


def upper(head: object) -> str:
    return str(head).upper()


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"format": True},
        {"format": "1"},
        {"proof": "facts"},
        {"proof": ["fact"]},
        {"proof": "consistency"},
        {"note": "unsigned"},
        {"sequence": True},
        {"sequence": 7.0},
        {"sequence": "7"},
        {"entry": 1},
        {"proposal": {}},
        {"head": 12},
        {"head": upper(HEAD)},
        {"head": f" {HEAD}"},
        {"path": "00" * 32},
        {"path": [1]},
        {"path": [FACT.path[0].hex().upper()]},
        {"path": [FACT.path[0].hex()[:-2]]},
    ],
)
def test_a_fact_proof_in_json_has_these_members_of_these_types_and_no_others(change: dict[str, Any]) -> None:
    assert refuses(FactProof.from_json, FACT.to_json() | change)


@pytest.mark.parametrize("kind", [FactProof, ConsistencyProof])
@pytest.mark.parametrize("value", [None, [], "fact", 1, {}, {"proof": "fact", "format": 1}])
def test_what_is_no_proof_is_not_read_as_one(value: JsonValue, kind: type[Proof]) -> None:
    with pytest.raises(ValueError, match="has the members"):
        kind.from_json(value)


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"proof": "fact"} x', '{"proof": "other", "format": 1}'])
def test_what_is_no_json_object_of_a_known_kind_is_not_read_as_a_proof(text: str) -> None:
    assert refuses(read_proof, text)


@pytest.mark.parametrize("member", FACT.to_json())
def test_a_fact_proof_lacks_no_member(member: str) -> None:
    value = {name: item for name, item in FACT.to_json().items() if name != member}
    assert refuses(read_proof, json.dumps(value))


def test_a_later_format_is_named_as_what_it_is() -> None:
    with pytest.raises(ValueError, match="proofs of format 1 are known here, not of 2"):
        read_proof(json.dumps(GROWTH.to_json() | {"format": 2}))


def test_a_fact_that_a_run_has_not_cannot_be_proven() -> None:
    with pytest.raises(LedgerError, match="run 'audited' has no fact 'seeds/s-9'; a fact is named key/id"):
        prove_fact(ENTRIES, "seeds/s-9")


def test_a_fact_with_which_a_run_began_is_proven_by_the_run_that_promoted_it() -> None:
    entries, _ = record(RESULT.context)
    with pytest.raises(LedgerError, match="began with the fact 'seeds/s-3'"):
        prove_fact(entries, SUBJECT)


@pytest.mark.parametrize("size", range(len(ENTRIES) + 1))
def test_a_log_can_prove_that_it_grew_from_every_head_it_had(size: int) -> None:
    prove_growth(LEAVES, HEADS[size]).check(HEADS[size], HEAD)


@pytest.mark.parametrize(
    ("first", "second"),
    [(HEADS[4], HEAD), (HEADS[5], HEADS[-2]), (HEAD, HEADS[5]), (Head(HEADS[5].size, EMPTY_ROOT), HEAD)],
)
def test_a_consistency_proof_is_refused_for_any_heads_but_its_own(first: Head, second: Head) -> None:
    with pytest.raises(ProofRefused, match="the proof leads from"):
        GROWTH.check(first, second)


@pytest.mark.parametrize(
    "path", [(), GROWTH.path[:-1], (*GROWTH.path, NODE), tuple(reversed(GROWTH.path)), (NODE, *GROWTH.path[1:])]
)
def test_a_consistency_proof_with_another_path_is_refused(path: tuple[bytes, ...]) -> None:
    with pytest.raises(ProofRefused, match="does not show"):
        replace(GROWTH, path=path).check(HEADS[5], HEAD)


def test_a_log_with_another_past_cannot_prove_growth() -> None:
    changed = [bytes(32), *LEAVES[1:]]
    with pytest.raises(ProofRefused, match="the first 5 entries of the log are not those"):
        prove_growth(changed, HEADS[5])


def test_a_log_that_was_cut_off_cannot_prove_growth() -> None:
    with pytest.raises(ProofRefused, match=f"the log has 5 entries, and had {len(LEAVES)}"):
        prove_growth(LEAVES[:5], HEAD)


def test_no_log_grew_from_an_empty_one_with_a_root_of_its_own() -> None:
    with pytest.raises(ProofRefused, match="the first 0 entries"):
        prove_growth(LEAVES, Head(0, MerkleRoot(bytes(32))))
