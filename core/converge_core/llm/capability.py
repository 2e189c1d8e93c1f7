"""What a language model or its backend can do, in the words that tasks ask for it and `select` compares.

Three vocabularies that share no word: the kinds of work a model is able to do, the modalities it takes in, and how its
backend can be operated. So what is offered is one set, and what is needed another.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, TypeAlias

from pydantic import AfterValidator

from converge_core.errors import MisuseError


class CapabilityKind(StrEnum):
    """What a model is able to do."""

    COMPLETION = "completion"
    REASONING = "reasoning"
    TOOL_USE = "tool_use"
    STRUCTURED_OUTPUT = "structured_output"
    CODE = "code"
    CODE_EXECUTION = "code_execution"
    MULTILINGUAL = "multilingual"
    WEB_SEARCH = "web_search"
    CONTENT_GENERATION = "content_generation"
    BUSINESS_ACUMEN = "business_acumen"


class Modality(StrEnum):
    """What a model takes in."""

    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    STRUCTURED = "structured"


class BackendCapability(StrEnum):
    """How a backend can be operated: replayed, checked against contracts, without a network, as a stream."""

    REPLAY = "replay"
    STEP_CONTRACTS = "step_contracts"
    OFFLINE = "offline"
    STREAMING = "streaming"


Capability: TypeAlias = CapabilityKind | Modality | BackendCapability

_BY_WORD: dict[str, Capability] = {
    word.value: word for vocabulary in (CapabilityKind, Modality, BackendCapability) for word in vocabulary
}


def capability_of(word: str) -> Capability:
    """Return the capability of a name. Raises ValueError, with the nearest ones, for a name that none has."""
    if word in _BY_WORD:
        return _BY_WORD[word]
    from difflib import get_close_matches  # only a mistake needs it

    near = get_close_matches(word, _BY_WORD, n=2)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(_BY_WORD)}"
    raise ValueError(f"no backend has a capability {word!r}; {hint}")


CapabilityWord = Annotated[str, AfterValidator(lambda word: capability_of(word).value)]
"""The name of a capability, as a configuration holds it."""


@dataclass(frozen=True, slots=True)
class RequiredCapabilities:
    """What a task needs: all of these capabilities, and room for ``context_tokens``.

    Raises MisuseError for a negative number of tokens.
    """

    all_of: Set[Capability] = frozenset()
    context_tokens: int = 0

    def __post_init__(self) -> None:
        if self.context_tokens < 0:
            raise MisuseError(f"context_tokens is a number of tokens, not {self.context_tokens}")
        object.__setattr__(self, "all_of", frozenset(self.all_of))

    def missing(self, offered: Set[Capability]) -> tuple[str, ...]:
        """Return what is needed and not offered, in alphabetical order."""
        return tuple(sorted(self.all_of - offered))


NOTHING_NEEDED = RequiredCapabilities()
