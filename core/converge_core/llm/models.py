"""The models of a deployment: who there is, what each may be shown, and the router for a task that names some of them.

A model is shown data up to a classification, internal data unless it is said otherwise: nothing confidential leaves by
a model that nobody has trusted with it. Whoever asks says how confidential the data is; the router asks it of every
candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import NamedTuple

from converge_core.governance.negative_authority import AuthorityGate
from converge_core.llm.blobs import Blobs
from converge_core.llm.capacity import Capacity
from converge_core.llm.profiles import ProviderProfile
from converge_core.llm.router import Candidate, Objection, Ordering, Router, RouteTask, Sleep, Watcher, as_declared
from converge_core.llm.routing import DataClassification, RoutingPolicy
from converge_core.llm.selection import SelectionCriteria, select

CLASSIFICATION, NEGATIVE_AUTHORITY, SELECTION = "classification", "negative_authority", "selection"


class Model(NamedTuple):
    """A model that may be asked, and the most confidential data that it may be shown."""

    candidate: Candidate
    data: DataClassification = DataClassification.INTERNAL


@dataclass(frozen=True, slots=True)
class Models:
    """All models of a deployment. ``objections`` are what else stands between a task and a model: authority, claims.

    ``authority`` is the gate of the denials that are among them; ``watcher`` is told whom a router asks.
    """

    models: Sequence[Model]
    capacity: Capacity
    clock: Callable[[], int]
    sleep: Sleep
    objections: Sequence[Objection] = ()
    blobs: Blobs | None = None
    authority: AuthorityGate = AuthorityGate()
    watcher: Watcher | None = None

    async def aclose(self) -> None:
        """Give back all connections, on the event loop where they were made; who is asked after that makes new ones."""
        async with AsyncExitStack() as stack:  # which sees to all of them, whatever one of them raises
            for model in self.models:
                stack.push_async_callback(model.candidate.backend.aclose)

    def router(
        self, names: Sequence[str] = (), criteria: SelectionCriteria | None = None, *, keep_exchange: bool = False
    ) -> Router:
        """Return the router over the models of these names, in this order; over all of them, where none is named.

        With ``criteria`` those that do not satisfy them are skipped, and the others asked in the order of their
        fitness. Raises LookupError for a name that nobody has, for no model at all, and where the exchange is to be
        kept and nothing is there to keep it.
        """
        by_id = {model.candidate.id: model for model in self.models}
        for name in names:
            if name not in by_id:
                raise LookupError(f"there is no model {name!r}; there is {', '.join(by_id) or 'none'}")
        chosen = [by_id[name] for name in names] if names else list(self.models)
        if not chosen:
            raise LookupError("there are no models: the intent declares them under `models`")
        if keep_exchange and self.blobs is None:
            raise LookupError("there is no place for full exchanges here")
        objections = [classified({model.candidate.id: model.data for model in chosen}), *self.objections]
        ordering: Ordering = as_declared
        if criteria is not None:
            satisfying, ordering = selected(criteria)
            objections.append(satisfying)
        return Router(
            [model.candidate for model in chosen],
            self.capacity,
            self.clock,
            self.sleep,
            objections,
            ordering,
            self.blobs if keep_exchange else None,
            self.watcher,
        )


def classified(allowed: dict[str, DataClassification]) -> Objection:
    """Return the gate that shows data to those alone who may see it."""

    def against(profile: ProviderProfile, task: RouteTask) -> str | None:
        if task.data.rank <= allowed[profile.id].rank:
            return None
        return f"it may be shown {allowed[profile.id]} data, and this is {task.data}"

    return Objection(CLASSIFICATION, against)


def permitted(gate: AuthorityGate, clock: Callable[[], int]) -> Objection:
    """Return the gate of negative authority, asked about each candidate; ``clock`` is the time of day, in ms."""

    def against(profile: ProviderProfile, task: RouteTask) -> str | None:
        return gate.check_candidate(task.action, profile, task.labels, task.tier, clock()).objection

    return Objection(NEGATIVE_AUTHORITY, against)


def selected(criteria: SelectionCriteria) -> tuple[Objection, Ordering]:
    """Return the gate of those who satisfy criteria, and the order of their fitness."""
    everybody = RoutingPolicy.open_to_all()

    def against(profile: ProviderProfile, task: RouteTask) -> str | None:
        (judged,) = select(criteria, [profile], everybody).candidates
        return "; ".join(map(str, judged.reasons)) or None

    def ordering(profiles: Sequence[ProviderProfile], task: RouteTask) -> Sequence[str]:
        return [judged.id for judged in select(criteria, profiles, everybody).candidates]

    return Objection(SELECTION, against), ordering
