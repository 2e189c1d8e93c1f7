"""Checkpoints and signed notes: the published example, the rules of the format, and what must not pass."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256, sha512
from typing import ParamSpec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_core.errors import ProofRefused
from converge_core.ledger.checkpoint import (
    Checkpoint,
    Signature,
    SignedNote,
    VerifierKey,
    checked_name,
    read_checkpoint,
    sign,
)
from converge_core.ledger.hashes import MerkleRoot
from converge_core.ledger.merkle import EMPTY_ROOT, Head

P = ParamSpec("P")

# The example that C2SP's signed-note publishes.
EXAMPLE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)


@dataclass(frozen=True)
class FakeSigner:
    """Signs as a fake does: anybody could, with the public key, but only over the same message."""

    key: VerifierKey

    def sign(self, message: bytes) -> bytes:
        return sha512(self.key.public_key + message).digest()


def check(public_key: bytes, message: bytes, signature: bytes) -> bool:
    return signature == sha512(public_key + message).digest()


def signer(name: str, seed: str = "") -> FakeSigner:
    return FakeSigner(VerifierKey(name, sha256((seed or name).encode()).digest()))


def notarized(text: str, *signers: FakeSigner) -> SignedNote:
    return SignedNote(text, tuple(signature for one in signers for signature in sign(text, one).signatures))


def refuses(read: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> bool:
    """Say whether something is refused as it should be, by one of these two errors and no other."""
    try:
        read(*args, **kwargs)
    except (ProofRefused, ValueError):
        return True
    return False


CHECKPOINT = Checkpoint("converge.example/ledger/audited", Head(19, MerkleRoot(sha256(b"root").digest())))
TEXT = str(CHECKPOINT)
LOG, WITNESS, STRANGER = signer("converge.example/log"), signer("witness.example"), signer("stranger.example")


def test_the_published_verifier_key_is_read_and_written() -> None:
    key = VerifierKey.parse(EXAMPLE_KEY)
    assert (key.name, key.key_id.hex()) == ("example.com/foo", "530d903a")
    assert str(key) == EXAMPLE_KEY


def test_the_published_note_is_read_and_written() -> None:
    note = SignedNote.parse(EXAMPLE_NOTE)
    [signature] = note.signatures
    assert note.text == "This is an example message.\n"
    assert (signature.name, signature.key_id.hex(), len(signature.value)) == ("example.com/foo", "530d903a", 64)
    assert str(note) == EXAMPLE_NOTE


def test_a_checkpoint_is_three_lines() -> None:
    root = b64encode(CHECKPOINT.head.root).decode()
    assert str(CHECKPOINT) == f"converge.example/ledger/audited\n19\n{root}\n"


@given(st.integers(0, 10**19 - 1), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_of_any_head_is_read_back(size: int, root: bytes) -> None:
    checkpoint = Checkpoint("any", Head(size, MerkleRoot(root)))
    assert Checkpoint.parse(str(checkpoint)) == checkpoint


def test_the_checkpoint_of_an_empty_log_has_the_size_zero() -> None:
    text = f"any\n0\n{b64encode(EMPTY_ROOT).decode()}\n"
    assert Checkpoint.parse(text).head == Head(0, EMPTY_ROOT)


ROOT = b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        f"any\n1\n{ROOT}",
        f"any\n1\n{ROOT}\n\n",
        f"any\n1\n{ROOT}\nextension\n",
        f"\n1\n{ROOT}\n",
        f"a b\n1\n{ROOT}\n",
        f"a+b\n1\n{ROOT}\n",
        f"a\u00a0b\n1\n{ROOT}\n",
        f"a\x00\n1\n{ROOT}\n",
        f"any\r\n1\r\n{ROOT}\r\n",
        f"any\n01\n{ROOT}\n",
        f"any\n-1\n{ROOT}\n",
        f"any\n+1\n{ROOT}\n",
        f"any\n1.0\n{ROOT}\n",
        f"any\n 1\n{ROOT}\n",
        f"any\n\n{ROOT}\n",
        f"any\n١\n{ROOT}\n",
        f"any\n{10**19}\n{ROOT}\n",
        "any\n1\n\n",
        f"any\n1\n{ROOT} \n",
        f"any\n1\n{ROOT[:-1]}\n",
        f"any\n1\n{ROOT[:-2]}B=\n",
        f"any\n1\n{b64encode(bytes(31)).decode()}\n",
        f"any\n1\n{b64encode(bytes(33)).decode()}\n",
        f"any\n1\n{bytes(32).hex()}\n",
    ],
)
def test_what_is_not_exactly_a_checkpoint_is_refused(text: str) -> None:
    assert refuses(Checkpoint.parse, text)


@pytest.mark.parametrize("name", ["", " ", "a b", "a+b", "a\tb", "a\nb", "a\u2028b", "a\x7f", "a\x85", "\ud800"])
def test_a_name_has_no_spaces_no_plus_and_no_controls(name: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        checked_name(name)


@pytest.mark.parametrize("name", ["a", "converge.example/ledger/run-1", "Prüfer", "監査/実行"])
def test_a_name_may_be_in_any_language(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/foo",
        "example.com/foo+530d903a",
        EXAMPLE_KEY.replace("530d903a", "530d903b"),
        EXAMPLE_KEY.replace("530d903a", "530D903A"),
        EXAMPLE_KEY.replace("example.com/foo", "example.com/bar"),
        EXAMPLE_KEY.replace("example.com/foo", ""),
        EXAMPLE_KEY.replace("+Aek", "+Bek"),
        EXAMPLE_KEY[:-1],
        EXAMPLE_KEY + "=",
        EXAMPLE_KEY + "\n",
        EXAMPLE_KEY[:-4],
    ],
)
def test_what_is_not_exactly_a_verifier_key_is_refused(text: str) -> None:
    assert refuses(VerifierKey.parse, text)


def test_a_public_key_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="has 32 bytes, not 31"):
        VerifierKey("any", bytes(31))


def test_a_key_of_another_algorithm_is_named_as_such() -> None:
    cosignature = f"any+00000000+{b64encode(bytes([4]) + bytes(32)).decode()}"
    with pytest.raises(ValueError, match="only verifier keys of Ed25519"):
        VerifierKey.parse(cosignature)


@pytest.mark.parametrize(
    "note",
    [
        TEXT,
        f"{TEXT}\n",
        f"{TEXT}\n\n",
        str(sign(TEXT, LOG))[:-1],
        str(sign(TEXT, LOG)) + "\n",
        str(sign(TEXT, LOG)) + "no signature\n",
        str(sign(TEXT, LOG)).replace("—", "-"),
        str(sign(TEXT, LOG)).replace("— ", "—  "),
        str(sign(TEXT, LOG)).replace("— ", "—\t"),
        str(sign(TEXT, LOG)).replace("\n", "\r\n"),
        f"{TEXT}\n— any {b64encode(bytes(4)).decode()}\n",
        f"{TEXT}\n— any not*base64\n",
        f"{TEXT}\n— a+b {b64encode(bytes(68)).decode()}\n",
        f"\x00\n\n— any {b64encode(bytes(68)).decode()}\n",
    ],
)
def test_what_is_not_exactly_a_signed_note_is_refused(note: str) -> None:
    assert refuses(SignedNote.parse, note)


def test_a_text_without_a_line_feed_at_its_end_cannot_be_signed() -> None:
    with pytest.raises(ValueError, match="ends with a line feed"):
        sign("text", LOG)


@pytest.mark.parametrize("text", [TEXT, "one line\n", "a\n\nparagraph\n", "empty line at the end\n\n"])
def test_a_signed_note_is_read_back(text: str) -> None:
    note = notarized(text, LOG, WITNESS)
    assert SignedNote.parse(str(note)) == note


def test_a_known_signer_is_found_and_a_stranger_is_ignored() -> None:
    note = notarized(TEXT, STRANGER, LOG)
    assert note.verify([WITNESS.key, LOG.key], check) == (LOG.key,)


def test_two_signatures_of_two_known_keys_are_both_told() -> None:
    assert notarized(TEXT, LOG, WITNESS).verify([WITNESS.key, LOG.key], check) == (LOG.key, WITNESS.key)


def test_a_signer_that_signed_twice_is_told_once() -> None:
    assert notarized(TEXT, LOG, LOG).verify([LOG.key], check) == (LOG.key,)


def test_a_note_of_strangers_is_refused_and_they_are_named() -> None:
    with pytest.raises(ProofRefused, match=rf"none of the signers is known: {STRANGER.key.name} \("):
        notarized(TEXT, STRANGER).verify([LOG.key], check)


def test_nobody_is_known_where_no_key_is_given() -> None:
    with pytest.raises(ProofRefused, match="none of the signers is known"):
        notarized(TEXT, LOG).verify([], check)


def test_the_same_name_with_another_key_is_a_stranger() -> None:
    impostor = signer(LOG.key.name, "another secret")
    with pytest.raises(ProofRefused, match="none of the signers is known"):
        notarized(TEXT, impostor).verify([LOG.key], check)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_known_signer_whose_signature_fails_refuses_the_note_whoever_else_signed(order: tuple[int, int]) -> None:
    [good], [other] = sign(TEXT, LOG).signatures, sign("another text\n", WITNESS).signatures
    pair = (good, other)
    note = SignedNote(TEXT, (pair[order[0]], pair[order[1]]))
    with pytest.raises(ProofRefused, match=f"the signature of {WITNESS.key.name} is not of this text"):
        note.verify([LOG.key, WITNESS.key], check)


def test_a_second_signature_of_one_signer_has_to_be_good_too() -> None:
    [good], [bad] = sign(TEXT, LOG).signatures, sign("another text\n", LOG).signatures
    with pytest.raises(ProofRefused, match="is not of this text"):
        SignedNote(TEXT, (good, bad)).verify([LOG.key], check)


def test_the_signature_of_one_key_does_not_pass_in_the_name_of_another() -> None:
    [signature] = sign(TEXT, STRANGER).signatures
    forged = SignedNote(TEXT, (Signature(LOG.key.name, LOG.key.key_id, signature.value),))
    with pytest.raises(ProofRefused, match="is not of this text"):
        forged.verify([LOG.key], check)


def test_a_forged_checkpoint_under_a_genuine_signature_is_refused() -> None:
    forged = Checkpoint(CHECKPOINT.origin, Head(20, CHECKPOINT.head.root))
    note = SignedNote(str(forged), sign(TEXT, LOG).signatures)
    with pytest.raises(ProofRefused, match="is not of this text"):
        note.verify([LOG.key], check)


def test_a_note_with_many_signatures_is_accepted() -> None:
    witnesses = [signer(f"witness-{number}.example") for number in range(100)]
    note = SignedNote.parse(str(notarized(TEXT, *witnesses, LOG)))
    assert note.verify([LOG.key], check) == (LOG.key,)
    assert len(note.verify([witness.key for witness in witnesses], check)) == 100


def verify(note: bytes) -> None:
    SignedNote.parse(note.decode()).verify([LOG.key], check)


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_in_a_signed_checkpoint_is_refused(bit: int) -> None:
    data = str(sign(TEXT, LOG)).encode()
    forged = [data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :] for place in range(len(data))]
    assert [note for note in forged if not refuses(verify, note)] == []


def test_a_signed_checkpoint_that_is_cut_off_anywhere_is_refused() -> None:
    note = str(sign(TEXT, LOG))
    assert [end for end in range(len(note)) if not refuses(SignedNote.parse, note[:end])] == []


def test_a_checkpoint_is_read_with_or_without_signatures() -> None:
    assert read_checkpoint(TEXT) == (CHECKPOINT, None)
    assert read_checkpoint(str(sign(TEXT, LOG))) == (CHECKPOINT, sign(TEXT, LOG))


def test_a_signed_note_about_something_else_is_no_checkpoint() -> None:
    with pytest.raises(ValueError, match="three lines"):
        read_checkpoint(EXAMPLE_NOTE)
