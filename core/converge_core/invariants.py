"""Invariants: what must hold, whoever proposes what.

*Structural* ones are checked after every merge, *semantic* ones after every cycle that changed something, *acceptance*
ones at the fixed point. A violation stops the run with a diagnostic fact that names the facts at fault. ``check`` is
given a context whose ``fresh`` holds only what is new since it last passed, so that it need not look at everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from converge_core.context.facts import AnyFact, Fact
from converge_core.context.state import Context
from converge_core.ledger.canonical import canonical
from converge_core.ledger.events import printable


class InvariantClass(StrEnum):
    """When an invariant is checked."""

    STRUCTURAL = "structural"
    SEMANTIC = "semantic"
    ACCEPTANCE = "acceptance"


@dataclass(frozen=True, slots=True)
class Violation:
    """Why an invariant does not hold, and the facts (``key/id``) that show it."""

    reason: str
    facts: tuple[str, ...] = ()

    @classmethod
    def with_facts(cls, reason: str, facts: Iterable[AnyFact | str]) -> Violation:
        """Return a violation that names facts, given as themselves or as ``key/id``."""
        return cls(reason, tuple(fact.ref if isinstance(fact, Fact) else fact for fact in facts))


InvariantCheck = Callable[[Context], Violation | str | None]
"""A condition as a function: it returns None when it holds, else a reason or a `Violation`. Pure."""


class Invariant(Protocol):
    """A named condition. ``check`` returns None when it holds; it is pure. One that raises does not hold."""

    @property
    def name(self) -> str:
        """Its name, unique within its class."""
        ...

    @property
    def invariant_class(self) -> InvariantClass:
        """When it is checked."""
        ...

    def check(self, ctx: Context) -> Violation | None:
        """Return the violation, or None."""
        ...


@dataclass(frozen=True, slots=True)
class FunctionInvariant:
    """A function as an invariant: it returns None, a reason, or a `Violation`."""

    name: str
    invariant_class: InvariantClass
    function: InvariantCheck

    def check(self, ctx: Context) -> Violation | None:
        """Return the violation, or None."""
        found = self.function(ctx)
        return Violation(found) if isinstance(found, str) else found


def examine(invariant: Invariant, ctx: Context) -> Violation | None:
    """Check an invariant: what cannot be checked, or answers with anything but None, does not hold."""
    try:
        found: object = invariant.check(ctx)
        if found is None:
            return None
        if not isinstance(found, Violation):
            return Violation(f"the check returned a {type(found).__name__}, not None or a Violation")
        violation = Violation.with_facts(printable(found.reason), found.facts)
        canonical(violation.facts)  # refuses what the ledger cannot hold
        return violation
    except Exception as error:
        return Violation(printable(f"the check raised {type(error).__name__}: {error}"))


def structural(function: InvariantCheck) -> FunctionInvariant:
    """Make a structural invariant of a function, named after it."""
    return FunctionInvariant(_name(function), InvariantClass.STRUCTURAL, function)


def semantic(function: InvariantCheck) -> FunctionInvariant:
    """Make a semantic invariant of a function, named after it."""
    return FunctionInvariant(_name(function), InvariantClass.SEMANTIC, function)


def acceptance(function: InvariantCheck) -> FunctionInvariant:
    """Make an acceptance invariant of a function, named after it."""
    return FunctionInvariant(_name(function), InvariantClass.ACCEPTANCE, function)


def _name(function: Callable[..., object]) -> str:
    return getattr(function, "__name__", type(function).__name__).replace("_", "-")
