"""``converge head`` and ``converge keys``: checkpoints for others to hold, and the keys that sign them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from converge_adapters.signing import verify_ed25519
from converge_core.ledger.checkpoint import Checkpoint, SignedNote, VerifierKey
from tests.cli.audited import ENTRIES, HEAD, OTHER_PAST, RUN, Audited, entries_of, head_at

NAME = "converge.example/log"


@pytest.fixture
def audited(tmp_path: Path) -> Audited:
    audited = Audited(tmp_path)
    audited.holds(ENTRIES[:8])
    return audited


@pytest.fixture
def keyfile(audited: Audited) -> Path:
    path = audited.folder / "log.key"
    audited.out("keys", "new", NAME, "--output", path)
    return path


def test_a_new_key_prints_its_verifier_key_and_keeps_the_private_one_for_its_owner(audited: Audited) -> None:
    path = audited.folder / "log.key"
    key = VerifierKey.parse(audited.out("keys", "new", NAME, "--output", path).removesuffix("\n"))
    assert key.name == NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text(encoding="utf-8").splitlines()[0] == str(key)


def test_a_new_key_goes_into_a_file_of_its_name(audited: Audited, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(audited.folder)
    told = audited.json("keys", "new", "../" + NAME, "--json")
    assert told["file"] == "converge.example-log.key"
    assert Path(told["file"]).is_file()
    assert told["verifier_key"].startswith(f"../{NAME}+")


def test_a_new_key_overwrites_nothing(audited: Audited, keyfile: Path) -> None:
    before = keyfile.read_bytes()
    result = audited.call("keys", "new", NAME, "--output", keyfile)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "exists already: a key is never overwritten" in result.stderr
    assert keyfile.read_bytes() == before


@pytest.mark.parametrize("name", ["a b", "a+b", ""])
def test_a_key_of_a_bad_name_is_wrong_usage(audited: Audited, name: str) -> None:
    result = audited.call("keys", "new", name)
    assert result.exit_code == 2
    assert "is no name for a key" in result.stderr


def test_a_head_is_printed_as_a_checkpoint(audited: Audited) -> None:
    assert audited.out("head", RUN) == str(Checkpoint(f"converge/{RUN}", head_at(8)))


def test_a_head_is_printed_in_utf_8_on_any_terminal(audited: Audited, keyfile: Path) -> None:
    command = [sys.executable, "-m", "converge_cli", "head", RUN, "--sign", str(keyfile)]
    environment = {**os.environ, "CONVERGE_LEDGER": str(audited.folder / "ledger.db"), "PYTHONIOENCODING": "latin-1"}
    process = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert process.stdout == audited.out("head", RUN, "--sign", keyfile).encode()


def test_the_default_origin_has_no_spaces_and_no_plus(audited: Audited) -> None:
    audited.holds(entries_of(["one"], "a run+1"), run_id="a run+1")
    assert audited.out("head", "a run+1").splitlines()[0] == "converge/a%20run%2B1"


def test_another_origin_can_be_given(audited: Audited) -> None:
    assert audited.out("head", RUN, "--origin", NAME).splitlines()[0] == NAME


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "a\nb"])
def test_a_bad_origin_is_wrong_usage(audited: Audited, origin: str) -> None:
    result = audited.call("head", RUN, "--origin", origin)
    assert result.exit_code == 2
    assert "is no name for a key or an origin" in result.stderr


def test_a_head_is_told_as_json(audited: Audited) -> None:
    told = audited.json("head", RUN, "--json")
    checkpoint = Checkpoint(f"converge/{RUN}", head_at(8))
    assert told == {
        "run_id": RUN,
        "origin": checkpoint.origin,
        "ledger_head": str(checkpoint.head),
        "checkpoint": str(checkpoint),
    }


def test_a_signed_head_is_a_note_that_the_verifier_key_verifies(audited: Audited, keyfile: Path) -> None:
    note = SignedNote.parse(audited.out("head", RUN, "--sign", keyfile))
    key = VerifierKey.parse(keyfile.read_text(encoding="utf-8").splitlines()[0])
    assert note.text == audited.out("head", RUN)
    assert note.verify([key], verify_ed25519) == (key,)


def test_a_run_that_grew_is_signed_again(audited: Audited, keyfile: Path) -> None:
    audited.out("head", RUN, "--sign", keyfile)
    audited.holds(ENTRIES)
    note = SignedNote.parse(audited.out("head", RUN, "--sign", keyfile))
    assert Checkpoint.parse(note.text).head == HEAD


def test_a_run_with_another_past_gets_no_second_signature(audited: Audited, keyfile: Path) -> None:
    audited.out("head", RUN, "--sign", keyfile)
    audited.holds(OTHER_PAST, ledger="other.db")
    line = audited.refused("head", RUN, "--sign", keyfile, ledger="other.db")
    assert line.startswith(f"converge: {NAME} has signed another past of converge/{RUN}: the first 8 entries")


def test_a_run_that_was_cut_off_gets_no_second_signature(audited: Audited, keyfile: Path) -> None:
    audited.out("head", RUN, "--sign", keyfile)
    audited.holds(ENTRIES[:5], ledger="cut.db")
    assert "the log has 5 entries, and had 8" in audited.refused("head", RUN, "--sign", keyfile, ledger="cut.db")


def test_without_a_signature_the_head_of_any_past_is_printed(audited: Audited, keyfile: Path) -> None:
    audited.out("head", RUN, "--sign", keyfile)
    audited.holds(OTHER_PAST, ledger="other.db")
    assert audited.call("head", RUN, ledger="other.db").exit_code == 0


def test_a_file_that_is_no_key_signs_nothing(audited: Audited) -> None:
    result = audited.call("head", RUN, "--sign", audited.file("log.key", "no key"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "log.key is no key of `converge keys new`" in result.stderr
    assert not (audited.folder / "log.key.heads").exists()


def test_a_keyfile_that_is_missing_is_wrong_usage(audited: Audited) -> None:
    assert audited.call("head", RUN, "--sign", audited.folder / "log.key").exit_code == 2
