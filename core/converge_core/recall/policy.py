"""What recall may be asked for, and how much of the answer may be used.

Query and policy have *stable hashes*, which name them in ledgers across programs and versions: SHA-256 over fields,
each prefixed by its length in bytes (u64, big-endian), the first of them naming the form. They are those of the
original, so its test vectors hold here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from converge_core.errors import AuthorityError, MisuseError
from converge_core.ledger.hashes import ContentHash

BASIS_POINTS = 10_000
BYTES_A_TOKEN = 4
MOST = 10**9
"""The largest limit that can be set."""


class RecallUse(StrEnum):
    """What recalled items are for."""

    RUNTIME_AUGMENTATION = "runtime_augmentation"
    TRAINING_CANDIDATE_SELECTION = "training_candidate_selection"


class RecallConsumer(StrEnum):
    """Who reads them."""

    KERNEL = "kernel"
    ANALYTICS = "analytics"
    TRAINER = "trainer"


class DecisionStep(StrEnum):
    """At which step of a decision recall is asked."""

    REASONING = "reasoning"
    EVALUATION = "evaluation"
    PLANNING = "planning"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RecallBudgets(_Section):
    """What one search may cost."""

    max_latency_ms: int = Field(
        default=100, ge=0, le=MOST, description="The longest a search may take; a later answer is not used."
    )
    max_embedding_calls: int = Field(
        default=3, ge=0, le=MOST, description="The most calls of an embedder for one search."
    )
    max_tokens_per_candidate: int = Field(
        default=100, ge=1, le=MOST, description="The most of one item; the rest is cut off, visibly."
    )


class RecallPolicy(_Section):
    """How much of what is found may be used, and for what. Nothing is, unless it is ``enabled``.

    Tokens are counted by `tokens_of`.
    """

    enabled: bool = Field(default=False, description="Whether anything is recalled.")
    max_k_total: int = Field(default=5, ge=0, le=MOST, description="The most items.")
    max_tokens_injection: int = Field(default=500, ge=0, le=MOST, description="The most tokens of all items together.")
    min_score_threshold: float = Field(
        default=0.5, ge=0, le=1, description="The least score, 0 to 1, of an item that is used."
    )
    budgets: RecallBudgets = Field(default=RecallBudgets(), description="What one search may cost.")
    allowed_uses: tuple[RecallUse, ...] = Field(
        default=(RecallUse.RUNTIME_AUGMENTATION,), description="What items may be recalled for."
    )
    prior_weight: float = Field(default=1.0, ge=0, le=1, description="What an item's confidence is multiplied by.")

    def is_use_allowed(self, use: RecallUse) -> bool:
        """Say whether items may be recalled for something."""
        return use in self.allowed_uses

    def stable_hash(self) -> ContentHash:
        """Return the hash that names the policy; scores and weights count in basis points."""
        return stable_hash(
            "recall-policy-v1",
            number(int(self.enabled), 1),
            number(self.max_k_total),
            number(self.max_tokens_injection),
            basis_points(self.min_score_threshold),
            number(self.budgets.max_latency_ms),
            number(self.budgets.max_embedding_calls),
            number(self.budgets.max_tokens_per_candidate),
            *(ordinal(use) for use in self.allowed_uses),
            basis_points(self.prior_weight),
        )


@dataclass(frozen=True, slots=True)
class RecallQuery:
    """What is looked for: ``text``, at most ``top_k`` items, in the past of one tenant (None: in runs of none).

    Raises MisuseError for a ``top_k`` out of range or a blank tenant.
    """

    text: str
    top_k: int = 5
    step: DecisionStep | None = None
    tenant: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.top_k <= MOST:
            raise MisuseError(f"top_k is a number of items from 0 to {MOST}, not {self.top_k}")
        if self.tenant is not None and not self.tenant.strip():
            raise MisuseError("a blank tenant names nobody: leave it out")

    def require(self, tenant: str | None) -> None:
        """Refuse a query that is not for the tenant whose past can be searched. Raises AuthorityError."""
        if self.tenant != tenant:
            raise AuthorityError(f"the past of {self.tenant or 'no tenant'} is not to be searched here")

    def stable_hash(self) -> ContentHash:
        """Return the hash that names the query."""
        step, tenant = self.step or "", self.tenant or ""
        return stable_hash("recall-query-v1", text(self.text), number(self.top_k), text(step), text(tenant))


def stable_hash(domain: str, *fields: bytes) -> ContentHash:
    """Return the SHA-256 of fields, each after its length (u64, big-endian); ``domain`` is the first of them."""
    digest = hashlib.sha256()
    for field in (domain.encode(), *fields):
        digest.update(number(len(field)) + field)
    return ContentHash(digest.digest())


def text(value: str) -> bytes:
    """Return a text as a field of a stable hash; nothing, for one that is not there."""
    return value.encode(errors="surrogatepass")


def basis_points(share: float) -> bytes:
    """Return a share of 0 to 1 as a field of a stable hash: hundredths of a percent, u16."""
    return number(round(share * BASIS_POINTS), 2)


def ordinal(member: StrEnum) -> bytes:
    """Return a word as a field of a stable hash: its place in its enumeration, u8."""
    return number(list(type(member)).index(member), 1)


def number(value: int, size: int = 8) -> bytes:
    """Return a count as a field of a stable hash: u64, or of another ``size`` in bytes."""
    return value.to_bytes(size, "big")


def tokens_of(words: str) -> int:
    """Return how many tokens a text counts for: one for every 4 bytes of UTF-8 begun.

    That is about what models make of English; of other scripts they may make twice as many. A count that depended on a
    model would give one policy another meaning under each of them.
    """
    return -(-len(words.encode(errors="surrogatepass")) // BYTES_A_TOKEN)


def cut_to(words: str, tokens: int) -> str:
    """Return a text that counts for no more than ``tokens``; one that was cut ends with an ellipsis."""
    if tokens_of(words) <= tokens:
        return words
    room = tokens * BYTES_A_TOKEN - len("…".encode())
    return words.encode(errors="replace")[:room].decode(errors="ignore").rstrip() + "…"
