"""PCSF, the Provider Capacity State Format: which providers can be asked, and what is learned from asking them.

`registry` has the providers and their order, `tiers` what users are entitled to, `tasks` the contract of one task above
it all: where it may run, what it needs, and what must be shown before it counts as done. A run sees the providers
through the suggestor ``pcsf.capacity``.
"""

from __future__ import annotations

from converge_core import Catalog, PayloadRegistry, Suggestor, hookimpl
from converge_plugins.pcsf.suggestor import CapacityConfig, CapacitySignal, CapacitySuggestor


@hookimpl
def converge_register_suggestors(catalog: Catalog[Suggestor]) -> None:
    """Offer ``pcsf.capacity``."""
    catalog.add("pcsf.capacity", CapacitySuggestor, CapacityConfig, "Proposes which providers can be asked now.")


@hookimpl
def converge_register_payloads(registry: PayloadRegistry) -> None:
    """Register what it proposes."""
    registry.register(CapacitySignal)
