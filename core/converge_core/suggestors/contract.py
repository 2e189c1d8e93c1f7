"""The contract of a suggestor: it reads a context and proposes. It calls nobody, and decides nothing.

Subclass `Suggestor`, or decorate a function with `suggestor`. Both may be ``async`` or plain; a plain one is
called inline, which is the cheaper way for pure rules.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, overload

from converge_core.context.allowance import NOTHING, Usage
from converge_core.context.authority import AuthorityLevel
from converge_core.context.facts import AnyProposal, ProposedFact
from converge_core.context.keys import ContextKey
from converge_core.context.payloads import FactPayload
from converge_core.context.state import Context, Selector
from converge_core.errors import ConvergeError, MisuseError
from converge_core.formations.profiles import NEUTRAL, SuggestorProfile


class Replayability(StrEnum):
    """Whether executing a suggestor again gives the same proposals."""

    DETERMINISTIC = "deterministic"
    BEST_EFFORT = "best_effort"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class AgentEffect:
    """Everything a suggestor has to say after one call: proposals, and what the call consumed."""

    proposals: tuple[AnyProposal, ...] = ()
    usage: Usage = NOTHING

    @classmethod
    def empty(cls) -> AgentEffect:
        """Return an effect that says nothing."""
        return cls()

    @classmethod
    def with_proposal(cls, proposal: AnyProposal, usage: Usage = NOTHING) -> AgentEffect:
        """Return an effect of one proposal."""
        return cls((proposal,), usage)

    @classmethod
    def with_proposals(cls, proposals: Iterable[AnyProposal], usage: Usage = NOTHING) -> AgentEffect:
        """Return an effect of several proposals, which are judged in this order."""
        return cls(tuple(proposals), usage)


class Refusal(ConvergeError):
    """Raised by a suggestor that will not answer; recorded with the reason code ``refused``."""


class Suggestor:
    """The base of all suggestors.

    ``name`` is unique within a run. ``dependencies`` are the keys, payload classes or pairs of both whose new facts
    wake it; with none it is considered in every cycle. ``writes``, when not empty, are the only keys it may propose
    for. ``payloads`` are the classes it proposes, which a ledger is read with. ``version`` and ``config`` (JSON)
    identify its behaviour in the ledger. A suggestor that is ``optional`` may fail without stopping the run.
    ``authority`` and ``domains`` are what a flow gate is told about it. ``journal`` says whether its effects are
    written down as they arrive; None means yes unless it is deterministic. ``profile`` is what a formation chooses it
    by.
    """

    name: str
    dependencies: Iterable[Selector] = ()
    writes: Iterable[ContextKey] = ()
    payloads: Iterable[type[FactPayload]] = ()
    version: str = "1"
    config: object = None
    optional: bool = False
    replayability: Replayability = Replayability.DETERMINISTIC
    journal: bool | None = None
    authority: AuthorityLevel = AuthorityLevel.ADVISORY
    domains: Iterable[str] = ()
    profile: SuggestorProfile = NEUTRAL

    @property
    def provenance(self) -> str:
        """The provenance stamped on proposals that carry none."""
        return self.name

    def accepts(self, ctx: Context) -> bool:
        """Say whether the suggestor wants to run on this context. Pure: the same context, the same answer."""
        return True

    def execute(self, ctx: Context) -> AgentEffect | Awaitable[AgentEffect]:
        """Read the context and propose. May be a plain ``def`` or an ``async def``."""
        raise MisuseError(f"{type(self).__name__} does not define execute()")


Said = ProposedFact[Any] | Iterable[ProposedFact[Any]] | AgentEffect | None
SuggestorFunction = Callable[[Context], Said | Awaitable[Said] | AsyncIterable[ProposedFact[Any]]]


class FunctionSuggestor(Suggestor):
    """A function as a suggestor; made by `suggestor`. Calling it calls the function."""

    def __init__(self, function: SuggestorFunction, **attributes: Any) -> None:
        self.function = function
        for name, value in attributes.items():
            setattr(self, name, value)

    def __call__(self, ctx: Context) -> Said | Awaitable[Said] | AsyncIterable[ProposedFact[Any]]:
        return self.function(ctx)

    def execute(self, ctx: Context) -> AgentEffect | Awaitable[AgentEffect]:
        said = self.function(ctx)
        if isinstance(said, Awaitable):
            return _awaited(said)
        if isinstance(said, AsyncIterable):
            return _collected(said)
        return as_effect(said)


async def _awaited(said: Awaitable[Said]) -> AgentEffect:
    return as_effect(await said)


async def _collected(said: AsyncIterable[ProposedFact[Any]]) -> AgentEffect:
    return AgentEffect.with_proposals([proposal async for proposal in said])


def as_effect(said: Said) -> AgentEffect:
    """Turn what a suggestor function may return into an effect."""
    if said is None:
        return AgentEffect()
    if isinstance(said, AgentEffect):
        return said
    if isinstance(said, ProposedFact):
        return AgentEffect((said,))
    return AgentEffect(tuple(said))


@overload
def suggestor(function: SuggestorFunction, /) -> FunctionSuggestor: ...
@overload
def suggestor(
    *,
    reads: Selector | Iterable[Selector] = (),
    writes: ContextKey | Iterable[ContextKey] = (),
    payloads: Iterable[type[FactPayload]] = (),
    name: str | None = None,
    accepts: Callable[[Context], bool] | None = None,
    version: str = "1",
    optional: bool = False,
    replayability: Replayability = Replayability.DETERMINISTIC,
    journal: bool | None = None,
    authority: AuthorityLevel = AuthorityLevel.ADVISORY,
    domains: Iterable[str] = (),
    profile: SuggestorProfile = NEUTRAL,
) -> Callable[[SuggestorFunction], FunctionSuggestor]: ...
def suggestor(
    function: SuggestorFunction | None = None,
    /,
    *,
    reads: Selector | Iterable[Selector] = (),
    writes: ContextKey | Iterable[ContextKey] = (),
    payloads: Iterable[type[FactPayload]] = (),
    name: str | None = None,
    accepts: Callable[[Context], bool] | None = None,
    version: str = "1",
    optional: bool = False,
    replayability: Replayability = Replayability.DETERMINISTIC,
    journal: bool | None = None,
    authority: AuthorityLevel = AuthorityLevel.ADVISORY,
    domains: Iterable[str] = (),
    profile: SuggestorProfile = NEUTRAL,
) -> FunctionSuggestor | Callable[[SuggestorFunction], FunctionSuggestor]:
    """Make a suggestor of a function that returns, yields or awaits proposals.

    The name is the function's, with dashes. See `Suggestor` for the attributes.

    >>> @suggestor(reads=ContextKey.SEEDS, writes=ContextKey.SIGNALS)
    ... def echo(ctx):
    ...     for fact in ctx.fresh(ContextKey.SEEDS):
    ...         yield ProposedFact(ContextKey.SIGNALS, fact.id, fact.payload, evidence=[fact])
    """

    def decorate(function: SuggestorFunction) -> FunctionSuggestor:
        attributes: dict[str, Any] = {
            "name": name or getattr(function, "__name__", type(function).__name__).replace("_", "-"),
            "dependencies": (reads,) if is_selector(reads) else tuple(reads),  # type: ignore[arg-type]
            "writes": (writes,) if isinstance(writes, ContextKey) else tuple(writes),
            "payloads": tuple(payloads),
            "version": version,
            "optional": optional,
            "replayability": replayability,
            "journal": journal,
            "authority": authority,
            "domains": tuple(domains),
            "profile": profile,
        }
        if accepts is not None:
            attributes["accepts"] = accepts
        return FunctionSuggestor(function, **attributes)

    return decorate if function is None else decorate(function)


def is_selector(reads: object) -> bool:
    """Say whether something is a key, a payload class or a pair of both, and so what a suggestor may depend on."""
    if isinstance(reads, tuple):
        return len(reads) == 2 and isinstance(reads[0], ContextKey) and _is_payload(reads[1])
    return isinstance(reads, ContextKey) or _is_payload(reads)


def _is_payload(reads: object) -> bool:
    return isinstance(reads, type) and issubclass(reads, FactPayload) and reads is not FactPayload
