"""``converge import``: what was exported comes back whole, and what was changed does not come in."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converge_adapters.ledgers.memory import MemoryLedger
from converge_adapters.ledgers.sqlite import SqliteLedger
from converge_cli.interchange import Exported, dump, load
from converge_cli.main import main
from converge_core import ConvergeError, IntentError, LedgerCorrupt, StoredEntry, canonical, verify
from tests.cli.audited import Audited
from tests.cli.storied import RUN, storied
from tests.core.stage import HYPOTHESES, Says, engine_of, finish, play, seeded, text


def exported(*ids: str, run_id: str = RUN) -> bytes:
    """The file of a run on these inputs, and of a conclusion in an append of its own."""
    ledger = MemoryLedger()
    play(engine_of(Says("one", text("x", key=HYPOTHESES))), seeded(*ids), run_id=run_id, ledger=ledger)
    stored = finish(ledger.read(run_id))
    return dump(Exported(run_id, verify(run_id, stored), stored))


FILE = exported("a", "b", "line\u2028separator \N{SNOWMAN}")


def stored_in(path: Path, run_id: str = RUN) -> list[StoredEntry]:
    ledger = SqliteLedger(path, read_only=True)
    entries = finish(ledger.read(run_id))
    finish(ledger.close())
    return list(entries)


@pytest.fixture
def here(tmp_path: Path) -> Audited:
    """A place without a ledger."""
    return Audited(tmp_path)


# --- what comes back ------------------------------------------------------------------------------------------------


def test_a_run_comes_back_with_its_entries_its_roots_and_its_head(tmp_path: Path) -> None:
    story = storied(tmp_path)
    file = story.file("run.jsonl", story.call("export", RUN).stdout_bytes)
    result = story.call("import", file, ledger="other.db")
    assert result.exit_code == 0
    before, after = stored_in(tmp_path / "ledger.db"), stored_in(tmp_path / "other.db")
    assert [entry._replace(recorded_at="") for entry in after] == [entry._replace(recorded_at="") for entry in before]
    assert sum(entry.root is not None for entry in after) > 1
    assert result.stdout == (f"{RUN}: {len(after)} entries verified and imported\nledger head {verify(RUN, before)}\n")


def test_an_imported_run_is_verified_and_told_like_the_original(tmp_path: Path) -> None:
    story = storied(tmp_path)
    file = story.file("run.jsonl", story.call("export", RUN).stdout_bytes)
    story.call("import", file, ledger="other.db")
    for arguments in (("verify", RUN), ("show", RUN, "--json"), ("export", RUN, "--format", "mermaid")):
        assert story.call(*arguments, ledger="other.db").stdout == story.out(*arguments)


def test_json_tells_what_was_imported(here: Audited) -> None:
    told = here.json("import", here.file("run.jsonl", FILE), "--json")
    assert (told["run_id"], told["imported"], told["entries"]) == (RUN, True, FILE.count(b"\n") - 1)


def test_a_run_is_imported_from_stdin(here: Audited) -> None:
    environment = {"CONVERGE_LEDGER": str(here.folder / "ledger.db")}
    result = CliRunner().invoke(main, ["import", "-"], input=FILE, env=environment)
    assert result.exit_code == 0
    assert here.out("verify", RUN)


def test_a_run_that_was_only_created_comes_back_empty(here: Audited) -> None:
    here.holds([], "run")
    file = here.file("run.jsonl", here.call("export", "run").stdout_bytes)
    assert here.call("import", file, ledger="other.db").exit_code == 0
    assert stored_in(here.folder / "other.db", "run") == []


@given(st.lists(st.text(min_size=1).filter(str.isprintable), max_size=3, unique=True))
def test_what_is_loaded_is_what_was_dumped(words: list[str]) -> None:
    ids = [word for word in words if word.strip() and len(word.encode()) <= 256]
    data = exported(*ids)
    assert dump(load(data, "file")) == data


# --- what does not come in ------------------------------------------------------------------------------------------


def nothing_written(audited: Audited) -> bool:
    return not (audited.folder / "ledger.db").exists()


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, len(FILE) - 1), flip=st.integers(1, 255))
def test_a_file_with_one_changed_byte_is_refused_and_nothing_is_written(here: Audited, place: int, flip: int) -> None:
    changed = FILE[:place] + bytes([FILE[place] ^ flip]) + FILE[place + 1 :]
    result = here.call("import", here.file("run.jsonl", changed))
    assert result.exit_code in (3, 7), result.output
    assert result.stdout == ""
    assert nothing_written(here)


@pytest.mark.parametrize("place", range(len(FILE.splitlines(keepends=True)[0])))
def test_a_header_with_one_changed_digit_or_letter_is_refused(place: int) -> None:
    changed = bytearray(FILE)
    changed[place] ^= 1
    with pytest.raises((LedgerCorrupt, IntentError)):
        load(bytes(changed), "file")


@settings(max_examples=300)
@given(place=st.integers(0, len(FILE) - 1))
def test_a_file_that_lacks_a_byte_is_refused(place: int) -> None:
    with pytest.raises(ConvergeError):
        load(FILE[:place] + FILE[place + 1 :], "file")


@given(place=st.integers(0, len(FILE)), byte=st.binary(min_size=1, max_size=1))
def test_a_file_with_a_byte_more_is_refused(place: int, byte: bytes) -> None:
    with pytest.raises(ConvergeError):
        load(FILE[:place] + byte + FILE[place:], "file")


Lines = list[bytes]
CHANGES: dict[str, Callable[[Lines], Lines]] = {
    "the last line is cut off": lambda lines: lines[:-1],
    "a line is missing": lambda lines: lines[:2] + lines[3:],
    "a line stands twice": lambda lines: [*lines[:3], lines[2], *lines[3:]],
    "two lines are exchanged": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "the header is missing": lambda lines: lines[1:],
    "the times are others": lambda lines: [line.replace(b'"recorded_at":"20', b'"recorded_at":"19') for line in lines],
    "a root is missing": lambda lines: [_without(line, "root") for line in lines],
    "an entry has a field more": lambda lines: [*lines[:-1], lines[-1].replace(b"{", b'{"a":1,', 1)],
    "the lines end as on Windows": lambda lines: [line.replace(b"\n", b"\r\n") for line in lines],
    "another format is named": lambda lines: [lines[0].replace(b"converge-run/1", b"converge-run/2"), *lines[1:]],
}


def _without(line: bytes, name: str) -> bytes:
    value = json.loads(line)
    value.pop(name, None)
    return f"{canonical(value)}\n".encode()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_that_was_changed_is_refused_with_7(here: Audited, change: Callable[[Lines], Lines]) -> None:
    changed = b"".join(change(FILE.splitlines(keepends=True)))
    assert changed != FILE
    here.refused("import", here.file("run.jsonl", changed))
    assert nothing_written(here)


def sealed(lines: Lines, **header: str) -> bytes:
    """A file whose checksum was made to fit, as its forger would."""
    value = json.loads(lines[0]) | header
    del value["sha256"]
    body = b"".join(lines[1:])
    digest = sha256(f"{canonical(value)}\n".encode() + body).hexdigest()
    return f"{canonical(value | {'sha256': digest})}\n".encode() + body


def test_a_forged_body_is_refused_at_its_entry_though_the_checksum_was_made_to_fit(here: Audited) -> None:
    lines = FILE.splitlines(keepends=True)
    lines[2] = lines[2].replace(b"context-input", b"context-Input")
    assert "entry 1: expected a body with the leaf hash" in here.refused(
        "import", here.file("run.jsonl", sealed(lines))
    )


def test_a_header_that_names_an_earlier_head_is_refused(here: Audited) -> None:
    lines = FILE.splitlines(keepends=True)
    stored = load(FILE, "file").stored
    size = next(entry.sequence + 1 for entry in stored if entry.root is not None)
    head = verify(RUN, stored[:size])
    assert "more entries" in here.refused("import", here.file("run.jsonl", sealed(lines, head=str(head))))


def test_a_file_of_another_format_is_refused_with_the_format_that_is_read(here: Audited) -> None:
    file = here.file("run.jsonl", sealed(FILE.splitlines(keepends=True), format="converge-run/2"))
    assert "expected a run in the format converge-run/1, found converge-run/2" in here.refused("import", file)


def test_a_run_under_another_name_is_refused(here: Audited) -> None:
    lines = FILE.splitlines(keepends=True)
    assert "the start of 'mine'" in here.refused("import", here.file("run.jsonl", sealed(lines, run_id="mine")))


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"", "run.jsonl:1: "),
        (b"intent: {id: x}\n", "run.jsonl:1: not JSON"),
        (FILE.splitlines(keepends=True)[0] + b"oops\n", "run.jsonl:2: not JSON"),
        (FILE + b"\xff\n", f"run.jsonl:{FILE.count(b'%c' % 10) + 1}: not JSON: the text is not UTF-8"),
    ],
)
def test_what_is_not_json_is_refused_with_3_and_its_line(here: Audited, content: bytes, place: str) -> None:
    result = here.call("import", here.file("run.jsonl", content))
    assert (result.exit_code, result.stdout) == (3, "")
    assert place in result.stderr
    assert nothing_written(here)


def test_json_that_is_no_export_is_refused_with_7(here: Audited) -> None:
    assert "the header of an exported run" in here.refused("import", here.file("run.jsonl", b'{"a":1}\n'))


def test_a_run_that_the_ledger_has_is_not_imported_again(here: Audited) -> None:
    file = here.file("run.jsonl", FILE)
    here.out("import", file)
    before = stored_in(here.folder / "ledger.db")
    result = here.call("import", file)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"run '{RUN}' is in this ledger already" in result.stderr
    assert stored_in(here.folder / "ledger.db") == before
