"""Ed25519 keys in files, and that no key puts its name to two pasts."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from converge_adapters.signing import load_key, new_key, sign_head, verify_ed25519
from converge_core import ConvergeError
from converge_core.errors import ProofRefused
from converge_core.ledger.checkpoint import Checkpoint, SignedNote, VerifierKey, sign
from converge_core.ledger.merkle import MerkleLog, leaf_hash

NAME = "converge.example/log"
ORIGIN = "converge/run"
LEAVES = [leaf_hash(str(number).encode()) for number in range(12)]
MESSAGE = b"a message\n"


@pytest.fixture
def keyfile(tmp_path: Path) -> Path:
    path = tmp_path / "log.key"
    new_key(NAME, path)
    return path


def record_of(keyfile: Path) -> Path:
    return keyfile.with_name(f"{keyfile.name}.heads")


@pytest.fixture
def any_umask() -> Iterator[None]:
    """A umask that takes nothing away."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_the_published_example_is_verified() -> None:
    key = VerifierKey.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    note = SignedNote.parse(
        "This is an example message.\n\n— example.com/foo "
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
    )
    assert note.verify([key], verify_ed25519) == (key,)


def test_the_published_signature_is_of_no_other_text() -> None:
    key = VerifierKey.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    note = SignedNote.parse(
        "This is another message.\n\n— example.com/foo "
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
    )
    with pytest.raises(ProofRefused, match="is not of this text"):
        note.verify([key], verify_ed25519)


def test_what_a_key_signs_its_verifier_key_verifies(tmp_path: Path) -> None:
    key = new_key(NAME, tmp_path / "log.key")
    signer = load_key(tmp_path / "log.key")
    assert signer.key == key
    assert verify_ed25519(key.public_key, MESSAGE, signer.sign(MESSAGE))


def test_a_signature_with_a_flipped_bit_verifies_nothing(keyfile: Path) -> None:
    signer = load_key(keyfile)
    signature = signer.sign(MESSAGE)
    for place in range(len(signature) * 8):
        flipped = (int.from_bytes(signature) ^ 1 << place).to_bytes(len(signature))
        assert not verify_ed25519(signer.key.public_key, MESSAGE, flipped)


@pytest.mark.parametrize("length", [0, 1, 63, 65])
def test_a_signature_of_another_length_verifies_nothing(keyfile: Path, length: int) -> None:
    signer = load_key(keyfile)
    assert not verify_ed25519(signer.key.public_key, MESSAGE, (signer.sign(MESSAGE) + b"\0")[:length])


def test_two_keys_of_one_name_are_two_keys(tmp_path: Path) -> None:
    one, other = new_key(NAME, tmp_path / "one"), new_key(NAME, tmp_path / "other")
    assert one.key_id != other.key_id
    note = sign("text\n", load_key(tmp_path / "other"))
    with pytest.raises(ProofRefused, match="none of the signers is known"):
        note.verify([one], verify_ed25519)


@pytest.mark.usefixtures("any_umask")
def test_a_private_key_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    new_key(NAME, tmp_path / "log.key")
    assert stat.S_IMODE((tmp_path / "log.key").stat().st_mode) == 0o600


def test_a_private_key_is_pkcs8_after_its_verifier_key(tmp_path: Path) -> None:
    key = new_key(NAME, tmp_path / "log.key")
    lines = (tmp_path / "log.key").read_text(encoding="utf-8").splitlines()
    assert (lines[0], lines[1], lines[-1]) == (str(key), "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----")


def test_a_key_is_never_overwritten(keyfile: Path) -> None:
    before = keyfile.read_bytes()
    with pytest.raises(ConvergeError, match=r"log\.key exists already"):
        new_key(NAME, keyfile)
    assert keyfile.read_bytes() == before


def test_a_key_of_a_bad_name_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no name"):
        new_key("a b", tmp_path / "log.key")
    assert list(tmp_path.iterdir()) == []


def pem(key: Ed25519PrivateKey | X25519PrivateKey, encryption: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


KEY = Ed25519PrivateKey.generate()
LINE = f"{VerifierKey(NAME, KEY.public_key().public_bytes_raw())}\n".encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is no key of"),
        (b"\xff\n", "is no key of"),
        (LINE, "is no key of"),
        (pem(KEY), "is no key of"),
        (LINE + pem(KEY)[:60], "is no key of"),
        (LINE + pem(KEY, BestAvailableEncryption(b"secret")), "is no key of"),
        (LINE + pem(X25519PrivateKey.generate()), "of another kind than Ed25519"),
        (LINE + pem(Ed25519PrivateKey.generate()), "the private key is not that of"),
    ],
)
def test_a_file_that_holds_no_such_key_is_refused_with_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "log.key"
    path.write_bytes(content)
    with pytest.raises(ConvergeError, match=reason):
        load_key(path)


def test_without_cryptography_the_message_names_the_extra(
    keyfile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, module, None)
    uses: list[Callable[[], object]] = [
        lambda: new_key(NAME, tmp_path / "new.key"),
        lambda: load_key(keyfile),
        lambda: verify_ed25519(bytes(32), MESSAGE, bytes(64)),
    ]
    for use in uses:
        with pytest.raises(ConvergeError, match=r"pip install 'converge-runtime\[signing\]'"):
            use()


def test_importing_the_module_loads_no_cryptography() -> None:
    script = "import converge_adapters.signing, sys; print('cryptography' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert process.stdout == "False\n"


def test_a_signed_head_is_the_checkpoint_of_the_log(keyfile: Path) -> None:
    note = sign_head(keyfile, ORIGIN, LEAVES)
    assert Checkpoint.parse(note.text) == Checkpoint(ORIGIN, MerkleLog(LEAVES).head)
    assert note.verify([load_key(keyfile).key], verify_ed25519)


def test_a_log_that_grows_is_signed_again_and_every_head_is_remembered(keyfile: Path) -> None:
    for size in (0, 1, 5, 12):
        sign_head(keyfile, ORIGIN, LEAVES[:size])
    lines = [json.loads(line) for line in record_of(keyfile).read_text(encoding="utf-8").splitlines()]
    key = str(load_key(keyfile).key)
    heads = [str(MerkleLog(LEAVES[:size]).head) for size in (0, 1, 5, 12)]
    assert lines == [{"head": head, "key": key, "origin": ORIGIN} for head in heads]


def test_the_same_head_is_signed_again_and_remembered_once(keyfile: Path) -> None:
    assert sign_head(keyfile, ORIGIN, LEAVES) == sign_head(keyfile, ORIGIN, LEAVES)
    assert record_of(keyfile).read_bytes().count(b"\n") == 1


CHANGED = [bytes(32), *LEAVES[1:]]


@pytest.mark.parametrize(
    ("leaves", "reason"),
    [
        (LEAVES[:9], "the log has 9 entries, and had 10"),
        ([], "the log has 0 entries, and had 10"),
        (CHANGED[:10], "the first 10 entries of the log are not those"),
        (CHANGED, "the first 10 entries of the log are not those"),
    ],
)
def test_a_second_signature_for_a_log_with_another_past_is_refused(
    keyfile: Path, leaves: list[bytes], reason: str
) -> None:
    sign_head(keyfile, ORIGIN, LEAVES[:10])
    before = record_of(keyfile).read_bytes()
    with pytest.raises(ProofRefused, match=f"{NAME} has signed another past of {ORIGIN}: {reason}"):
        sign_head(keyfile, ORIGIN, leaves)
    assert record_of(keyfile).read_bytes() == before


def test_it_is_the_head_signed_last_that_a_log_has_to_grow_from(keyfile: Path) -> None:
    for size in (5, 10):
        sign_head(keyfile, ORIGIN, LEAVES[:size])
    with pytest.raises(ProofRefused, match="the first 10 entries of the log are not those"):
        sign_head(keyfile, ORIGIN, [*LEAVES[:7], bytes(32), *LEAVES[8:]])


def test_the_log_that_was_signed_first_goes_on_after_another_was_refused(keyfile: Path) -> None:
    sign_head(keyfile, ORIGIN, LEAVES[:10])
    with pytest.raises(ProofRefused):
        sign_head(keyfile, ORIGIN, CHANGED)
    sign_head(keyfile, ORIGIN, LEAVES)


def test_each_origin_has_its_own_past(keyfile: Path) -> None:
    sign_head(keyfile, ORIGIN, LEAVES)
    sign_head(keyfile, "converge/other", CHANGED)
    with pytest.raises(ProofRefused, match="has signed another past of converge/other"):
        sign_head(keyfile, "converge/other", LEAVES)


def test_each_key_remembers_for_itself_though_they_share_a_record(keyfile: Path) -> None:
    sign_head(keyfile, ORIGIN, LEAVES)
    keyfile.unlink()
    new_key(NAME, keyfile)
    sign_head(keyfile, ORIGIN, CHANGED)
    with pytest.raises(ProofRefused):
        sign_head(keyfile, ORIGIN, LEAVES)


def test_a_link_to_a_key_leads_to_its_record(keyfile: Path, tmp_path: Path) -> None:
    sign_head(keyfile, ORIGIN, LEAVES)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "my.key"
    link.symlink_to(keyfile)
    with pytest.raises(ProofRefused):
        sign_head(link, ORIGIN, CHANGED)


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record[:-1],
        lambda record: record[:-20],
        lambda record: record + b"\n",
        lambda record: record + b"\xff\n",
        lambda record: record + b"[]\n",
        lambda record: b"{}\n" + record,
        lambda record: record.replace(b'"head":"12:', b'"head":"x:'),
        lambda record: record.replace(b'"origin"', b'"Origin"'),
    ],
)
def test_nothing_is_signed_while_the_record_is_damaged(keyfile: Path, damage: Callable[[bytes], bytes]) -> None:
    sign_head(keyfile, ORIGIN, LEAVES)
    record = record_of(keyfile)
    record.write_bytes(damage(record.read_bytes()))
    with pytest.raises(ConvergeError, match=r"log\.key\.heads:[12]: nothing is signed while this line is damaged"):
        sign_head(keyfile, ORIGIN, LEAVES)


class Prying(list[bytes]):
    """Leaves that note, whenever they are read, whether another process could take the record."""

    def __init__(self, leaves: list[bytes], record: Path) -> None:
        super().__init__(leaves)
        self.record, self.free = record, True

    def __iter__(self) -> Iterator[bytes]:
        with self.record.open() as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.free = True
            except BlockingIOError:
                self.free = False
        return super().__iter__()


def test_while_a_log_is_compared_with_the_record_nobody_else_can_sign(keyfile: Path) -> None:
    sign_head(keyfile, ORIGIN, LEAVES[:10])
    leaves = Prying(LEAVES, record_of(keyfile))
    assert list(leaves) == LEAVES
    assert leaves.free
    sign_head(keyfile, ORIGIN, leaves)
    assert not leaves.free
