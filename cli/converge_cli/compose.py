"""The composition root: from an intent and the plugins' offers to an engine that can run it.

Every fault of an intent is found before anything is run or written, and all of them are reported at once, each with its
place in the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from converge_adapters.code_loader import CodeLoader
from converge_adapters.documents import Document
from converge_adapters.plugin_loader import Offers
from converge_cli.faults import Steps, faults_of, nearest
from converge_cli.inputs import stage_inputs
from converge_core import (
    ContextState,
    ConvergeError,
    Criterion,
    CriterionEvaluator,
    CriterionResult,
    Engine,
    IntentDocument,
    IntentError,
    Problem,
    RootIntent,
)
from converge_core.context.state import Context
from converge_core.engine.engine import INPUT
from converge_core.gates.checks import BUILTIN_CHECKS
from converge_core.intent.document import (
    CriterionSection,
    GatesSection,
    InputSection,
    InvariantSection,
    SuggestorSection,
)
from converge_core.invariants import FunctionInvariant
from converge_core.suggestors.catalog import Catalog, Site

T = TypeVar("T")
S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Composition:
    """An intent ready to run; ``source`` is what the ledger keeps to set the same engine up again."""

    engine: Engine
    context: ContextState
    intent: RootIntent
    source: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Evaluators:
    """The evaluators of an intent's criteria, each asked for its own."""

    by_id: Mapping[str, CriterionEvaluator]

    def evaluate(self, criterion: Criterion, ctx: Context) -> CriterionResult:
        return self.by_id[criterion.id].evaluate(criterion, ctx)


def compose(document: Document, offers: Offers, folder: Path, *, with_inputs: bool = True) -> Composition:
    """Make an engine of an intent. Raises IntentError with every fault.

    ``with_inputs`` False leaves the inputs unread, for a run whose ledger has them already.
    """
    composer = _Composer(document, offers, folder)
    parsed = composer.parsed()
    engine = composer.engine()
    context = ContextState()
    if with_inputs:
        sections = composer.members("inputs", InputSection)
        stage_inputs(sections, document, folder, offers.payloads, context, composer.problems)
    if parsed is None or composer.problems:
        raise IntentError(tuple(sorted(composer.problems, key=composer.order)))
    source = {"document": document.value, "folder": str(folder.resolve())}
    return Composition(engine, context, parsed.root_intent(), source)


class _Composer:
    """Puts one engine together and collects what is wrong on the way.

    A section that is not well-formed is left out, and what can be said about the others is said all the same.
    """

    def __init__(self, document: Document, offers: Offers, folder: Path) -> None:
        if not isinstance(document.value, Mapping):
            raise IntentError((document.problem((), "an intent is a mapping of sections, such as `intent:`"),))
        self.document, self.value, self.offers = document, document.value, offers
        self.load = CodeLoader(folder)
        self.problems: list[Problem] = []

    def parsed(self) -> IntentDocument | None:
        """Return the file as a whole, if it is well-formed and its sections fit together."""
        try:
            parsed = IntentDocument.model_validate(self.value)
        except ValidationError as error:
            self.problems += faults_of(error, self.document, (), IntentDocument)
            return None
        self._names(parsed)
        return parsed

    def members(self, name: str, model: type[S]) -> Iterator[tuple[int, S]]:
        """Yield the well-formed members of a list of sections, each with its place in the list."""
        listed = self.value.get(name)
        for place, item in enumerate(listed if isinstance(listed, list) else ()):
            with suppress(ValidationError):
                yield place, model.model_validate(item)

    def order(self, problem: Problem) -> tuple[bool, str, int, int]:
        """Sort faults as they stand: those of the intent first, then those of the files that it names."""
        return problem.file != self.document.file, problem.file, problem.line, problem.column

    def engine(self) -> Engine:
        """Return the engine, complete if there are no problems."""
        gates = self._gates()
        evaluators: dict[str, CriterionEvaluator] = {}
        engine = Engine(
            hitl_policy=None if gates.hitl is None else gates.hitl.policy(),
            validation=gates.validation.policy(),
            conflict_policy=gates.conflict,
            payloads=self.offers.payloads,
            evaluator=_Evaluators(evaluators) if self.value.get("success") else None,
        )
        self._checks(engine, gates.validation.require)
        for place, suggestor in self.members("suggestors", SuggestorSection):
            self._suggestor(engine, suggestor, ("suggestors", place))
        for place, invariant in self.members("invariants", InvariantSection):
            self._invariant(engine, invariant, ("invariants", place))
        for place, criterion in self.members("success", CriterionSection):
            if criterion.id in evaluators:
                self._fault(("success", place, "id"), f"a criterion {criterion.id!r} stands above already")
            elif evaluator := self._condition(self.offers.criteria, criterion, criterion.id, ("success", place)):
                evaluators[criterion.id] = evaluator
        return engine

    def _gates(self) -> GatesSection:
        try:
            return GatesSection.model_validate(self.value.get("gates", {}))
        except ValidationError:
            return GatesSection()

    def _names(self, parsed: IntentDocument) -> None:
        """Demand that whoever is named in one section stands in another: a gate for nobody would let everybody pass."""
        names = [INPUT, *(section.name or section.use for section in parsed.suggestors)]
        for place, name in enumerate(parsed.gates.hitl.suggestors if parsed.gates.hitl is not None else ()):
            if name not in names:
                self._fault(("gates", "hitl", "suggestors", place), f"no suggestor {name!r}{nearest(name, names)}")
        packs = [section.pack for section in parsed.suggestors if section.pack is not None]
        for place, pack in enumerate(parsed.packs):
            if pack not in packs:
                self._fault(("packs", place), f"no suggestor is of the pack {pack!r}{nearest(pack, packs)}")

    def _checks(self, engine: Engine, required: Sequence[str]) -> None:
        for place, name in enumerate(required):
            path = ("gates", "validation", "require", place)
            check = self._made(self.offers.gates, name, {}, name, path, path)
            if name in required[:place]:
                self._fault(path, f"the check {name!r} stands above already")
            elif check is not None and name not in BUILTIN_CHECKS:
                engine.register_check(name, check)

    def _suggestor(self, engine: Engine, section: SuggestorSection, path: Steps) -> None:
        name = section.name or section.use
        suggestor = self._made(
            self.offers.suggestors, section.use, section.with_, name, (*path, "use"), (*path, "with")
        )
        if suggestor is None:
            return
        suggestor.optional = section.optional or suggestor.optional
        try:
            engine.register_suggestor(suggestor, section.pack)
        except ConvergeError as error:
            self._fault((*path, "name"), str(error))

    def _invariant(self, engine: Engine, section: InvariantSection, path: Steps) -> None:
        check = self._condition(self.offers.invariants, section, section.name, path)
        if check is not None:
            try:
                engine.register_invariant(FunctionInvariant(section.name, section.class_, check))
            except ConvergeError as error:
                self._fault((*path, "name"), str(error))

    def _condition(
        self, catalog: Catalog[T], section: InvariantSection | CriterionSection, name: str, path: Steps
    ) -> T | None:
        """Make a condition; ``cel: text`` is short for ``use: cel`` with that expression."""
        if section.cel is not None:
            at = (*path, "cel")
            return self._made(catalog, "cel", {"expression": section.cel}, name, at, at, skip=1)
        return self._made(catalog, section.use or "", section.with_, name, (*path, "use"), (*path, "with"))

    def _made(
        self,
        catalog: Catalog[T],
        use: str,
        config: Mapping[str, Any],
        name: str,
        use_path: Steps,
        config_path: Steps,
        skip: int = 0,
    ) -> T | None:
        """Make an entry of a catalog, or note what is wrong with its name, its configuration or its making."""
        try:
            entry = catalog.find(use)
        except LookupError as error:
            self._fault(use_path, str(error.args[0]))
            return None
        try:
            return entry.factory(entry.config.model_validate(config), Site(name, self.load))
        except ValidationError as error:
            self.problems += faults_of(error, self.document, config_path, entry.config, skip)
        except IntentError as error:  # a factory's own findings, each with its path inside the configuration
            for problem in error.problems:
                self._fault((*config_path, *filter(None, problem.path.split("."))), problem.message)
        except (ConvergeError, LookupError, ValueError, TypeError) as error:
            self._fault(config_path, str(error.args[0] if isinstance(error, LookupError) else error))
        return None

    def _fault(self, path: Sequence[str | int], message: str) -> None:
        self.problems.append(self.document.problem(path, message))
