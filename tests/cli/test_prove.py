"""``converge prove``, and ``converge verify --proof``, which needs no ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converge_core.ledger.proofs import prove_fact, prove_growth
from tests.cli.audited import ENTRIES, FACT, HEAD, LEAVES, OTHER_PAST, RUN, Audited, head_at


@pytest.fixture
def audited(tmp_path: Path) -> Audited:
    audited = Audited(tmp_path)
    audited.holds(ENTRIES)
    return audited


@pytest.fixture
def away(tmp_path: Path) -> Audited:
    """The place of somebody who has no ledger."""
    return Audited(tmp_path)


FACT_PROOF = json.dumps(prove_fact(ENTRIES, FACT).to_json(), ensure_ascii=False)
GROWTH_PROOF = json.dumps(prove_growth(LEAVES, head_at(4)).to_json())


def test_a_fact_proof_goes_to_stdout_as_json(audited: Audited) -> None:
    assert audited.out("prove", RUN, FACT) == f"{FACT_PROOF}\n"


def test_with_output_the_proof_goes_to_the_file_alone(audited: Audited, tmp_path: Path) -> None:
    assert audited.out("prove", RUN, FACT, "--output", tmp_path / "proof.json") == ""
    assert (tmp_path / "proof.json").read_text(encoding="utf-8") == f"{FACT_PROOF}\n"


def test_a_proof_is_verified_where_there_is_no_ledger(away: Audited) -> None:
    proof = away.file("proof.json", FACT_PROOF)
    told = away.out("verify", "--proof", proof, "--head", HEAD)
    assert told.startswith(f"{FACT} was promoted: entry ")
    assert "derived insight" in told
    assert list(away.folder.glob("*.db")) == []


def test_a_verified_fact_is_told_as_json(away: Audited) -> None:
    told = away.json("verify", "--proof", away.file("proof.json", FACT_PROOF), "--head", HEAD, "--json")
    assert (told["verified"], told["proof"], told["fact"], told["ledger_head"]) == (True, "fact", FACT, str(HEAD))
    assert told["proposal"]["payload"]["body"] == {"text": "derived insight"}
    assert told["promotion"]["approver"] == "system:converge-engine"


def test_a_proof_is_verified_against_the_file_of_a_checkpoint(audited: Audited) -> None:
    head = audited.file("head", audited.out("head", RUN))
    told = audited.out("verify", "--proof", audited.file("proof.json", FACT_PROOF), "--head", head)
    assert f"of the log of converge/{RUN}\nat {HEAD}\n" in told


def test_growth_is_proven_from_a_head_and_verified_between_two(audited: Audited) -> None:
    proof = audited.file("growth.json", audited.out("prove", RUN, "--from", head_at(4)))
    told = audited.out("verify", "--proof", proof, "--head", head_at(4), "--head", HEAD)
    assert told == f"the log at {HEAD}\nbegan as it was at {head_at(4)}\n"


def test_the_two_heads_of_a_growth_may_come_in_any_order(away: Audited) -> None:
    proof = away.file("growth.json", GROWTH_PROOF)
    told = away.json("verify", "--proof", proof, "--head", HEAD, "--head", head_at(4), "--json")
    assert (told["proof"], told["first"], told["second"]) == ("consistency", str(head_at(4)), str(HEAD))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, len(FACT_PROOF.encode()) - 1), bit=st.integers(0, 7))
def test_a_fact_proof_with_one_flipped_bit_is_refused(away: Audited, place: int, bit: int) -> None:
    data = bytearray(FACT_PROOF.encode())
    data[place] ^= 1 << bit
    proof = away.file("proof.json", bytes(data))
    assert "proof" in away.refused("verify", "--proof", proof, "--head", HEAD)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, len(GROWTH_PROOF) - 1), bit=st.integers(0, 7))
def test_a_consistency_proof_with_one_flipped_bit_is_refused(away: Audited, place: int, bit: int) -> None:
    data = bytearray(GROWTH_PROOF.encode())
    data[place] ^= 1 << bit
    proof = away.file("proof.json", bytes(data))
    assert "proof" in away.refused("verify", "--proof", proof, "--head", head_at(4), "--head", HEAD)


def changed(proof: str, **members: object) -> str:
    value: Mapping[str, Any] = json.loads(proof)
    return json.dumps({**value, **members})


@pytest.mark.parametrize(
    ("proof", "reason"),
    [
        ("", "holds no proof: not JSON"),
        ("[]", "holds no proof: a proof is a JSON object"),
        (FACT_PROOF[:-9], "holds no proof: not JSON"),
        (changed(FACT_PROOF, format=2), "holds no proof: proofs of format 1 are known here, not of 2"),
        (changed(FACT_PROOF, sequence=1), "the entry in the proof is not entry 1 of the log"),
        (changed(FACT_PROOF, head=str(head_at(4))), f"the proof is for the head {head_at(4)}, not for {HEAD}"),
    ],
)
def test_a_proof_that_does_not_hold_is_refused_with_the_reason(away: Audited, proof: str, reason: str) -> None:
    file = away.file("proof.json", proof)
    assert reason in away.refused("verify", "--proof", file, "--head", HEAD)


def test_a_proof_of_another_past_is_refused_whatever_head_is_in_it(away: Audited) -> None:
    forged = away.file("proof.json", json.dumps(prove_fact(OTHER_PAST, FACT).to_json()))
    assert "the proof is for the head" in away.refused("verify", "--proof", forged, "--head", HEAD)


def test_heads_of_two_origins_are_not_two_heads_of_one_log(audited: Audited) -> None:
    older = audited.file("older", f"converge/another\n{audited.out('head', RUN).partition(chr(10))[2]}")
    newer = audited.file("newer", audited.out("head", RUN))
    proof = audited.file("growth.json", GROWTH_PROOF)
    line = audited.refused("verify", "--proof", proof, "--head", older, "--head", newer)
    assert line == f"converge: the heads are of different logs: converge/another and converge/{RUN}"


def test_growth_from_a_head_that_the_run_never_had_is_not_proven(audited: Audited) -> None:
    head = f"4:{'0' * 64}"
    assert "the first 4 entries of the log are not those of the head" in audited.refused("prove", RUN, "--from", head)


def test_a_corrupt_run_proves_nothing(audited: Audited) -> None:
    audited.holds([*ENTRIES[:3], ENTRIES[4]], run_id="corrupt")
    assert "entry 0: expected the start of 'corrupt'" in audited.refused("prove", "corrupt", FACT)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["prove", RUN], "give either FACT or --from HEAD"),
        (["prove", RUN, FACT, "--from", HEAD], "give either FACT or --from HEAD"),
        (["prove", RUN, "--from", "no-such-file"], "is no file"),
        (["verify"], "give either RUN or --proof FILE"),
        (["verify", RUN, "--proof", "fact.json"], "give either RUN or --proof FILE"),
        (["verify", "--proof", "fact.json"], "give one --head"),
        (["verify", "--proof", "fact.json", "--head", HEAD, "--head", HEAD], "give one --head"),
        (["verify", "--proof", "growth.json", "--head", HEAD], "give --head twice"),
        (["verify", "--proof", "no-such-file", "--head", HEAD], "does not exist"),
        (["verify", "--proof", "fact.json", "--head", str(HEAD)[:-1]], "a head is written as size:root"),
    ],
)
def test_wrong_usage_is_told_and_exits_with_2(
    audited: Audited, args: list[object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(audited.folder)
    audited.file("fact.json", FACT_PROOF)
    audited.file("growth.json", GROWTH_PROOF)
    result = audited.call(*args)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["prove", RUN, "seeds/nobody"], "run 'audited' has no fact 'seeds/nobody'"),
        (["prove", "no-such-run", FACT], "no run 'no-such-run' in this ledger"),
        (["prove", RUN, FACT, "--output", "no/such/folder"], "No such file or directory"),
    ],
)
def test_what_cannot_be_proven_or_kept_exits_with_1(audited: Audited, args: list[str], message: str) -> None:
    result = audited.call(*args)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr


@pytest.mark.parametrize(("option", "code"), [("--proof", 2), ("--head", 1)])
def test_a_folder_in_the_place_of_a_file_is_no_refused_proof(away: Audited, option: str, code: int) -> None:
    files = {"--proof": away.file("proof.json", FACT_PROOF), "--head": away.file("head", "")} | {option: away.folder}
    result = away.call("verify", "--proof", files["--proof"], "--head", files["--head"])
    assert (result.exit_code, result.stdout) == (code, "")
    assert str(away.folder) in result.stderr
