"""One message as an intent: who may be asked about it, and where the answer goes.

`converge chat-route` is a run like any other, of an intent that is made here. So what it records can be shown, verified
and replayed by the same commands, and there is no second way to a model.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, TypeVar

import click
from pydantic import SecretStr

from converge_adapters.backends.keys import find_key
from converge_adapters.backends.openai_compatible import ENDPOINTS
from converge_adapters.interrupts import unless_interrupted
from converge_adapters.plugin_loader import Offers
from converge_cli.output import json_line, safe, say
from converge_core.governance.negative_authority import DREAMER_SAFETY
from converge_core.llm.capacity import DreamerTier
from converge_core.llm.chat import OFFLINE
from converge_core.llm.errors import CallOutcome, StreamAborted

T = TypeVar("T")

DEFAULT_MODELS: Mapping[str, str] = {
    "anthropic": "claude-sonnet-4-5",
    "openai": "gpt-5-mini",
    "google": "gemini-2.5-flash",
    "groq": "llama-3.3-70b-versatile",
    "deepseek": "deepseek-chat",
}
"""What a provider is asked for where nobody names a model."""

OWN_SERVERS = frozenset({"ollama", "vllm"})
"""Servers of one's own: what they answer costs nothing, and which models they have only their owner knows."""

_MODEL = re.compile(r"(?P<use>[^:@]+)(:(?P<model>.+?))?(@(?P<url>https?://\S+))?")


@dataclass(frozen=True, slots=True)
class Asked:
    """A message, and what is known of it: the options of the command."""

    message: str
    agent: str
    kind: str
    user: str
    system: str
    tier: DreamerTier
    denials: tuple[str, ...]
    models: tuple[Mapping[str, Any], ...]
    order: str

    def document(self) -> dict[str, Any]:
        """Return the intent of the run."""
        config = {"agent": self.agent, "kind": self.kind, "order": self.order, "tier": self.tier.value}
        return {
            "intent": {"id": "chat", "objective": "Answer a message"},
            "budget": {"cycles": 4, "facts": 8},
            "denials": [DREAMER_SAFETY.id, *(name for name in self.denials if name != DREAMER_SAFETY.id)],
            "models": [dict(model) for model in self.models],
            "inputs": [{"key": "seeds", "payload": "text", "id": "message", "items": [{"text": self.message}]}],
            "suggestors": [{"use": "chat", "with": config | {"user": self.user, "system": self.system}}],
        }


def default_models(keys: Mapping[str, SecretStr]) -> Iterator[dict[str, Any]]:
    """Yield the models of the default chain: one of each provider whose key is there, and then the templates.

    ``keys`` are those that were given outright, by provider.
    """
    for provider in DEFAULT_MODELS:
        if find_key(provider, keys.get(provider)) is not None:
            yield model_of(provider)
    yield {"use": OFFLINE}


def model_of(spec: str, offers: Offers | None = None) -> dict[str, Any]:
    """Return the model that ``use[:model][@URL]`` names. Raises click.BadParameter.

    ``use`` is a backend, or a provider that speaks OpenAI's protocol.
    """
    found = _MODEL.fullmatch(spec)
    if found is None:
        raise click.BadParameter(f"{spec!r} is not of the form use[:model][@URL], such as anthropic:claude-sonnet-4-5")
    use, url = found["use"], found["url"]
    model = found["model"] or DEFAULT_MODELS.get(use)
    config = {name: value for name, value in (("model", model), ("base_url", url)) if value is not None}
    made: dict[str, Any] = {"use": use, "name": spec, "with": config}
    if use in ENDPOINTS:
        made = {"use": "openai-compatible", "name": spec, "with": {"provider": use, **config}}
        if model is None:
            raise click.BadParameter(f"which model is {use} to be asked for? Name it: {use}:MODEL")
    elif offers is not None:
        try:
            offers.backends.find(use)
        except LookupError as error:
            raise click.BadParameter(str(error.args[0])) from error
    return made | ({"price": {"input_usd": 0, "output_usd": 0}} if use in OWN_SERVERS else {})


class Reader:
    """Who reads the answer, on stdout: `converge_core.llm.chat.Line`. It also hears of attempts that fail on the way.

    ``gone`` says whether nobody reads any more, ``interrupted`` whether they have said that it is enough.
    """

    def __init__(self, out: IO[str], *, streams: bool, as_json: bool) -> None:
        self._out, self._streams, self._as_json = out, streams, as_json
        self._told = False
        self.gone = self.interrupted = False

    @property
    def streams(self) -> bool:
        """Whether the answer is told as it comes."""
        return self._streams

    async def tell(self, piece: str) -> None:
        """Write a piece. Raises StreamAborted where nobody reads it."""
        self._told = True
        try:
            self._write(json_line({"piece": piece}) + "\n" if self._as_json else safe(piece))
        except OSError as error:
            self.gone = True
            raise StreamAborted("the reader has gone") from error

    async def hold(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await a call; Ctrl-C hangs up."""
        try:
            return await unless_interrupted(call)
        except StreamAborted:
            self.interrupted = not self.gone
            raise

    def asking(self, agent: str, backend: str) -> None:
        """Begin anew."""
        self._told = False

    def asked(self, agent: str, backend: str, outcome: CallOutcome) -> None:
        """Say that what was told so far is not the answer, where an attempt failed after its first words."""
        if not self._told or outcome in (CallOutcome.SUCCESS, CallOutcome.ABORTED):
            return
        if self._as_json:
            self._write(json_line({"failed": backend, "outcome": outcome.value}) + "\n")
        else:
            say(f"\n{backend}: {outcome.value.replace('_', ' ')}; what it has said so far is no answer")

    def end(self, text: str) -> None:
        """Write the answer, or, where it was told already, end its line."""
        self._write(("" if self._streams else safe(text)) + "\n")

    def _write(self, text: str) -> None:
        click.echo(text, file=self._out, nl=False)


def models_of_options(
    specs: Sequence[str], offers: Offers, keys: Mapping[str, SecretStr]
) -> tuple[Mapping[str, Any], ...]:
    """Return the models that are asked: those named, or those of the default chain."""
    return tuple(model_of(spec, offers) for spec in specs) if specs else tuple(default_models(keys))
