"""The validation checks that come with the runtime. Plugins register more; a policy names the ones it requires."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from converge_core.context.facts import AnyProposal
from converge_core.context.keys import ContextKey
from converge_core.context.state import Context
from converge_core.gates.promotion import Check

_KEYS = frozenset(ContextKey)


def has_evidence(proposal: AnyProposal, ctx: Context) -> str | None:
    """Demand that a proposal cites at least one piece of evidence."""
    return None if proposal.evidence else "cites no evidence"


def evidence_exists(proposal: AnyProposal, ctx: Context) -> str | None:
    """Demand that every fact (``key/id``) a proposal cites is in the context. Other references pass."""
    for ref in proposal.evidence:
        key = str(ref).partition("/")[0]
        if key in _KEYS and ctx.resolve(str(ref)) is None:
            return f"cites {ref!r}, which is no fact"
    return None


BUILTIN_CHECKS: Mapping[str, Check] = MappingProxyType(
    {"has_evidence": has_evidence, "evidence_exists": evidence_exists},
)
