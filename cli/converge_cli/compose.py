"""The composition root: from an intent and the plugins' offers to an engine that can run it.

Every fault of an intent is found before anything is run or written, and all of them are reported at once, each with its
place in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from converge_adapters.code_loader import CodeLoader
from converge_adapters.documents import Document
from converge_adapters.plugin_loader import Offers
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
from converge_core.gates.checks import BUILTIN_CHECKS
from converge_core.intent.document import CriterionSection, InvariantSection, SuggestorSection
from converge_core.invariants import FunctionInvariant
from converge_core.suggestors.catalog import Catalog, Site

T = TypeVar("T")
Steps = tuple[str | int, ...]


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
    parsed = _parse(document)
    composer = _Composer(document, parsed, offers, folder)
    engine = composer.engine()
    context = ContextState()
    if with_inputs:
        stage_inputs(parsed.inputs, document, folder, offers.payloads, context, composer.problems)
    if composer.problems:
        raise IntentError(tuple(composer.problems))
    source = {"document": document.value, "folder": str(folder.resolve())}
    return Composition(engine, context, parsed.root_intent(), source)


def _parse(document: Document) -> IntentDocument:
    if not isinstance(document.value, Mapping):
        raise IntentError((document.problem((), "an intent is a mapping of sections, such as `intent:`"),))
    try:
        return IntentDocument.model_validate(document.value)
    except ValidationError as error:
        raise IntentError(tuple(problems_of(error, document, ()))) from error


def problems_of(error: ValidationError, document: Document, base: Steps) -> list[Problem]:
    """Return the faults that pydantic found in the value at ``base``, each with its place."""
    return [
        document.problem(
            base + fault["loc"],
            fault["msg"].removeprefix("Value error, "),
            of_key=fault["type"] == "extra_forbidden",
        )
        for fault in error.errors(include_url=False, include_input=False)
    ]


class _Composer:
    """Puts one engine together and collects what is wrong on the way."""

    def __init__(self, document: Document, parsed: IntentDocument, offers: Offers, folder: Path) -> None:
        self.document, self.parsed, self.offers = document, parsed, offers
        self.load = CodeLoader(folder)
        self.problems: list[Problem] = []

    def engine(self) -> Engine:
        """Return the engine, complete if there are no problems."""
        parsed = self.parsed
        evaluators: dict[str, CriterionEvaluator] = {}
        engine = Engine(
            hitl_policy=None if parsed.gates.hitl is None else parsed.gates.hitl.policy(),
            validation=parsed.gates.validation.policy(),
            conflict_policy=parsed.gates.conflict,
            payloads=self.offers.payloads,
            evaluator=_Evaluators(evaluators) if parsed.success else None,
        )
        self._checks(engine)
        for place, suggestor in enumerate(parsed.suggestors):
            self._suggestor(engine, suggestor, ("suggestors", place))
        for place, invariant in enumerate(parsed.invariants):
            self._invariant(engine, invariant, ("invariants", place))
        for place, criterion in enumerate(parsed.success):
            if criterion.id in evaluators:
                self._fault(("success", place, "id"), f"a criterion {criterion.id!r} stands above already")
            elif evaluator := self._condition(self.offers.criteria, criterion, criterion.id, ("success", place)):
                evaluators[criterion.id] = evaluator
        return engine

    def _checks(self, engine: Engine) -> None:
        for place, name in enumerate(self.parsed.gates.validation.require):
            path = ("gates", "validation", "require", place)
            if name not in BUILTIN_CHECKS and (check := self._made(self.offers.gates, name, {}, name, path, path)):
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
            return self._made(catalog, "cel", {"expression": section.cel}, name, (*path, "cel"), (*path, "cel"))
        return self._made(catalog, section.use or "", section.with_, name, (*path, "use"), (*path, "with"))

    def _made(
        self, catalog: Catalog[T], use: str, config: Mapping[str, Any], name: str, use_path: Steps, config_path: Steps
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
            self.problems += problems_of(error, self.document, config_path)
        except IntentError as error:  # a factory's own findings, each with its path inside the configuration
            for problem in error.problems:
                self._fault((*config_path, *filter(None, problem.path.split("."))), problem.message)
        except (ConvergeError, LookupError, ValueError, TypeError) as error:
            self._fault(config_path, str(error.args[0] if isinstance(error, LookupError) else error))
        return None

    def _fault(self, path: Sequence[str | int], message: str) -> None:
        self.problems.append(self.document.problem(path, message))
