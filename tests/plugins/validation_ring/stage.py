"""What the tests of the ring share: validators that are quickly cast, and a ring around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from converge_adapters.event_loop import run_async
from converge_core import (
    ContextKey,
    ContextState,
    ConvergeResult,
    DataPayload,
    Engine,
    Ledger,
    NoConfig,
    ProposedFact,
    Site,
)
from converge_core.deadlines import DEADLINES, Deadlines
from converge_core.repository import REPOSITORY, Revision
from converge_core.suggestors.catalog import Ports
from converge_core.validation import (
    VALIDATORS,
    Claim,
    Finding,
    ValidationOutcome,
    ValidationVote,
    Validator,
    ValidatorSection,
)
from converge_plugins.validation_ring.ring import Ring, RingConfig
from converge_plugins.validation_ring.validators import FileValidator, HashValidator, VersionControlValidator
from tests.fakes.deadlines import FakeDeadlines
from tests.fakes.repository import FakeRepository

KEY = ContextKey.CONSTRAINTS
SHIPPED: Mapping[str, Callable[[NoConfig, Site], Validator]] = {
    "file": FileValidator,
    "version_control": VersionControlValidator,
    "hash": HashValidator,
}


class Says:
    """A validator that always says the same, and notes which claims it was shown."""

    def __init__(self, strategy: str, said: bool | Exception) -> None:
        self.strategy, self._said = strategy, said
        self.asked: list[str] = []

    def validate(self, claim: Claim) -> Finding:
        self.asked.append(claim.claim)
        if isinstance(self._said, Exception):
            raise self._said
        return Finding(self._said, {"said": self._said})


def no_code(text: str) -> Callable[..., object]:
    raise LookupError(text)


def ring(
    validators: Mapping[str, Validator] | None = None,
    /,
    *,
    repository: FakeRepository | None = None,
    deadlines: Deadlines | None = None,
    **config: object,
) -> Ring:
    """A ring of these validators, or of those that ship, around a repository."""
    ports = Ports().offer(REPOSITORY, repository or FakeRepository()).offer(DEADLINES, deadlines or FakeDeadlines())

    def make(section: ValidatorSection) -> Validator:
        if validators is not None:
            return validators[section.use]
        return SHIPPED[section.use](NoConfig(), Site(section.voter, no_code, ports))

    names = {} if validators is None else {"validators": list(validators)}
    made = RingConfig.model_validate({"key": KEY} | names | config)
    return Ring(made, Site("ring", no_code, ports.offer(VALIDATORS, make)))


def claims(*rows: Mapping[str, str] | str) -> ContextState:
    """Claims c1, c2, ..., each the fields of a row or the path of a file."""
    context = ContextState()
    for number, row in enumerate(rows, 1):
        fields = {"path": row} if isinstance(row, str) else dict(row)
        body = {"claim": f"claim {number}", "path": "a.txt"} | fields
        context.add_proposal(ProposedFact(KEY, f"c{number}", DataPayload(data=body)))
    return context


def run(context: ContextState, one: Ring, ledger: Ledger | None = None) -> ConvergeResult:
    engine = Engine()
    engine.register_suggestor(one)

    async def converge() -> ConvergeResult:
        return await engine.run(context, run_id="run", ledger=ledger)

    return run_async(converge)


def votes(result: ConvergeResult, claim: str = "c1") -> dict[str, ValidationVote]:
    """The votes on a claim, by voter."""
    found = result.context.get(ContextKey.VOTES, ValidationVote)
    return {fact.payload.voter: fact.payload for fact in found if fact.payload.topic == f"{KEY}/{claim}"}


def outcomes(result: ConvergeResult) -> dict[str, ValidationOutcome]:
    """The outcomes, by claim, in the order in which they were stated."""
    assert result.converged, result.stop_reason
    found = result.context.get(ContextKey.CONSENSUS_OUTCOMES, ValidationOutcome)
    return {fact.payload.topic.removeprefix(f"{KEY}/"): fact.payload for fact in found}


def committed(*tracked: str, changed: Sequence[str] = ()) -> Revision:
    return Revision("c0ffee", frozenset(tracked), tuple(changed))
