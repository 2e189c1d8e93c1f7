"""A search under a policy: whatever is asked, what may be used is rationed here and nowhere else.

A memory that was found is used if its score reaches the threshold, if no better one has the same words, if there is
room for one more, and if its tokens fit into what is left for all; it is cut to its own limit before it is counted. One
that is too large leaves its place to a smaller one after it. A search that took too long is used not at all. What was
left out is counted by reason, in the record that every search leaves, the one that found nothing too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from converge_core.errors import AuthorityError
from converge_core.ports import Clock, Recall
from converge_core.recall.answers import RecallAnswer, RecallCandidate
from converge_core.recall.payloads import (
    LeftOut,
    LeftOutReason,
    RecalledItem,
    RecallExecuted,
    RecallStop,
    ReplayabilityDowngradeReason,
    ScoredCandidate,
    replayability_of,
)
from converge_core.recall.policy import RecallConsumer, RecallPolicy, RecallQuery, RecallUse, cut_to, tokens_of
from converge_core.suggestors.contract import Replayability

_NOTHING = RecallAnswer((), 0, None)


@dataclass(frozen=True, slots=True)
class Recalled:
    """Something that may be used: the item, where it comes from, and how sure one may be of it."""

    item: RecalledItem
    provenance: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Recollection:
    """What came of a recall: what may be used, best first, and the record of the search."""

    recalled: tuple[Recalled, ...]
    executed: RecallExecuted


async def recall(
    source: Recall,
    query: RecallQuery,
    policy: RecallPolicy,
    clock: Clock,
    *,
    use: RecallUse = RecallUse.RUNTIME_AUGMENTATION,
    consumers: Sequence[RecallConsumer] = (RecallConsumer.KERNEL,),
) -> Recollection:
    """Search, and return what the policy lets through.

    The corpus is brought up to date before; the latency budget is for the search. Raises AuthorityError for a use that
    the policy does not allow, and for the memories of another tenant.
    """
    if not policy.is_use_allowed(use):
        raise AuthorityError(f"the policy does not allow recall for {use}; it allows {', '.join(policy.allowed_uses)}")
    if not policy.enabled:
        return _recollection(query, policy, use, consumers, _NOTHING, source.downgrades, RecallStop.DISABLED)
    await source.refresh()
    began = clock()
    answer = await source.search(query, policy.budgets)
    if clock() - began <= policy.budgets.max_latency_ms:
        return _recollection(query, policy, use, consumers, answer, source.downgrades)
    downgrades = (*source.downgrades, ReplayabilityDowngradeReason.RECALL_TOO_LATE)
    return _recollection(query, policy, use, consumers, answer, downgrades, RecallStop.TOO_LATE)


def _recollection(
    query: RecallQuery,
    policy: RecallPolicy,
    use: RecallUse,
    consumers: Sequence[RecallConsumer],
    answer: RecallAnswer,
    downgrades: tuple[ReplayabilityDowngradeReason, ...],
    stop_reason: RecallStop | None = None,
) -> Recollection:
    recalled, left_out = ration(answer.candidates if stop_reason is None else (), query.top_k, policy)
    items = [one.item for one in recalled]
    trace = answer.embedding
    executed = RecallExecuted(
        query=query.text,
        query_hash=str(query.stable_hash()),
        policy_hash=str(policy.stable_hash()),
        corpus_fingerprint=answer.corpus_fingerprint,
        purpose=use,
        consumers=tuple(consumers),
        candidates=tuple(
            ScoredCandidate(id=item.record, score=item.score, tokens=item.tokens, truncated=item.truncated)
            for item in items
        ),
        left_out=left_out,
        searched=answer.searched,
        stop_reason=stop_reason,
        embedder_id=None if trace is None else trace.embedder_id,
        embedder_settings_hash=None if trace is None else trace.settings_hash,
        embedding_input_hash=None if trace is None else trace.input_hash,
        embedding_hash=None if trace is None else trace.embedding_hash,
        replayability=replayability_of(downgrades),
        downgraded_from=Replayability.DETERMINISTIC if downgrades else None,
        downgrade_reasons=downgrades,
    )
    return Recollection(recalled, executed)


def ration(
    candidates: Sequence[RecallCandidate], top_k: int, policy: RecallPolicy
) -> tuple[tuple[Recalled, ...], tuple[LeftOut, ...]]:
    """Return which candidates, best first, may be used, and how many may not, by reason."""
    recalled: list[Recalled] = []
    left_out: Counter[LeftOutReason] = Counter()
    said: set[str] = set()
    room = policy.max_tokens_injection
    for candidate in candidates:
        item = _item(candidate, policy)
        if candidate.final_score < policy.min_score_threshold:
            left_out[LeftOutReason.BELOW_THRESHOLD] += 1
        elif candidate.memory.text in said:
            left_out[LeftOutReason.REPEATED] += 1
        elif len(recalled) >= min(top_k, policy.max_k_total):
            left_out[LeftOutReason.OVER_COUNT] += 1
        elif item.tokens > room:
            left_out[LeftOutReason.OVER_TOKENS] += 1
        else:
            room -= item.tokens
            said.add(candidate.memory.text)
            confidence = candidate.memory.confidence * policy.prior_weight
            recalled.append(Recalled(item, candidate.memory.provenance, confidence))
    return tuple(recalled), tuple(
        LeftOut(reason=reason, count=left_out[reason]) for reason in LeftOutReason if left_out[reason]
    )


def _item(candidate: RecallCandidate, policy: RecallPolicy) -> RecalledItem:
    memory = candidate.memory
    words = cut_to(memory.text, policy.budgets.max_tokens_per_candidate)
    return RecalledItem(
        text=words,
        run=memory.run_id,
        record=memory.id,
        subject=memory.subject,
        source_type=memory.source_type,
        relevance=candidate.relevance,
        score=candidate.final_score,
        tokens=tokens_of(words),
        truncated=words != memory.text,
    )
