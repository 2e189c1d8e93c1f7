"""A context as one JSON text, and back.

A snapshot proves nothing by itself: whoever can change it can compute its root anew. So `restore` takes the Merkle root
from elsewhere, from the ledger or from wherever it was pinned, and no fact is restored that this root does not cover,
promotion record included.
"""

from __future__ import annotations

from typing import Any

from converge_core.context.facts import AnyFact
from converge_core.context.payloads import PayloadRegistry
from converge_core.context.state import ContextState
from converge_core.context.wire import fact_to_json, proposal_text, read_fact, read_proposal
from converge_core.errors import MisuseError, PayloadError, SnapshotError
from converge_core.ledger.canonical import canonical, parse
from converge_core.ledger.hashes import MerkleRoot
from converge_core.ledger.merkle import MerkleLog

FORMAT = 1


def facts_root(facts: tuple[AnyFact, ...]) -> MerkleRoot:
    """Return the Merkle root over facts in the order of promotion."""
    return MerkleLog(fact.hash for fact in facts).root()


def snapshot(context: ContextState) -> str:
    """Return the facts, in the order of promotion, and the staged inputs as canonical JSON."""
    facts = tuple(context.facts())
    return canonical(
        {
            "facts": [fact_to_json(fact) for fact in facts],
            "format": FORMAT,
            "merkle_root": str(facts_root(facts)),
            "staged": [parse(proposal_text(p, canonical(p.payload.body()))) for p in context.staged],
        }
    )


def restore(text: str, root: MerkleRoot, payloads: PayloadRegistry | None = None) -> ContextState:
    """Read a snapshot back, against a root that is known to be right.

    Raises SnapshotError when anything in any fact differs, is missing, or stands in another place, PayloadError where
    no loaded class reads a payload.
    """
    payloads = payloads or PayloadRegistry()
    value = _parsed(text)
    facts = tuple([read_fact(item, payloads) for item in value["facts"]])
    if facts_root(facts) != root or value["merkle_root"] != str(root):
        raise SnapshotError("the facts are not the ones that the Merkle root covers")
    try:
        context = ContextState(facts)
    except MisuseError as error:
        raise SnapshotError(str(error)) from error
    try:
        for staged in value["staged"]:
            context.add_proposal(read_proposal(staged, payloads))
    except PayloadError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise SnapshotError(f"a staged input cannot be read: {error}") from error
    return context


def _parsed(text: str) -> dict[str, Any]:
    try:
        value = parse(text)
    except ValueError as error:
        raise SnapshotError(f"not JSON: {error}") from error
    if not isinstance(value, dict) or value.keys() != {"facts", "format", "merkle_root", "staged"}:
        raise SnapshotError("not a snapshot of a context")
    if value["format"] != FORMAT:
        raise SnapshotError(f"a snapshot of format {value['format']!r}; this program reads {FORMAT}")
    if not isinstance(value["facts"], list) or not isinstance(value["staged"], list):
        raise SnapshotError("not a snapshot of a context")
    return value
