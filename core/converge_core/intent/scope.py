"""The scope of an intent: which things it is about, and so what a proposal may speak of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from converge_core.context.facts import AnyProposal
from converge_core.ledger.canonical import JsonValue


@dataclass(frozen=True, slots=True)
class Scope:
    """A set of ``(dimension, value)`` constraints, such as ``("product", "expenses")``. Empty: everything is in scope.

    A proposal that names a constrained dimension, as a field of its payload or as the kind of its subject, must name
    one of the values that the scope lists for it. One that does not name the dimension is in scope.
    """

    constraints: tuple[tuple[str, str], ...] = ()

    def excludes(self, proposal: AnyProposal) -> str | None:
        """Return why a proposal is out of scope, or None."""
        body = proposal.payload.body()
        for dimension in dict.fromkeys(name for name, _ in self.constraints):
            allowed = [value for name, value in self.constraints if name == dimension]
            named = body.get(dimension) if isinstance(body, Mapping) else None
            if named is None and proposal.subject is not None and proposal.subject.kind == dimension:
                named = proposal.subject.id
            if named is not None and named not in allowed:
                return f"{dimension} {named!r} is not among {', '.join(sorted(set(allowed)))}"
        return None

    def to_json(self) -> list[JsonValue]:
        """Return the constraints as they stand in an intent: one single-field object each."""
        return [{name: value} for name, value in self.constraints]
