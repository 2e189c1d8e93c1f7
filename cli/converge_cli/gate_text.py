"""An open gate, as the person who is to decide it reads it.

Everything that bears on the decision is on one screen: what is proposed, by whom and how sure, why a person is asked,
what it rests on, with the facts themselves, and what an approval would change. What a run says is untrusted: it stands
behind a bar, so that no text of a proposal passes for a line of this program.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from converge_adapters.documents import to_yaml
from converge_cli.output import counted, safe
from converge_cli.report.wording import cut, one_line, plain, why_asked
from converge_core import Actor, Context, ContextKey, Fact, FactPayload, GateRequest, TimeoutPolicy

MAX_LINES = 40
"""Lines of a payload, and pieces of evidence, that are shown."""

LONG_LINE = 300
"""Characters that a piece of evidence may say."""

BAR = "  │ "


def describe(request: GateRequest, ctx: Context, *, more: int = 0, approvals: Sequence[Actor] = ()) -> str:
    """Return a gate as a person reads it; ``more`` are open after it, ``approvals`` are those it has already."""
    provenance = str(request.proposal["provenance"])
    source = "" if provenance == request.proposer else f", from {plain(provenance)}"
    lines = [
        "",
        f"{plain(request.ref)}   (gate {request.gate_id}, cycle {request.cycle})",
        *_bounded(_payload(request.proposal["payload"])),
        f"  proposed by   {plain(request.proposer)}, confidence {request.confidence:g}{source}",
        f"  asks because  {why_asked(request.code)}{'' if request.reason is None else f': {plain(request.reason)}'}",
        *_evidence(request.evidence, ctx),
        f"  would be      {_effect(request, ctx)}",
        f"  unanswered    {_in_silence(request.timeout)}",
    ]
    if approvals:
        lines.append(f"  approved      by {', '.join(plain(str(actor)) for actor in approvals)}; others have to join")
    if more:
        lines.append(f"  {counted(more, 'more gate')} open")
    return safe("\n".join(lines))


def _payload(wire: Any) -> list[str]:
    """Return the lines of a payload: a text as it is, anything else as YAML."""
    body = wire["body"]
    values = list(body.values()) if isinstance(body, Mapping) else []
    alone = len(values) == 1 and isinstance(values[0], str)
    text: str = values[0] if alone else to_yaml(body)
    return text.rstrip("\n").splitlines() or [""]


def _bounded(lines: list[str]) -> Iterator[str]:
    for line in lines[:MAX_LINES]:
        yield f"{BAR}{cut(line, 1_000)}"
    if len(lines) > MAX_LINES:
        yield f"{BAR}… and {counted(len(lines) - MAX_LINES, 'more line')}: edit shows all"


def _evidence(cited: tuple[str, ...], ctx: Context) -> Iterator[str]:
    """Yield what a proposal rests on: facts with what they say, other sources by their name."""
    if not cited:
        yield "  rests on      nothing that it cites"
        return
    yield "  rests on"
    for ref in cited[:MAX_LINES]:
        fact = ctx.resolve(ref)
        says = "no fact of this run" if fact is None else _says(fact, ctx)
        yield f"{BAR}{plain(ref)}: {says}"
    if len(cited) > MAX_LINES:
        yield f"{BAR}… and {len(cited) - MAX_LINES} more"


def _says(fact: Fact[FactPayload], ctx: Context) -> str:
    corrected = "" if ctx.is_current(fact) else "  (superseded since)"
    return f"{one_line(fact.payload.body(), LONG_LINE)}{corrected}"


def _effect(request: GateRequest, ctx: Context) -> str:
    """Say what an approval would change: what it would be, beside or in the place of which facts."""
    old = ctx.resolve(request.supersedes or "")
    if old is not None:
        return f"what readers see instead of {plain(old.ref)}: {one_line(old.payload.body())}"
    key = ContextKey(str(request.proposal["key"]))
    there = ctx.get(key)
    if not there:
        return f"the first fact under {key}"
    return f"a new fact under {key}, beside {len(there)}, the last of them {plain(there[-1].id)}"


def _in_silence(timeout: TimeoutPolicy) -> str:
    done = {"approve": "approved", "reject": "rejected", "escalate": "escalated"}[timeout.action]
    return f"it is {done} after {duration(timeout.seconds)}"


def duration(seconds: int) -> str:
    """Return a length of time in its two largest units: ``3 d``, ``2 h 5 min``, ``40 s``."""
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    parts: list[str] = []
    for unit, length in units:
        count, seconds = divmod(seconds, length)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
