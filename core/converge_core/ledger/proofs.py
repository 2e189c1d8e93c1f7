"""Proofs: what a ledger hands out so that others can check a run without the ledger.

A `FactProof` shows that a fact was promoted in a run: the entry that promoted it, the whole proposal that the entry
names by its hash, and the RFC 6962 path from the entry to a head. A `ConsistencyProof` shows that a log only grew from
one head to another. Both carry the heads they were made for, but prove nothing against those: whoever makes up a proof
makes up its heads too. So a check takes the heads from the one who checks, who kept them or found them signed.

Entry and proposal travel as texts, not as JSON objects inside the JSON: the text is what is hashed, and a reader in
another language needs SHA-256 and no canonical JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

from converge_core.errors import LedgerError, ProofRefused
from converge_core.ledger.canonical import JsonValue, canonical, parse
from converge_core.ledger.events import Entry, FactPromoted, read_event
from converge_core.ledger.hashes import ContentHash
from converge_core.ledger.history import History
from converge_core.ledger.merkle import (
    Head,
    MerkleLog,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

FORMAT = 1
"""The version of the JSON form of proofs."""

_NODE = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FactProof:
    """That entry ``sequence`` (from 0) of the log at ``head`` promoted the fact that ``proposal`` describes.

    ``entry`` is the body of the ``fact_promoted`` entry, ``proposal`` the text whose SHA-256 it names; both are
    canonical JSON. ``path`` is the audit path of RFC 6962, section 2.1.1, from the leaf up.
    Raises ValueError when entry and proposal are not of that kind, or not about the same fact.
    """

    entry: str
    proposal: str
    sequence: int
    head: Head
    path: tuple[bytes, ...]

    def __post_init__(self) -> None:
        promotion, statement = self.promotion, self.statement
        if promotion.body() != self.entry or canonical(statement) != self.proposal:
            raise ValueError("the entry and the proposal of a fact proof are canonical JSON")
        if (statement.get("key"), statement.get("id")) != (promotion.key, promotion.id):
            raise ValueError("the entry and the proposal of a fact proof are about the same fact")

    @property
    def promotion(self) -> FactPromoted:
        """The event that the entry records."""
        event = read_event(self.entry)
        if not isinstance(event, FactPromoted):
            raise ValueError(f"the entry of a fact proof is a {FactPromoted.kind}, not a {event.kind}")
        return event

    @property
    def statement(self) -> Mapping[str, JsonValue]:
        """The proposal as JSON: key, id, payload, confidence, provenance, and subject and evidence if there are any."""
        statement = parse(self.proposal)
        if not isinstance(statement, Mapping):
            raise ValueError("the proposal of a fact proof is a JSON object")
        return statement

    def check(self, head: Head) -> None:
        """Raise ProofRefused unless the fact was promoted in the log of which the caller holds ``head``."""
        if head != self.head:
            raise ProofRefused(f"the proof is for the head {self.head}, not for {head}")
        if self.promotion.proposal != str(ContentHash.of(self.proposal)):
            raise ProofRefused("the proposal in the proof is not the one that was promoted")
        if not verify_inclusion(leaf_hash(self.entry.encode()), self.sequence, head, self.path):
            raise ProofRefused(f"the entry in the proof is not entry {self.sequence} of the log at {head}")

    def to_json(self) -> dict[str, JsonValue]:
        """Return the proof as JSON; `read_proof` reads it back."""
        return {
            "proof": "fact",
            "format": FORMAT,
            "entry": self.entry,
            "proposal": self.proposal,
            "sequence": self.sequence,
            "head": str(self.head),
            "path": [node.hex() for node in self.path],
        }

    @classmethod
    def from_json(cls, value: JsonValue) -> FactProof:
        """Read what `to_json` wrote. Raises ValueError for anything else."""
        members = _members(value, "fact", {"entry", "proposal", "sequence", "head", "path"})
        match members:
            # A bool is an int to Python, but not to JSON.
            case {"entry": str(entry), "proposal": str(proposal), "sequence": int(sequence)} if type(sequence) is int:
                return cls(entry, proposal, sequence, _head(members["head"]), _path(members["path"]))
        raise ValueError("a fact proof has texts as entry and proposal, and a whole number as sequence")


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """That the log at ``second`` began as the log at ``first``; ``path`` is that of RFC 6962, section 2.1.2."""

    first: Head
    second: Head
    path: tuple[bytes, ...]

    def check(self, first: Head, second: Head) -> None:
        """Raise ProofRefused unless the log of which the caller holds both heads only grew between them."""
        if (first, second) != (self.first, self.second):
            raise ProofRefused(f"the proof leads from {self.first} to {self.second}, not from {first} to {second}")
        if not verify_consistency(first, second, self.path):
            raise ProofRefused(f"the proof does not show that the log at {second} began as the log at {first}")

    def to_json(self) -> dict[str, JsonValue]:
        """Return the proof as JSON; `read_proof` reads it back."""
        return {
            "proof": "consistency",
            "format": FORMAT,
            "first": str(self.first),
            "second": str(self.second),
            "path": [node.hex() for node in self.path],
        }

    @classmethod
    def from_json(cls, value: JsonValue) -> ConsistencyProof:
        """Read what `to_json` wrote. Raises ValueError for anything else."""
        members = _members(value, "consistency", {"first", "second", "path"})
        return cls(_head(members["first"]), _head(members["second"]), _path(members["path"]))


Proof: TypeAlias = FactProof | ConsistencyProof


def prove_fact(entries: Sequence[Entry], ref: str) -> FactProof:
    """Prove that the fact ``key/id`` was promoted in the run of these entries, at the head that they make.

    Raises LedgerError for a fact that the run has not, or did not promote itself; LedgerCorrupt as `History` does.
    """
    history = History.of(entries)
    fact = history.facts.get(ref)
    if fact is None:
        raise LedgerError(f"run {history.run_id!r} has no fact {ref!r}; a fact is named key/id")
    promoted = entries[fact.promoted_at]
    if promoted.kind != FactPromoted.kind:
        raise LedgerError(f"run {history.run_id!r} began with the fact {ref!r}; the run that promoted it can prove it")
    leaves = [entry.leaf for entry in entries]
    path = inclusion_proof(leaves, fact.promoted_at)
    proposal = canonical(cast("Mapping[str, JsonValue]", fact.proposal))
    return FactProof(promoted.body, proposal, fact.promoted_at, MerkleLog(leaves).head, path)


def prove_growth(leaves: Sequence[bytes], first: Head) -> ConsistencyProof:
    """Prove that the log of these leaf hashes began as the log at ``first``. Raises ProofRefused when it did not."""
    second = MerkleLog(leaves).head
    if first.size > second.size:
        raise ProofRefused(f"the log has {second.size} entries, and had {first.size} at the head {first}")
    if root_of(leaves[: first.size]) != first.root:
        raise ProofRefused(f"the first {first.size} entries of the log are not those of the head {first}")
    return ConsistencyProof(first, second, consistency_proof(leaves, first.size))


def read_proof(text: str) -> Proof:
    """Read a proof of either kind from JSON. Raises ValueError for anything else."""
    value = parse(text)
    match value:
        case {"proof": "fact"}:
            return FactProof.from_json(value)
        case {"proof": "consistency"}:
            return ConsistencyProof.from_json(value)
    raise ValueError('a proof is a JSON object with "fact" or "consistency" as proof')


def _members(value: JsonValue, kind: str, names: set[str]) -> Mapping[str, JsonValue]:
    """Return the members of a proof that has the right ones."""
    if not isinstance(value, Mapping) or value.keys() != {"proof", "format"} | names or value["proof"] != kind:
        raise ValueError(f"a {kind} proof has the members proof, format, {', '.join(sorted(names))} and no others")
    version = value["format"]
    if type(version) is not int or version != FORMAT:
        raise ValueError(f"proofs of format {FORMAT} are known here, not of {version!r:.40}")
    return value


def _head(value: JsonValue) -> Head:
    if not isinstance(value, str):
        raise ValueError("the head of a proof is a text, size:root")
    return Head.parse(value)


def _path(value: JsonValue) -> tuple[bytes, ...]:
    if isinstance(value, list) and all(isinstance(node, str) and _NODE.fullmatch(node) for node in value):
        return tuple(map(bytes.fromhex, value))
    raise ValueError("the path of a proof is a list of hashes, each of 64 lower-case hex digits")
