"""``converge verify RUN --head``: heads that were kept elsewhere, signed or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.audited import ENTRIES, HEAD, OTHER_PAST, RUN, Audited, head_at

NAME, WITNESS = "converge.example/log", "witness.example"


class Signed(Audited):
    """A run that was signed when it had eight entries, by its log and by a witness, and has grown since."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.holds(ENTRIES[:8])
        self.key = self.new_key(NAME, "log.key")
        self.witness = self.new_key(WITNESS, "witness.key")
        self.stranger = self.new_key("stranger.example", "stranger.key")
        self.impostor = self.new_key(NAME, "impostor.key")
        self.note = self.signed("log.key")
        self.head = self.file("head", self.note)
        self.holds(ENTRIES)

    def new_key(self, name: str, file: str) -> str:
        """Make a key and return its verifier key."""
        return self.out("keys", "new", name, "--output", self.folder / file).removesuffix("\n")

    def signed(self, keyfile: str) -> str:
        """Return the head as it is now, signed."""
        return self.out("head", RUN, "--sign", self.folder / keyfile)

    def signed_by_both(self) -> Path:
        """Return the file of a note with the signatures of the log and of its witness."""
        return self.file("both", self.signed("log.key") + self.signed("witness.key").partition("\n\n")[2])


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    return Signed(tmp_path)


@pytest.mark.parametrize("size", [0, 1, 8, len(ENTRIES)])
def test_a_run_holds_every_head_it_had(signed: Signed, size: int) -> None:
    told = signed.out("verify", RUN, "--head", head_at(size))
    assert told == f"{RUN}: {len(ENTRIES)} entries intact and holds the given head\nledger head {HEAD}\n"


def test_a_run_without_a_head_is_checked_by_itself(signed: Signed) -> None:
    assert signed.json("verify", RUN, "--json") == {
        "run_id": RUN,
        "verified": True,
        "entries": len(ENTRIES),
        "ledger_head": str(HEAD),
        "signed_by": [],
    }


def test_a_run_that_grew_holds_the_head_that_was_signed(signed: Signed) -> None:
    told = signed.out("verify", RUN, "--head", signed.head, "--pubkey", signed.key)
    assert f"holds the given head, signed by {NAME}" in told


def test_verifier_keys_may_be_in_a_file(signed: Signed) -> None:
    keys = signed.file("known-logs", f"{signed.witness}\n{signed.key}\n")
    told = signed.json("verify", RUN, "--head", signed.head, "--pubkey", keys, "--json")
    assert told["signed_by"] == [NAME]


def test_two_signatures_of_known_keys_are_both_told(signed: Signed) -> None:
    told = signed.json(
        *("verify", RUN, "--head", signed.signed_by_both(), "--json"),
        *("--pubkey", signed.witness, "--pubkey", signed.key),
    )
    assert told["signed_by"] == [NAME, WITNESS]


@pytest.mark.parametrize("signer", ["key", "witness"])
def test_of_two_signatures_one_that_is_known_is_enough(signed: Signed, signer: str) -> None:
    both = signed.signed_by_both()
    assert signed.call("verify", RUN, "--head", both, "--pubkey", getattr(signed, signer)).exit_code == 0


def test_a_known_signer_whose_signature_fails_refuses_the_head_though_another_one_is_good(signed: Signed) -> None:
    text, _, mine = signed.note.partition("\n\n")
    theirs = signed.signed("witness.key").partition("\n\n")[2]  # of the run as it is now, and not of this text
    mixed = signed.file("mixed", f"{text}\n\n{mine}{theirs}")
    line = signed.refused("verify", RUN, "--head", mixed, "--pubkey", signed.key, "--pubkey", signed.witness)
    assert line == f"converge: {mixed}: the signature of {WITNESS} is not of this text"


@pytest.mark.parametrize("stranger", ["stranger", "impostor"])
def test_a_head_signed_by_nobody_known_is_refused_be_it_in_the_same_name(signed: Signed, stranger: str) -> None:
    line = signed.refused("verify", RUN, "--head", signed.head, "--pubkey", getattr(signed, stranger))
    assert f"{signed.head}: none of the signers is known: {NAME} (" in line


def test_an_unsigned_head_is_refused_where_a_signature_is_asked_for(signed: Signed) -> None:
    unsigned = signed.file("unsigned", signed.out("head", RUN))
    assert f"{unsigned} is not signed" in signed.refused("verify", RUN, "--head", unsigned, "--pubkey", signed.key)
    assert f"{HEAD} is not signed" in signed.refused("verify", RUN, "--head", HEAD, "--pubkey", signed.key)


def test_a_signed_head_without_a_key_is_only_a_head_and_that_is_said(signed: Signed) -> None:
    result = signed.call("verify", RUN, "--head", signed.head)
    assert result.exit_code == 0
    assert "signed by" not in result.stdout
    assert f"the signatures on {signed.head} are not checked" in result.stderr


def test_a_forged_checkpoint_under_a_genuine_signature_is_refused(signed: Signed) -> None:
    forged = signed.out("head", RUN) + "\n" + signed.note.partition("\n\n")[2]
    file = signed.file("forged", forged)
    assert "is not of this text" in signed.refused("verify", RUN, "--head", file, "--pubkey", signed.key)


def test_a_run_with_another_past_does_not_hold_the_head_that_was_signed(signed: Signed) -> None:
    signed.holds(OTHER_PAST, ledger="other.db")
    line = signed.refused("verify", RUN, "--head", signed.head, "--pubkey", signed.key, ledger="other.db")
    assert "entry 7: expected the root" in line


def test_a_run_that_was_cut_off_does_not_hold_the_head_that_was_signed(signed: Signed) -> None:
    signed.holds(ENTRIES[:5], ledger="cut.db")
    line = signed.refused("verify", RUN, "--head", signed.head, "--pubkey", signed.key, ledger="cut.db")
    assert "expected the 8 entries of the given head, found 5 entries" in line


def test_a_signed_head_that_was_cut_off_anywhere_is_refused(signed: Signed) -> None:
    data = signed.note.encode()
    for end in (*range(0, len(data), 7), len(data) - 1):
        signed.refused("verify", RUN, "--head", signed.file("cut", data[:end]), "--pubkey", signed.key)


@pytest.mark.parametrize("bit", range(8))
def test_a_signed_head_with_one_flipped_bit_is_refused(signed: Signed, bit: int) -> None:
    data = signed.note.encode()
    for place in range(bit, len(data), 8):  # every byte once, and every bit in some
        flipped = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
        signed.refused("verify", RUN, "--head", signed.file("flipped", flipped), "--pubkey", signed.key)


@pytest.mark.parametrize("content", ["", "no checkpoint\n", f"{HEAD}\n", b"\xff"])
def test_a_file_that_is_no_checkpoint_is_refused(signed: Signed, content: str | bytes) -> None:
    file = signed.file("odd", content)
    assert f"{file} holds no checkpoint" in signed.refused("verify", RUN, "--head", file)


def test_a_proof_too_is_checked_against_a_signed_head(signed: Signed) -> None:
    proof = signed.file("proof.json", signed.out("prove", RUN, "seeds/s-1"))
    head = signed.file("now", signed.signed("log.key"))
    told = signed.json("verify", "--proof", proof, "--head", head, "--pubkey", signed.key, "--json")
    assert (told["fact"], told["signed_by"]) == ("seeds/s-1", [NAME])
    assert "none of the signers" in signed.refused(
        "verify", "--proof", proof, "--head", head, "--pubkey", signed.witness
    )


def test_growth_is_checked_between_two_signed_heads(signed: Signed) -> None:
    proof = signed.file("proof.json", signed.out("prove", RUN, "--from", signed.head))
    now = signed.file("now", signed.signed("log.key"))
    told = signed.out("verify", "--proof", proof, "--head", signed.head, "--head", now, "--pubkey", signed.key)
    assert told == f"the log of converge/{RUN} at {HEAD}\nbegan as it was at {head_at(8)}, signed by {NAME}\n"


def test_of_two_heads_both_have_to_be_signed(signed: Signed) -> None:
    proof = signed.file("proof.json", signed.out("prove", RUN, "--from", signed.head))
    line = signed.refused("verify", "--proof", proof, "--head", signed.head, "--head", HEAD, "--pubkey", signed.key)
    assert f"{HEAD} is not signed" in line


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--pubkey", "{key}"], "give --head FILE too"),
        (["--head", "{head}", "--pubkey", "no key"], "a verifier key is written as name+id+key"),
        (["--head", "{head}", "--pubkey", "{head}"], "a verifier key is written as name+id+key"),
        (["--head", "no-such-file"], "is no file"),
        (["--head", str(HEAD), "--head", str(HEAD)], "RUN is checked against one --head"),
    ],
)
def test_wrong_usage_is_told_and_exits_with_2(signed: Signed, args: list[str], message: str) -> None:
    result = signed.call("verify", RUN, *(arg.format(key=signed.key, head=signed.head) for arg in args))
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
