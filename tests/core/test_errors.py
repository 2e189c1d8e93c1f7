from __future__ import annotations

import pickle

import pytest

import converge_core
from converge_core import (
    AdmissionError,
    AuthorityError,
    BudgetRefused,
    CanonicalError,
    ConvergeError,
    IntentError,
    LedgerConflict,
    LedgerCorrupt,
    LedgerError,
    MisuseError,
    PayloadError,
    PluginError,
    Problem,
    Refusal,
    ReplayDifference,
    SetupChanged,
    SnapshotError,
    StoppedEarly,
    SuggestorError,
    UnknownRun,
)
from converge_core.gates.stop import Converged

ERRORS: list[tuple[ConvergeError, str]] = [
    (ConvergeError("why"), "why"),
    (MisuseError("why"), "why"),
    (AuthorityError("why"), "why"),
    (CanonicalError("$.a: why"), "$.a: why"),
    (PayloadError("test.invoice", 2, "why"), "payload test.invoice v2: why"),
    (SnapshotError("why"), "why"),
    (AdmissionError("why"), "why"),
    (
        IntentError((Problem("budget.cycles", "too few", "i.yaml", 3, 7), Problem("", "empty"))),
        "i.yaml:3:7: budget.cycles: too few\nempty",
    ),
    (PluginError("rules", "why"), "plugin 'rules': why"),
    (SuggestorError("rule", "raised", "why"), "suggestor 'rule' failed (raised): why"),
    (LedgerError("why"), "why"),
    (UnknownRun("r1"), "no run 'r1' in this ledger"),
    (
        LedgerConflict("r1", 3, 5),
        "run 'r1' has 5 entries where 3 were expected: another process is driving it",
    ),
    (LedgerCorrupt("r1", 3, "this", "that"), "run 'r1', entry 3: expected this, found that"),
    (
        ReplayDifference("r1", 3, "this", "that"),
        "run 'r1', entry 3: the replay differs\n  recorded  this\n  replayed  that",
    ),
    (
        SetupChanged("r1", ("suggestor 'a' is gone", "the budget changed")),
        "run 'r1' was recorded with another setup: suggestor 'a' is gone; the budget changed",
    ),
    (BudgetRefused("tokens", 3, 2), "tokens: 3 asked, 2 left"),
    (StoppedEarly(Converged()), "Converged"),
    (Refusal("why"), "why"),
]
each_error = pytest.mark.parametrize(("error", "sentence"), ERRORS, ids=[type(error).__name__ for error, _ in ERRORS])


def test_every_error_of_the_public_api_is_on_the_list() -> None:
    things = [getattr(converge_core, name) for name in converge_core.__all__]
    public = {thing for thing in things if isinstance(thing, type) and issubclass(thing, ConvergeError)}
    assert public <= {type(error) for error, _ in ERRORS}


@each_error
def test_an_error_is_a_sentence(error: ConvergeError, sentence: str) -> None:
    assert str(error) == sentence


@each_error
def test_an_error_survives_pickling_with_its_data(error: ConvergeError, sentence: str) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (again.args, vars(again), str(again)) == (error.args, vars(error), sentence)


@pytest.mark.parametrize("error", [CanonicalError, PayloadError, SnapshotError])
def test_bad_data_is_a_value_error_too(error: type[ConvergeError]) -> None:
    assert issubclass(error, ValueError)


@pytest.mark.parametrize("error", [UnknownRun, LedgerConflict, LedgerCorrupt])
def test_whatever_a_ledger_cannot_do_is_a_ledger_error(error: type[ConvergeError]) -> None:
    assert issubclass(error, LedgerError)


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (Problem("a.b", "why"), "a.b: why"),
        (Problem("a.b", "why", "i.yaml"), "i.yaml: a.b: why"),
        (Problem("", "why", "i.yaml", 3), "i.yaml:3: why"),
    ],
)
def test_a_problem_shows_what_is_known_of_its_place(problem: Problem, line: str) -> None:
    assert str(problem) == line
