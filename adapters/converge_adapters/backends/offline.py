"""The backend that is always there: it answers from templates, in this process, and costs nothing.

The kind of the answer is the request's ``prompt_version`` where that is one of the kinds, and else that of its
configuration. A request with a shape is given a value that fits it, made from the request's own words. Neither claims
any insight; both are the same for the same request, always and everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from converge_adapters.backends.fitting import fitting
from converge_adapters.backends.structured import check, require_schema, schema_of
from converge_core.context.allowance import Usage
from converge_core.ledger.canonical import canonical
from converge_core.llm.backend import BackendRequest, BackendResponse, Listener, MessageRole
from converge_core.llm.errors import Truncated
from converge_core.llm.profiles import ProviderProfile
from converge_core.suggestors.contract import Replayability

QUOTED = 90
"""So many characters of what was said are said back."""


class Kind(StrEnum):
    """What an offline answer is about."""

    DREAM = "dream"
    NOTE = "note"
    SYMBOL = "symbol"
    MIRROR = "mirror"
    EVENT = "event"
    LORE = "lore"
    CHARACTER = "character"
    PLACE = "place"


_TEMPLATES: Mapping[Kind, str] = {
    Kind.DREAM: "I keep this dream as you told it: “{}”. What of it was still there when you woke?",
    Kind.NOTE: "Noted, in your own words: “{}”.",
    Kind.SYMBOL: "A symbol stands out here: “{}”. Where have you met it before?",
    Kind.MIRROR: "What you say, held up to you: “{}”. Is it what you meant?",
    Kind.EVENT: "An event, set down in its place: “{}”. What came before it, and what came of it?",
    Kind.LORE: "This is part of the lore from now on: “{}”. Who was the first to tell it?",
    Kind.CHARACTER: "A character enters: “{}”. What do they want, and what is in their way?",
    Kind.PLACE: "A place takes shape: “{}”. Who goes there, and what do they find?",
}


class OfflineBackend:
    """Answers without a model."""

    def __init__(self, profile: ProviderProfile, kind: Kind = Kind.DREAM) -> None:
        self._profile = profile
        self._kind = kind

    @property
    def profile(self) -> ProviderProfile:
        """What is known of it."""
        return self._profile

    async def count_tokens(self, request: BackendRequest) -> int:
        """Return the words of the prompt."""
        return sum(words(message.content) for message in request.messages)

    async def complete(self, request: BackendRequest, listen: Listener | None = None) -> BackendResponse:
        """Answer. Raises InvalidRequest for a shape that is none, and Truncated where more words are needed."""
        require_schema(self._profile.id, request)
        text = self._answer(request)
        usage = Usage(await self.count_tokens(request), words(text))
        if usage.output_tokens > request.budgets.max_tokens:
            raise Truncated(self._profile.id, f"the answer has {usage.output_tokens} words")
        if listen is not None:
            await tell(text, listen)
        output, report = check(request, text)
        return BackendResponse(
            self._profile.id,
            self._profile.model,
            text,
            output,
            contract_report=report,
            usage=usage,
            replayability=Replayability.DETERMINISTIC,
        )

    async def aclose(self) -> None:
        """Do nothing: there is nothing to give back."""

    def _answer(self, request: BackendRequest) -> str:
        said = [message.content for message in request.messages if message.role is MessageRole.USER]
        words = " ".join((said or [message.content for message in request.messages])[-1].split())
        if request.shape is not None:
            return canonical(fitting(schema_of(request.shape), words))
        kind = Kind(request.prompt_version) if request.prompt_version in list(Kind) else self._kind
        return _TEMPLATES[kind].format(words[:QUOTED])


def words(text: str) -> int:
    """Return how many words there are in a text: the tokens of those who have no tokenizer."""
    return len(text.split())


async def tell(text: str, listen: Listener) -> None:
    """Tell a finished answer as if it came word by word."""
    for index, word in enumerate(text.split(" ")):
        await listen(f" {word}" if index else word)
