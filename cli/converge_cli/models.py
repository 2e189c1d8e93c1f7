"""The models of an intent, put together: backends, what they cost, what they may be shown, what stands before them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from converge_core.intent.models import Denial, ModelSection, authority_gate
from converge_core.llm.backend import KEYS, Backend
from converge_core.llm.capacity import ALWAYS
from converge_core.llm.models import Model, Models, permitted
from converge_core.llm.prices import DeclaredPrice, Prices
from converge_core.llm.router import Candidate
from converge_core.ports import BLOBS, CLOCK, WATCHER
from converge_core.suggestors.catalog import Port, Ports

if TYPE_CHECKING:
    from pydantic import SecretStr

    from converge_plugins.pcsf.registry import ProviderRegistry

PROVIDERS: Port[ProviderRegistry] = Port("providers")
"""The registry of the providers, to which an intent may add some."""


def models_of(declared: Sequence[tuple[ModelSection, Backend]], denials: Iterable[Denial], ports: Ports) -> Models:
    """Return the models of an intent. Raises MisuseError for two denials of one name."""
    from converge_adapters.backends.prices import ListPrices
    from converge_adapters.clocks import wall_clock_ms
    from converge_adapters.event_loop import sleep_ms

    registry, listed = ports.find(PROVIDERS), ListPrices()
    given = ports.find(KEYS) if ports.offers(KEYS) else {}
    for section, backend in declared:
        register(registry, backend.profile.provider, section.with_.get("api_key_env"), given.get)
    registry.check_env(os.environ.get)
    authority = authority_gate(denials)
    return Models(
        [Model(Candidate(backend, _prices(section, listed)), section.data) for section, backend in declared],
        registry,
        ports.find(CLOCK),
        sleep_ms,
        (permitted(authority, wall_clock_ms),),
        ports.find(BLOBS) if ports.offers(BLOBS) else None,
        authority,
        ports.find(WATCHER) if ports.offers(WATCHER) else None,
    )


def register(
    registry: ProviderRegistry, provider: str, variable: str | None, given: Callable[[str], SecretStr | None]
) -> None:
    """Make a provider known to the registry, and whether its key is there: given, in the keyring or in a variable."""
    from converge_adapters.backends.keys import VARIABLES, find_key
    from converge_adapters.backends.prices import FREE_PROVIDERS

    name = variable or VARIABLES.get(provider)
    is_missing = name is not None and find_key(provider, given(provider), variable) is None
    registry.register(provider, name if is_missing else None, policy=ALWAYS if provider in FREE_PROVIDERS else None)


def _prices(section: ModelSection, listed: Prices) -> Prices:
    if section.price is None:
        return listed
    return DeclaredPrice(Decimal(str(section.price.input_usd)), Decimal(str(section.price.output_usd)))
