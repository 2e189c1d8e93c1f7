"""Beliefs: how likely it is that something goes well, learned from what was seen (Beta-Bernoulli).

A belief begins with a prior, (1, 1) where nobody knows anything, and counts successes and failures by the id of the
evidence. So it does not matter in which order evidence comes in, nor how often the same piece does. The posterior mean
is alpha / (alpha + beta). The confidence is the share of it that comes from evidence and not from the prior: 0 where
nothing was seen, and growing with every piece, towards 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import fsum
from types import MappingProxyType
from typing import NamedTuple

from converge_core.errors import AdmissionError, MisuseError
from converge_core.ledger.canonical import JsonValue

DIMENSIONS = ("health", "animal", "ecosystem", "economy", "culture")
"""What the original holds beliefs about."""
MAX_WEIGHT = 1e6
"""The most that one piece of evidence, or one side of a prior, may weigh."""


class Evidence(NamedTuple):
    """That something was seen to go well, or not; ``id`` says which observation it was."""

    id: str
    success: bool
    weight: float = 1.0


def _is_weight(value: float) -> bool:
    return 0 < value <= MAX_WEIGHT


@dataclass(frozen=True, slots=True)
class Belief:
    """A belief about one thing. Raises MisuseError for a prior that is not above 0 and up to `MAX_WEIGHT`."""

    prior_alpha: float = 1.0
    prior_beta: float = 1.0
    evidence: Mapping[str, Evidence] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (_is_weight(self.prior_alpha) and _is_weight(self.prior_beta)):
            raise MisuseError(
                f"a prior is above 0 and up to {MAX_WEIGHT:.0f}, unlike ({self.prior_alpha}, {self.prior_beta})"
            )
        object.__setattr__(self, "evidence", MappingProxyType(dict(sorted(self.evidence.items()))))

    def observe(self, evidence: Iterable[Evidence]) -> Belief:
        """Return the belief after more evidence; what it rests on already changes nothing.

        Raises AdmissionError for evidence without an id, without a weight above 0 and up to `MAX_WEIGHT`, or that says
        something else than what is known under its id.
        """
        known = dict(self.evidence)
        for piece in evidence:
            if not piece.id.strip() or not _is_weight(piece.weight):
                raise AdmissionError(
                    f"evidence {piece.id!r:.80}: an id and a weight above 0, up to {MAX_WEIGHT:.0f}, are needed"
                )
            if known.setdefault(piece.id, piece) != piece:
                raise AdmissionError(f"evidence {piece.id!r:.80} is known, and says something else")
        return self if len(known) == len(self.evidence) else replace(self, evidence=known)

    @property
    def alpha(self) -> float:
        """The prior, and the weight of all successes."""
        return fsum([self.prior_alpha, *(each.weight for each in self.evidence.values() if each.success)])

    @property
    def beta(self) -> float:
        """The prior, and the weight of all failures."""
        return fsum([self.prior_beta, *(each.weight for each in self.evidence.values() if not each.success)])

    @property
    def mean(self) -> float:
        """The posterior mean, from 0 to 1."""
        return self.alpha / (self.alpha + self.beta)

    @property
    def confidence(self) -> float:
        """How much of the belief comes from evidence, from 0 to 1."""
        return 1 - (self.prior_alpha + self.prior_beta) / (self.alpha + self.beta)

    def to_json(self) -> dict[str, JsonValue]:
        """``{"prior": [alpha, beta], "evidence": {id: {"success": bool, "weight": number}}}``."""
        seen = {each.id: {"success": each.success, "weight": each.weight} for each in self.evidence.values()}
        return {"prior": [self.prior_alpha, self.prior_beta], "evidence": seen}

    @classmethod
    def from_json(cls, value: JsonValue) -> Belief:
        """Read what `to_json` wrote. Raises ValueError for anything else."""
        match value:
            case {
                "prior": [int() | float() as alpha, int() | float() as beta],
                "evidence": Mapping() as seen,
                **rest,
            } if not rest and not any(isinstance(each, bool) for each in (alpha, beta)):
                try:
                    return cls(float(alpha), float(beta)).observe(_read(id, piece) for id, piece in seen.items())
                except (AdmissionError, MisuseError, OverflowError) as error:
                    raise ValueError(f"no belief: {error}") from error
        raise ValueError("a belief has a prior of two numbers, and evidence by id")


NOTHING_SEEN = Belief()


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What is believed, by dimension. Of a dimension that nobody has observed, what a prior says."""

    by_dimension: Mapping[str, Belief] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_dimension", MappingProxyType(dict(sorted(self.by_dimension.items()))))

    def __getitem__(self, dimension: str) -> Belief:
        return self.by_dimension.get(dimension, NOTHING_SEEN)

    def observe(self, dimension: str, evidence: Iterable[Evidence]) -> Beliefs:
        """Return the beliefs after more evidence about a dimension. Raises AdmissionError."""
        return replace(self, by_dimension={**self.by_dimension, dimension: self[dimension].observe(evidence)})

    def to_json(self) -> dict[str, JsonValue]:
        """Return the beliefs as JSON, by dimension."""
        return {dimension: belief.to_json() for dimension, belief in self.by_dimension.items()}

    @classmethod
    def from_json(cls, value: JsonValue) -> Beliefs:
        """Read what `to_json` wrote. Raises ValueError for anything else."""
        if not isinstance(value, Mapping):
            raise ValueError("beliefs are an object, by dimension")
        return cls({dimension: Belief.from_json(belief) for dimension, belief in value.items()})


def _read(id: str, piece: JsonValue) -> Evidence:
    match piece:
        case {"success": bool(success), "weight": int() | float() as weight, **rest} if not rest:
            if not isinstance(weight, bool):  # which is an int to Python, but not to JSON
                return Evidence(id, success, float(weight))
    raise ValueError(f"evidence {id!r:.80} has a success, true or false, and a weight")
