"""The truths that an intent upholds: by name, from a YAML file, or defined right there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from converge_adapters.documents import Document, load_document
from converge_cli.faults import Steps, faults_of
from converge_core import IntentError, Problem
from converge_core.intent.truths import TruthCatalog, TruthDefinition

_YAML = (".yaml", ".yml")


class FoundTruth(NamedTuple):
    """A truth, where the intent names it, and the place in a document where its parts stand."""

    definition: TruthDefinition
    named_at: Steps
    document: Document
    path: Steps


def find_truths(
    intent: Document, forms: object, folder: Path, catalog: TruthCatalog, problems: list[Problem]
) -> Iterator[FoundTruth]:
    """Yield the truths that ``forms``, the section ``truths`` of an intent, names; faults go to ``problems``.

    A form that is no truth at all is left to the check of the whole intent.
    """
    for place, form in enumerate(forms if isinstance(forms, list) else ()):
        path = ("truths", place)
        try:
            if isinstance(form, Mapping):
                yield FoundTruth(TruthDefinition.model_validate(form), path, intent, path)
            elif isinstance(form, str) and form.endswith(_YAML):
                yield from _of_file(form, path, intent, folder, problems)
            elif isinstance(form, str) and form.strip():
                yield FoundTruth(catalog.find_truth(form), path, Document.of(None, f"truth {form!r}"), ())
        except ValidationError:
            continue
        except LookupError as error:
            problems.append(intent.problem(path, str(error.args[0])))


def _of_file(name: str, path: Steps, intent: Document, folder: Path, problems: list[Problem]) -> Iterator[FoundTruth]:
    """Yield the truths of a file, which holds one, or a list of them. Raises LookupError where there is no file."""
    if not (folder / name).is_file():
        raise LookupError(f"there is no file {name!r}")
    try:
        document = load_document(folder / name)
    except IntentError as error:
        problems += error.problems
        return
    listed = document.value if isinstance(document.value, list) else [document.value]
    for place, item in enumerate(listed):
        inside: Steps = (place,) if isinstance(document.value, list) else ()
        try:
            yield FoundTruth(TruthDefinition.model_validate(item), path, document, inside)
        except ValidationError as error:
            problems += faults_of(error, document, inside, TruthDefinition)
