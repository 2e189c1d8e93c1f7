"""Verify: is a stored run what was once written?

This looks at the entries alone and needs no plugin: bodies against their leaf hashes, places, kinds, and the Merkle
root that was stored with every append. What it cannot see is a history that was rewritten as a whole, roots included,
or cut off at the end; that shows only against a head that was kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from converge_core.errors import LedgerCorrupt
from converge_core.ledger.canonical import canonical, parse
from converge_core.ledger.forms import is_plain
from converge_core.ledger.merkle import Head, MerkleLog, leaf_hash

if TYPE_CHECKING:
    from converge_core.ports import StoredEntry


def verify(run_id: str, stored: Sequence[StoredEntry], head: Head | None = None) -> Head:
    """Return the head of a stored run that is intact, and that ``head``, if given, is a past or present head of.

    Raises LedgerCorrupt with the sequence number of the first entry that is not what was written. Entries that were
    exchanged with each other within one append are found at the first entry of that append.
    """
    log, facts = MerkleLog(), MerkleLog()
    appended = 0
    if head is not None and head.size == 0 and head.root != log.root():
        raise LedgerCorrupt(run_id, 0, f"the root {head.root} of the given head", str(log.root()))
    for place, entry in enumerate(stored):
        if entry.sequence != place:
            raise LedgerCorrupt(run_id, place, f"entry {place}", f"entry {entry.sequence}")
        _check_body(run_id, entry, facts)
        log.append(entry.leaf)
        if head is not None and log.size == head.size and log.root() != head.root:
            raise LedgerCorrupt(run_id, place, f"the root {head.root} of the given head", str(log.root()))
        if entry.root is not None:
            if entry.root != log.root():
                raise LedgerCorrupt(
                    run_id, appended, f"entries {appended} to {place} under the root stored", str(log.root())
                )
            appended = log.size
    if appended != log.size:
        raise LedgerCorrupt(
            run_id, appended, f"a stored root at the end of entries {appended} to {log.size - 1}", "none"
        )
    if head is not None and head.size > log.size:
        raise LedgerCorrupt(run_id, log.size, f"the {head.size} entries of the given head", f"{log.size} entries")
    return log.head


def _check_body(run_id: str, entry: StoredEntry, facts: MerkleLog) -> None:
    """Check one entry by itself, and what it says about the whole run."""
    found = leaf_hash(entry.body.encode(errors="surrogatepass"))
    if found != entry.leaf:
        raise LedgerCorrupt(run_id, entry.sequence, f"a body with the leaf hash {entry.leaf.hex()}", found.hex())
    if entry.sequence == 0 or not is_plain(entry.kind, entry.body):
        _check_json(run_id, entry, facts)
    if entry.kind == "fact_promoted":
        facts.append(entry.leaf)


def _check_json(run_id: str, entry: StoredEntry, facts: MerkleLog) -> None:
    """Check what an entry says, if only of its kind."""
    try:
        body = parse(entry.body)
    except ValueError as error:
        raise LedgerCorrupt(run_id, entry.sequence, "a JSON object", str(error)) from error
    if not isinstance(body, dict) or body.get("kind") != entry.kind:
        raise LedgerCorrupt(run_id, entry.sequence, f"a body of the kind {entry.kind!r}", entry.body[:80])
    if entry.sequence == 0 and body.get("run_id") != run_id:
        raise LedgerCorrupt(run_id, 0, f"the start of {run_id!r}", f"that of {body.get('run_id')!r}")
    if entry.kind == "fact_carried":
        facts.append(leaf_hash(canonical(body.get("promotion")).encode()))
    elif entry.kind == "run_stopped" and body.get("merkle_root") != str(facts.root()):
        raise LedgerCorrupt(
            run_id, entry.sequence, f"the root {facts.root()} of its facts", str(body.get("merkle_root"))
        )
