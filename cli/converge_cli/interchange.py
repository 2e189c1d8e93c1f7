"""A run as a file of JSON lines: nothing is lost on the way out, and nothing that was changed comes back in.

The first line is the header: ``format``, ``run_id``, ``head`` (size and root of the run's log) and ``sha256``. Each
other line is an entry: ``seq``, ``kind``, ``body`` (the text, exactly), ``leaf``, ``recorded_at``, and ``root`` where
an append ended with it. The hashes of the log cover what the run says; ``sha256``, that of all lines with the header
as it is without it, covers the rest of the file too, such as the times of recording. Every line is canonical JSON, so a
run has one file, and a file that is not the one its content would be written to has been changed.

What this cannot tell is a file that was rewritten as a whole; that shows only against a head that was kept elsewhere.
The journal of a cycle under way is no part of the log, and so of no file: its calls are made again by whoever resumes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

from converge_core import Head, IntentError, LedgerCorrupt, Problem, StoredEntry, canonical, verify
from converge_core.ledger.canonical import JsonValue, parse
from converge_core.ledger.hashes import ContentHash, MerkleRoot

FORMAT = "converge-run/1"


class Exported(NamedTuple):
    """A run on its way: its entries as they were stored, and the head of its log."""

    run_id: str
    head: Head
    stored: Sequence[StoredEntry]

    def appends(self) -> Iterator[Sequence[StoredEntry]]:
        """Yield the entries as they were appended: each group ends with the entry that keeps the root."""
        start = 0
        for place, entry in enumerate(self.stored, 1):
            if entry.root is not None:
                yield self.stored[start:place]
                start = place


def dump(run: Exported) -> bytes:
    """Return a run as the bytes of a file."""
    header: dict[str, JsonValue] = {"format": FORMAT, "head": str(run.head), "run_id": run.run_id}
    lines = "".join(f"{canonical(_line(entry))}\n" for entry in run.stored)
    digest = sha256(f"{canonical(header)}\n{lines}".encode()).hexdigest()
    return f"{canonical(header | {'sha256': digest})}\n{lines}".encode()


def load(data: bytes, file: str) -> Exported:
    """Return the run that a file holds, once it is verified from the first byte to the last.

    Raises IntentError, with the line, for what is not JSON; LedgerCorrupt for everything else that is not as it was
    exported.
    """
    lines = _decoded(data, file).removesuffix("\n").split("\n")
    values = [_parsed(line, file, number) for number, line in enumerate(lines, 1)]
    run_id, head, digest = _header(values[0])
    stored = [_entry(run_id, place, value) for place, value in enumerate(values[1:])]
    found = verify(run_id, stored, head)
    if found != head:
        raise LedgerCorrupt(run_id, head.size, f"the end of the run, at {head}", f"more entries, up to {found}")
    run = Exported(run_id, head, stored)
    if dump(run) != data:
        raise LedgerCorrupt(run_id, 0, f"the file that was exported, with the SHA-256 {digest}", "another one")
    return run


def _line(entry: StoredEntry) -> dict[str, JsonValue]:
    line: dict[str, JsonValue] = {
        "seq": entry.sequence,
        "kind": entry.kind,
        "body": entry.body,
        "leaf": entry.leaf.hex(),
        "recorded_at": entry.recorded_at,
    }
    return line if entry.root is None else line | {"root": entry.root.hex()}


def _decoded(data: bytes, file: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise IntentError((Problem("", "not JSON: the text is not UTF-8", file, line),)) from error


def _parsed(line: str, file: str, number: int) -> JsonValue:
    try:
        return parse(line)
    except ValueError as error:
        raise IntentError((Problem("", str(error), file, number),)) from error


def _header(value: JsonValue) -> tuple[str, Head, str]:
    match value:
        case {"format": str(form), "head": str(head), "run_id": str(run_id), "sha256": str(digest), **rest} if not rest:
            if form != FORMAT:
                raise LedgerCorrupt(run_id, 0, f"a run in the format {FORMAT}", form)
            try:
                return run_id, Head.parse(head), digest
            except ValueError as error:
                raise LedgerCorrupt(run_id, 0, "a head of the form size:root", head) from error
    raise LedgerCorrupt("?", 0, "the header of an exported run", canonical(value)[:80])


def _entry(run_id: str, place: int, value: JsonValue) -> StoredEntry:
    try:
        match value:
            case {
                "seq": int(sequence),
                "kind": str(kind),
                "body": str(body),
                "leaf": str(leaf),
                "recorded_at": str(recorded_at),
                **rest,
            } if set(rest) <= {"root"}:
                root = MerkleRoot.from_hex(str(rest["root"])) if rest else None
                return StoredEntry(sequence, kind, body, ContentHash.from_hex(leaf), root, recorded_at)
    except ValueError as error:
        raise LedgerCorrupt(run_id, place, "hashes of 64 hex digits", str(error)) from error
    raise LedgerCorrupt(run_id, place, "an entry", canonical(value)[:80])
