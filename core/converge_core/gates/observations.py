"""The door for what is brought in from outside: an observation that the run can only refuse is refused there."""

from __future__ import annotations

from collections.abc import Iterable

from converge_core.context.admission import INPUT, AdmissionRequest, content_hash
from converge_core.context.payloads import PayloadRegistry
from converge_core.context.state import Context
from converge_core.errors import AdmissionError
from converge_core.gates.drafts import Draft, Malformed, draft
from converge_core.intent.root import RootIntent
from converge_core.ledger.events import InputAdmitted


def observation(
    request: AdmissionRequest, intent: RootIntent | None, payloads: PayloadRegistry, max_payload_bytes: int
) -> Draft:
    """Return the proposal of an observation, as an input of a run.

    Raises AdmissionError where it has no form to be judged in, or targets a truth that the intent does not uphold.
    """
    truths = [] if intent is None else [truth.key for truth in intent.truths]
    if request.target_truth is not None and request.target_truth not in truths:
        known = f"; it upholds {', '.join(truths)}" if truths else ""
        raise AdmissionError(f"the intent does not uphold a truth {request.target_truth!r}{known}")
    item = draft(request.proposal(), INPUT, payloads, max_payload_bytes)
    if isinstance(item, Malformed):
        raise AdmissionError(f"{item.code}: {item.reason}")
    return item


def is_known(item: Draft, ctx: Context, late: Iterable[Draft | Malformed], *, may_differ: bool) -> bool:
    """Say whether a run has an observation already, as a fact or among what is still to be judged (``late``).

    Raises AdmissionError where it has other content under the same key and id, unless that ``may_differ``.
    """
    proposal, ref = item.proposal, item.content[0]
    facts = ctx.history(proposal.key, proposal.id)
    others = [other for other in late if isinstance(other, Draft) and other.content[0] == ref]
    known = any(fact.same_content(proposal) for fact in facts) or any(
        other.content == item.content and other.proposal.subject == proposal.subject for other in others
    )
    if (facts or others) and not known and not may_differ:
        raise AdmissionError(
            f"the run has other content under {ref}; a fact that is wrong is corrected, not contradicted"
        )
    return known


def admitted(item: Draft | Malformed, cycle: int | None) -> InputAdmitted:
    """Return the event of an input at the door; ``cycle`` is None for what a run begins with."""
    said = None
    if isinstance(item, Draft) and (item.proposal.provenance or "").startswith("admission:"):
        said = str(content_hash(item.proposal.payload))
    return InputAdmitted(proposer=item.proposer, proposal=item.text, cycle=cycle, content_hash=said)
