"""Dilation: how much execution slows down where it is unsure of itself, and how it gets out of there.

    D = (1 + uncertainty) / ((1 + confidence) * (1 + cost pressure)), drawn towards `D_MIN` by the proximity of collapse

D is 1 for what nothing is known of, above it where uncertainty prevails, and below it where there is confidence, or no
money to spend. A `DilationField` holds it for each node of a graph. A field is a value: what a tick has observed makes
the next one, and the last observation replaces the one before. Where a node dwells in high dilation for too many ticks
in a row, D collapses to `D_MIN` for one tick: who has thought for so long has to act.

`ConvergenceGuard` is the other brake: it notices when the same swap is made again and again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isnan
from types import MappingProxyType
from typing import NamedTuple

from converge_core.errors import MisuseError

D_MIN, D_MAX, D_DEFAULT = 0.1, 5.0, 1.0
DEEP = 3.0
"""The dilation from which grounding goes deep."""


def dilation(uncertainty: float, cost_pressure: float, confidence: float, proximity: float = 0.0) -> float:
    """Return D, from `D_MIN` to `D_MAX`. The arguments are taken as if within 0 to 1; NaN raises MisuseError.

    With uncertainty D rises; with cost pressure, confidence and the proximity of collapse it falls.
    """
    u, p, c, near = (_share(value) for value in (uncertainty, cost_pressure, confidence, proximity))
    d = (1 + u) / ((1 + c) * (1 + p))
    return min(max((1 - near) * d + near * D_MIN, D_MIN), D_MAX)


def _share(value: float) -> float:
    if isnan(value):
        raise MisuseError("dilation: not a number is no share of anything")
    return min(max(value, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Signals:
    """What was observed of a node in a tick, each as a share from 0 to 1. The defaults say that nothing was."""

    uncertainty: float = 0.5
    cost_pressure: float = 0.0
    confidence: float = 0.5
    proximity: float = 0.0

    @classmethod
    def of_health(cls, health: float | None, latency_ratio: float | None) -> Signals:
        """Return the signals of a health (0 to 1) and of the latency in relation to its target, 1 being on it.

        Without one of them nothing was observed: what is unknown is neither well nor ill.
        """
        if health is None or latency_ratio is None:
            return cls()
        pressure = max(0.0, 1 - 1 / max(latency_ratio, 0.01))
        return cls(1 - health, pressure, health * max(0.0, 1 - abs(latency_ratio - 1)))

    @property
    def dilation(self) -> float:
        """The D of these signals alone."""
        return dilation(self.uncertainty, self.cost_pressure, self.confidence, self.proximity)


class NodeState(NamedTuple):
    """What the field holds of a node: its last signals, its D, and for how many ticks D has been high."""

    signals: Signals
    value: float
    dwell: int


@dataclass(frozen=True, slots=True)
class DilationField:
    """The D of every node. A node that dwells at ``dwell_threshold`` or above collapses after ``max_dwell_ticks``.

    Raises MisuseError for a negative number of ticks.
    """

    max_dwell_ticks: int = 8
    dwell_threshold: float = 1.5
    nodes: Mapping[str, NodeState] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_dwell_ticks < 0:
            raise MisuseError(f"dilation: the dwell is a number of ticks, not {self.max_dwell_ticks}")
        object.__setattr__(self, "nodes", MappingProxyType(dict(self.nodes)))

    def observe(self, observed: Mapping[str, Signals]) -> DilationField:
        """Return the field after a tick, of which these are the observations by node. The others stay as they are."""
        return replace(self, nodes={**self.nodes, **{node: self._next(node, each) for node, each in observed.items()}})

    def get(self, node: str) -> float:
        """Return the D of a node; `D_DEFAULT` for one that was never observed."""
        state = self.nodes.get(node)
        return D_DEFAULT if state is None else state.value

    def snapshot(self) -> dict[str, float]:
        """Return D by node."""
        return {node: state.value for node, state in self.nodes.items()}

    def _next(self, node: str, signals: Signals) -> NodeState:
        value, before = signals.dilation, self.nodes.get(node)
        if value < self.dwell_threshold:
            return NodeState(signals, value, 0)
        dwell = 1 + (0 if before is None else before.dwell)
        return NodeState(signals, D_MIN, 0) if dwell > self.max_dwell_ticks else NodeState(signals, value, dwell)


class Grounding(NamedTuple):
    """How much is to be looked up before anything is said."""

    fetch_external: bool
    max_results: int
    min_sources: int
    deep_mode: bool


def grounding_policy(value: float, base_max_results: int = 5, base_min_sources: int = 2) -> Grounding:
    """Return how much is to be looked up at a dilation: nothing when sure, the more the less sure, deep from `DEEP`."""
    d = min(max(value, D_MIN), D_MAX)
    if d <= D_DEFAULT:
        return Grounding(d > D_DEFAULT / 2, base_max_results, base_min_sources, False)
    return Grounding(True, round(base_max_results * d), base_min_sources + (d >= DEEP), d >= DEEP)


class Swapped(NamedTuple):
    """That one node was put in the place of another, and at which tick."""

    old: str
    new: str
    tick: int


@dataclass(frozen=True, slots=True)
class ConvergenceGuard:
    """Remembers the swaps of the last ``window_ticks``: ``max_swaps`` of the same one, in one direction, oscillate.

    Raises MisuseError for less than one swap, or a negative window.
    """

    max_swaps: int = 3
    window_ticks: int = 10
    swaps: tuple[Swapped, ...] = ()

    def __post_init__(self) -> None:
        if self.max_swaps < 1 or self.window_ticks < 0:
            raise MisuseError("swap guard: at least one swap, in a window of ticks, is needed")

    def record(self, old: str, new: str, tick: int) -> ConvergenceGuard:
        """Return the guard after a swap; what is out of the window is forgotten."""
        recent = tuple(swap for swap in self.swaps if tick - swap.tick <= self.window_ticks)
        return replace(self, swaps=(*recent, Swapped(old, new, tick)))

    def is_oscillating(self, old: str, new: str, tick: int) -> bool:
        """Say whether a swap has been made so often that it is not to be made again now."""
        made = sum((swap.old, swap.new) == (old, new) for swap in self.swaps if tick - swap.tick <= self.window_ticks)
        return made >= self.max_swaps

    def reset(self, old: str, new: str) -> ConvergenceGuard:
        """Return the guard without the memory of a swap."""
        return replace(self, swaps=tuple(swap for swap in self.swaps if (swap.old, swap.new) != (old, new)))
