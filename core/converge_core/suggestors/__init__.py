"""Suggestors: the contract, the decorator, the catalog, and two small ones to start with."""

from converge_core.suggestors.contract import AgentEffect, Refusal, Replayability, Suggestor, suggestor
from converge_core.suggestors.simple import ReactOnceSuggestor, SeedSuggestor

__all__ = [
    "AgentEffect",
    "ReactOnceSuggestor",
    "Refusal",
    "Replayability",
    "SeedSuggestor",
    "Suggestor",
    "suggestor",
]
