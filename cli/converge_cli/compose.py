"""The composition root: from an intent and the plugins' offers to an engine that can run it.

Every fault of an intent is found before anything is run or written, and all of them are reported at once, each with its
place in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from converge_adapters.code_loader import CodeLoader
from converge_adapters.documents import Document
from converge_adapters.plugin_loader import Offers
from converge_adapters.repository import FolderRepository
from converge_cli.faults import Steps, faults_of, nearest
from converge_cli.inputs import stage_inputs
from converge_cli.models import PROVIDERS, models_of
from converge_cli.truths import FoundTruth, find_truths
from converge_core import (
    ContextState,
    ConvergeError,
    Criterion,
    CriterionEvaluator,
    CriterionResult,
    Engine,
    Eval,
    IntentDocument,
    IntentError,
    Problem,
    RootIntent,
)
from converge_core.context.admission import INPUT
from converge_core.context.authority import AuthorityLevel
from converge_core.context.state import Context
from converge_core.formations.decision import FORMATION
from converge_core.gates.checks import BUILTIN_CHECKS
from converge_core.gates.flow import FlowGateAuthorizer
from converge_core.intent.document import (
    DetectorSection,
    EvalsDocument,
    FlowSection,
    GatesSection,
    InputSection,
    InvariantSection,
    SuggestorSection,
)
from converge_core.intent.models import Denial, ModelSection
from converge_core.intent.sections import Condition, CriterionSection, EvalSection
from converge_core.invariants import FunctionInvariant
from converge_core.llm.backend import Backend
from converge_core.ports import EVALS, FILES, MODELS, SOURCE_DIGEST
from converge_core.repository import REPOSITORY
from converge_core.suggestors.catalog import Catalog, Ports, Site
from converge_core.validation import VALIDATORS, Validator, ValidatorSection

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


def compose(
    document: Document, offers: Offers, folder: Path, *, with_inputs: bool = True, ports: Ports | None = None
) -> Composition:
    """Make an engine of an intent. Raises IntentError with every fault.

    The source of the run has its truths as they are now: it is judged by those with which it begins. ``with_inputs``
    False leaves the inputs unread, for a run whose ledger has them already. ``ports`` are what suggestors may ask for,
    beside what the folder has.
    """
    composer = _Composer(document, offers, folder, ports or Ports())
    parsed = composer.parsed()
    truths = list(find_truths(document, composer.value.get("truths"), folder, offers.truths, composer.problems))
    engine = composer.engine(truths)
    context = ContextState()
    if with_inputs:
        sections = composer.members("inputs", InputSection)
        stage_inputs(sections, document, folder, offers.payloads, context, composer.problems)
    intent = None if parsed is None else parsed.root_intent([truth.definition for truth in truths])
    if intent is not None and not composer.problems:
        composer.problems += [document.problem(_PLACES.get(f.path, (f.path,)), f.message) for f in intent.faults()]
    if intent is None or composer.problems:
        raise IntentError(tuple(sorted(composer.problems, key=composer.order)))
    upheld = {"truths": [truth.definition.to_json() for truth in truths]} if truths else {}
    source = {"document": {**composer.value, **upheld}, "folder": str(folder.resolve())}
    return Composition(engine, context, intent, source)


def check_evals(document: Document) -> None:
    """Check the form of a file of evals. Raises IntentError with every fault."""
    try:
        EvalsDocument.model_validate(document.value)
    except ValidationError as error:
        raise IntentError(tuple(faults_of(error, document, (), EvalsDocument))) from error


def compose_evals(document: Document, offers: Offers, folder: Path, ports: Ports) -> list[tuple[EvalSection, Eval]]:
    """Make the evals of a document, and then those on offer that need no configuration and have another name.

    Raises IntentError with every fault.
    """
    composer = _Composer(document, offers, folder, ports)
    made = composer.evals()
    taken = {section.name for section, _ in made}
    for offer in offers.evals:
        if offer.name not in taken and not any(field.is_required() for field in offer.config.model_fields.values()):
            section = EvalSection(name=offer.name, use=offer.name)
            made.append((section, composer.eval_of(section)))
    if composer.problems:
        raise IntentError(tuple(sorted(composer.problems, key=composer.order)))
    return made


_PLACES: Mapping[str, Steps] = {"id": ("intent", "id"), "stop_when": ("intent", "stop_when")}


class _Composer:
    """Puts one engine together and collects what is wrong on the way.

    A section that is not well-formed is left out, and what can be said about the others is said all the same.
    """

    def __init__(self, document: Document, offers: Offers, folder: Path, ports: Ports) -> None:
        if not isinstance(document.value, Mapping):
            raise IntentError((document.problem((), "an intent is a mapping of sections, such as `intent:`"),))
        self.document, self.value, self.offers = document, document.value, offers
        self.load = CodeLoader(folder)
        read: Callable[[str], str] = partial(_text_of, folder)
        self.ports = ports.offer(FILES, read).offer(SOURCE_DIGEST, self.load.source_digest)
        self.ports.offer(EVALS, self.eval_of).offer(VALIDATORS, self.validator_of)
        self.ports.offer(REPOSITORY, FolderRepository(folder / str(self.value.get("repository") or ".")))
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

    def engine(self, truths: Sequence[FoundTruth]) -> Engine:
        """Return the engine, complete if there are no problems."""
        gates = self._gates()
        models = self._models()
        evaluators: dict[str, CriterionEvaluator] = {}
        engine = Engine(
            hitl_policy=None if gates.hitl is None else gates.hitl.policy(),
            validation=gates.validation.policy(),
            conflict_policy=gates.conflict,
            payloads=self.offers.payloads,
            evaluator=_Evaluators(evaluators) if self.value.get("success") or truths else None,
            flow=None if gates.flow is None else self._authorizer(gates.flow),
            backends=[backend.profile for _, backend in models],
        )
        self._checks(engine, gates.validation.require)
        for place, suggestor in self.members("suggestors", SuggestorSection):
            self._suggestor(engine, suggestor, ("suggestors", place))
        for place, detector in self.members("detectors", DetectorSection):
            self._detector(engine, detector, ("detectors", place))
        for place, invariant in self.members("invariants", InvariantSection):
            self._invariant(engine, invariant, ("invariants", place))
        for place, criterion in self.members("success", CriterionSection):
            if criterion.id in evaluators:
                self._fault(("success", place, "id"), f"a criterion {criterion.id!r} stands above already")
            elif evaluator := self._condition(self.offers.criteria, criterion, criterion.id, ("success", place)):
                evaluators[criterion.id] = evaluator
        for truth in truths:
            evaluators |= self._criteria_of(truth)
            self._required_packs(truth)
        self.evals()
        return engine

    def _models(self) -> list[tuple[ModelSection, Backend]]:
        """Make the models of the document, and offer them to its suggestors."""
        made: list[tuple[ModelSection, Backend]] = []
        names: set[str] = set()
        for place, section in self.members("models", ModelSection):
            path = ("models", place)
            if section.called in names:
                self._fault((*path, "name"), f"a model {section.called!r} stands above already: give each a name")
            elif backend := self._made(
                self.offers.backends, section.use, section.with_, section.called, (*path, "use"), (*path, "with")
            ):
                made.append((section, backend))
            names.add(section.called)
        if self.ports.offers(PROVIDERS):
            try:
                self.ports.offer(MODELS, models_of(made, self._denials(), self.ports))
            except ConvergeError as error:
                self._fault(("denials",), str(error))
        return made

    def _denials(self) -> Iterator[Denial]:
        """Yield the well-formed denials of the document."""
        listed = self.value.get("denials")
        for item in listed if isinstance(listed, list) else ():
            with suppress(ValidationError):
                yield TypeAdapter[Denial](Denial).validate_python(item)

    def evals(self) -> list[tuple[EvalSection, Eval]]:
        """Return the evals of the document, all of them if there are no problems."""
        made: list[tuple[EvalSection, Eval]] = []
        names: set[str] = set()
        for place, section in self.members("evals", EvalSection):
            if section.name in names:
                self._fault(("evals", place, "name"), f"an eval {section.name!r} stands above already")
            elif one := self._condition(self.offers.evals, section, section.name, ("evals", place)):
                made.append((section, one))
            names.add(section.name)
        return made

    def eval_of(self, section: EvalSection) -> Eval:
        """Make an eval of a section that stands somewhere else. Raises IntentError."""
        there = copy(self)
        there.document, there.problems = Document.of({}, ""), []
        made = there._condition(self.offers.evals, section, section.name, ())
        if made is None:
            raise IntentError(tuple(there.problems))
        return made

    def validator_of(self, section: ValidatorSection) -> Validator:
        """Make a validator of a section that stands somewhere else. Raises IntentError."""
        there = copy(self)
        there.document, there.problems = Document.of({}, ""), []
        made = there._made(there.offers.validators, section.use, section.with_, section.voter, ("use",), ("with",))
        if made is None:
            raise IntentError(tuple(there.problems))
        return made

    def _criteria_of(self, truth: FoundTruth) -> dict[str, CriterionEvaluator]:
        """Return the evaluators of a truth's criteria by their ids in the intent."""
        there = copy(self)
        there.document = truth.document
        made = {}
        for place, section in enumerate(truth.definition.success):
            name = section.criterion(truth.definition.key).id
            evaluator = there._condition(self.offers.criteria, section, name, (*truth.path, "success", place))
            if evaluator is not None:
                made[name] = evaluator
        return made

    def _required_packs(self, truth: FoundTruth) -> None:
        """Demand a suggestor of every pack that takes part in a truth."""
        packs = {section.pack for _, section in self.members("suggestors", SuggestorSection)}
        for pack in truth.definition.packs:
            if pack not in packs:
                what = f"the truth {truth.definition.key!r} needs the pack {pack!r}, and no suggestor is of it"
                self._fault(truth.named_at, what)

    def _authorizer(self, section: FlowSection) -> FlowGateAuthorizer | None:
        path = ("gates", "flow")
        return self._made(self.offers.authorizers, section.use, section.with_, "flow", (*path, "use"), (*path, "with"))

    def _detector(self, engine: Engine, section: DetectorSection, path: Steps) -> None:
        name = section.name or section.use
        detector = self._made(self.offers.detectors, section.use, section.with_, name, (*path, "use"), (*path, "with"))
        if detector is not None:
            try:
                engine.register_detector(detector)
            except ConvergeError as error:
                self._fault((*path, "name"), str(error))

    def _gates(self) -> GatesSection:
        try:
            return GatesSection.model_validate(self.value.get("gates", {}))
        except ValidationError:
            return GatesSection()

    def _names(self, parsed: IntentDocument) -> None:
        """Demand that whoever is named in one section stands in another: a gate for nobody would let everybody pass."""
        suggestors = [section.name or section.use for section in parsed.suggestors]
        for steps, name in parsed.formation.named() if parsed.formation is not None else ():
            if name not in suggestors:
                self._fault(("formation", *steps), f"no suggestor {name!r}{nearest(name, suggestors)}")
        names = [INPUT, *([FORMATION] if parsed.formation is not None else []), *suggestors]
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
        if section.authority is not None:
            suggestor.authority = AuthorityLevel[section.authority.upper()]
        if section.domains is not None:
            suggestor.domains = section.domains
        if section.profile is not None:
            given = {field: getattr(section.profile, field) for field in section.profile.model_fields_set}
            suggestor.profile = suggestor.profile.model_copy(update=given)
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

    def _condition(self, catalog: Catalog[T], section: Condition, name: str, path: Steps) -> T | None:
        """Make a condition; ``cel: text`` is short for ``use: cel`` with that expression, and what goes with it."""
        if section.cel is not None:
            config = {"expression": section.cel}
            config |= section.model_dump(include=set(section.cel_fields), exclude_none=True)
            return self._made(catalog, "cel", config, name, (*path, "cel"), path, {"expression": "cel"})
        return self._made(catalog, section.use or "", section.with_, name, (*path, "use"), (*path, "with"))

    def _made(
        self,
        catalog: Catalog[T],
        use: str,
        config: Mapping[str, Any],
        name: str,
        use_path: Steps,
        config_path: Steps,
        names: Mapping[str, str] | None = None,
    ) -> T | None:
        """Make an entry of a catalog, or note what is wrong with its name, its configuration or its making."""
        try:
            entry = catalog.find(use)
        except LookupError as error:
            self._fault(use_path, str(error.args[0]))
            return None
        try:
            extra = entry.config.model_config.get("extra", "forbid")  # unless it says so, a slip is no setting
            return entry.factory(entry.config.model_validate(config, extra=extra), Site(name, self.load, self.ports))
        except ValidationError as error:
            self.problems += faults_of(error, self.document, config_path, entry.config, names)
        except IntentError as error:  # a factory's own findings, each with its path inside the configuration
            for problem in error.problems:
                if problem.file:  # of a file that the configuration names
                    self.problems.append(problem)
                else:
                    steps = (int(step) if step.isdecimal() else step for step in problem.path.split(".") if step)
                    self._fault((*config_path, *steps), problem.message)
        except (ConvergeError, LookupError, ValueError, TypeError) as error:
            self._fault(config_path, str(error.args[0] if isinstance(error, LookupError) else error))
        return None

    def _fault(self, path: Sequence[str | int], message: str) -> None:
        self.problems.append(self.document.problem(path, message))


def _text_of(folder: Path, name: str) -> str:
    """Return the text of a file. Raises LookupError where there is none to read."""
    try:
        return (folder / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LookupError(f"{name}: {getattr(error, 'strerror', None) or 'is not UTF-8'}") from error
