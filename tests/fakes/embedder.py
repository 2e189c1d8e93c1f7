"""An embedder that counts letters: words that share them point the same way."""

from __future__ import annotations

from collections.abc import Sequence


class FakeEmbedder:
    """Makes vectors of 27 numbers: how often each letter of English is there, and a constant."""

    id = "letters"
    settings_hash = "0" * 64

    def __init__(self, *, is_deterministic: bool = True) -> None:
        self.is_deterministic = is_deterministic
        self.calls: list[tuple[str, ...]] = []

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        self.calls.append(tuple(texts))
        return [vector_of(text) for text in texts]


def vector_of(text: str) -> list[float]:
    """Return the vector of a text."""
    return [float(text.lower().count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"] + [0.01]
