"""From candidates to a decision: eligibility, scores, roles. Pure; the same candidates give the same decision.

A candidate is eligible if it has every capability that the formation requires, if some backend can do all that it needs
one for, and if nothing else stands in its way. Roles are filled by maximum matching, each by a member of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from converge_core.formations.decision import CandidateRefusal, CandidateScore, FormationDecision, RoleAssignment
from converge_core.formations.kinds import (
    DeliberatedFormation,
    Formation,
    FormationKind,
    OpenClawFormation,
    ScoredFormation,
    ScoringWeights,
    StaticFormation,
)
from converge_core.formations.matching import maximum_matching
from converge_core.formations.profiles import SuggestorProfile
from converge_core.llm.profiles import ProviderProfile

DIGITS = 6
"""Of scores and means: beyond them, floating point would decide between equals."""


class Candidate(NamedTuple):
    """A suggestor that could be asked, and what stands in its way, if anything does."""

    name: str
    profile: SuggestorProfile
    obstacle: str | None = None


def obstacle(profile: SuggestorProfile, capabilities: Iterable[str], backends: Iterable[ProviderProfile]) -> str | None:
    """Return why a suggestor of this profile cannot be a member, or None: a capability, or a backend, is missing."""
    missing = sorted(set(capabilities).difference(profile.capabilities))
    if missing:
        return f"lacks {', '.join(missing)}"
    needs = profile.needs
    if needs.all_of and all(needs.missing(backend.capabilities) for backend in backends):
        return f"no backend offers {', '.join(sorted(needs.all_of))}"
    return None


def score(weights: ScoringWeights, profile: SuggestorProfile, roles: Collection[str], confidence: float) -> float:
    """Return the weighted mean of how cheap, fast and sure a candidate is, and of how many of the roles it can play."""
    required = set(roles)
    fit = len(required.intersection(profile.roles)) / len(required) if required else 1.0
    parts = (
        (weights.cost, profile.cheapness),
        (weights.latency, profile.speed),
        (weights.confidence, confidence),
        (weights.role_coverage, fit),
    )
    return round(sum(weight * part for weight, part in parts) / weights.total, DIGITS)


def choose(formation: Formation, candidates: Sequence[Candidate], attempt: int = 0) -> FormationDecision:
    """Return the decision with which a formation begins; of an open one, with which an attempt begins, from 0 on."""
    match formation:
        case StaticFormation():
            return _decision(formation, candidates, _of(candidates, formation.names), "named by the intent")
        case ScoredFormation():
            ranked = _ranked(formation, candidates, {each.name: each.profile.confidence for each in candidates})
            members = _best(formation, ranked)
            rationale = f"the best {formation.top_n} by {_said(formation.weights)}"
            return _decision(formation, candidates, members, rationale, scores=tuple(scored for _, scored in ranked))
        case DeliberatedFormation():
            rationale = f"a huddle of at most {formation.huddle_max_cycles} cycles"
            return _decision(formation, candidates, [each for each in candidates if each.obstacle is None], rationale)
        case OpenClawFormation():
            members = _of(candidates, formation.variants[attempt])
            rationale = f"variant {attempt + 1} of {len(formation.variants)}"
            return _decision(formation, candidates, members, rationale, variant=attempt + 1)


def deliberate(
    formation: DeliberatedFormation, candidates: Sequence[Candidate], shown: Mapping[str, float]
) -> FormationDecision:
    """Return the decision at the end of a huddle; ``shown`` is the mean confidence of the facts of each suggestor.

    One without facts is not in it, and has shown nothing.
    """
    least = formation.min_confidence_threshold
    judged = [each._replace(obstacle=each.obstacle or _doubt(shown.get(each.name), least)) for each in candidates]
    ranked = _ranked(formation, judged, shown)
    rationale = f"a mean confidence of at least {least} in the huddle, by {_said(formation.weights)}"
    scores = tuple(scored for _, scored in ranked)
    least_sure = min((scored.confidence for scored in scores), default=0.0)
    return _decision(formation, judged, [each for each, _ in ranked], rationale, scores=scores, confidence=least_sure)


def _doubt(shown: float | None, least: float) -> str | None:
    if shown is None:
        return "no fact of its own came out of the huddle"
    return f"a mean confidence of {shown} is below {least}" if shown < least else None


def _ranked(
    formation: ScoredFormation | DeliberatedFormation, candidates: Iterable[Candidate], sure: Mapping[str, float]
) -> list[tuple[Candidate, CandidateScore]]:
    """Return the eligible with their scores, best first; of equals, whoever was named first."""
    ranked = []
    for each in candidates:
        if each.obstacle is None:
            confidence = sure[each.name]
            points = score(formation.weights, each.profile, formation.roles, confidence)
            ranked.append((each, CandidateScore(each.name, points, confidence)))
    return sorted(ranked, key=lambda pair: -pair[1].score)


def _best(formation: ScoredFormation, ranked: Sequence[tuple[Candidate, CandidateScore]]) -> list[Candidate]:
    """Return as many as are wanted: first those who fill roles, by score, then the others, by score."""
    players = sorted(maximum_matching(_playable(formation.roles, [each for each, _ in ranked])))
    others = [place for place in range(len(ranked)) if place not in players]
    return [ranked[place][0] for place in sorted([*players, *others][: formation.top_n])]


def _of(candidates: Iterable[Candidate], names: Iterable[str]) -> list[Candidate]:
    by_name = {each.name: each for each in candidates if each.obstacle is None}
    return [by_name[name] for name in names if name in by_name]


def _playable(roles: Sequence[str], members: Iterable[Candidate]) -> list[list[int]]:
    return [[place for place, role in enumerate(roles) if role in each.profile.roles] for each in members]


def _decision(
    formation: Formation,
    candidates: Sequence[Candidate],
    members: Sequence[Candidate],
    rationale: str,
    *,
    scores: tuple[CandidateScore, ...] = (),
    variant: int | None = None,
    confidence: float = 1.0,
) -> FormationDecision:
    """Give the roles to the members, and put down all of it. Nobody at all is no formation to be sure of."""
    roles = formation.roles
    role_of = maximum_matching(_playable(roles, members))
    player_of = {role: members[player].name for player, role in role_of.items()}
    coverage = round(len(player_of) / len(roles), DIGITS) if roles else 1.0
    return FormationDecision(
        kind=FormationKind(formation.kind),
        candidates=tuple(each.name for each in candidates),
        selected=tuple(each.name for each in members),
        rationale=rationale,
        confidence=min(confidence, coverage) if members else 0.0,
        coverage=coverage,
        assignments=tuple(RoleAssignment(roles[place], player_of[place]) for place in sorted(player_of)),
        unmatched_roles=tuple(role for place, role in enumerate(roles) if place not in player_of),
        scores=scores,
        refused=tuple(CandidateRefusal(each.name, each.obstacle) for each in candidates if each.obstacle is not None),
        variant=variant,
    )


def _said(weights: ScoringWeights) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in weights)
