"""The validation ring: claims about files, each looked at in several independent ways, and a quorum that decides."""

from __future__ import annotations

from converge_core import Catalog, PayloadRegistry, Suggestor, hookimpl
from converge_core.validation import Claim, ValidationOutcome, ValidationVote, Validator
from converge_plugins.validation_ring.ring import Ring, RingConfig
from converge_plugins.validation_ring.validators import FileValidator, HashValidator, VersionControlValidator


@hookimpl
def converge_register_suggestors(catalog: Catalog[Suggestor]) -> None:
    """Offer ``ring``."""
    catalog.add("ring", Ring, RingConfig, "Validates claims about files, by independent validators and a quorum.")


@hookimpl
def converge_register_validators(registry: Catalog[Validator]) -> None:
    """Offer ``file``, ``version_control`` and ``hash``."""
    registry.add("file", FileValidator, summary="Whether the file is there, and not empty.")
    registry.add("version_control", VersionControlValidator, summary="Whether the file is tracked, and unchanged.")
    registry.add("hash", HashValidator, summary="Whether the file has the SHA-256 that the claim names.")


@hookimpl
def converge_register_payloads(registry: PayloadRegistry) -> None:
    """Register claims, votes and outcomes."""
    for payload in (Claim, ValidationVote, ValidationOutcome):
        registry.register(payload)
