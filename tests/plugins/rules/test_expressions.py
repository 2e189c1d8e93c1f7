"""Expressions and templates: they compile when they are made, and say where they do not."""

from __future__ import annotations

import logging
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from converge_plugins.rules.expressions import (
    MAX_LENGTH,
    Bindings,
    CelEvaluationError,
    CelExpression,
    CelSyntaxError,
    Template,
    name_faults,
    shortened,
)


class Model(BaseModel):
    """Both kinds of text as fields."""

    when: CelExpression
    id: Template


@pytest.fixture
def bindings() -> Bindings:
    return Bindings({"fact": {"id": "s1", "n": 2.0, "text": "a", "none": None, "list": [1.0]}})


def failure(text: str, bindings: Bindings) -> str:
    with pytest.raises(CelEvaluationError) as caught:
        CelExpression(text).evaluate(bindings)
    return str(caught.value)


# Where it does not compile.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fact.n >", "line 1, column 9: unexpected end"),
        ("fact.amount 5", "line 1, column 13: unexpected '5' expecting the end"),
        ("(fact.n", "line 1, column 8: missing ')' at end"),
        ("fact.n ==\n  2 ++ 3", "line 2, column 6: unexpected '+'"),
        ("'open", "line 1, column 1: token recognition error at: ''open'"),
        ("has(fact)", "line 1, column 5: invalid argument to has() macro"),
        ("", "line 1, column 1: an empty expression"),
        (" \n", "line 1, column 1: an empty expression"),
    ],
)
def test_a_syntax_error_is_one_line_with_its_place(text: str, message: str) -> None:
    with pytest.raises(CelSyntaxError) as caught:
        CelExpression(text)
    assert str(caught.value) == message


def test_of_several_syntax_errors_the_first_is_told() -> None:
    with pytest.raises(CelSyntaxError) as caught:
        CelExpression("1 + )\n + (")
    assert (caught.value.line, caught.value.column) == (1, 5)


def test_an_expression_that_quotes_a_report_of_the_parser_is_located_all_the_same() -> None:
    with pytest.raises(CelSyntaxError) as caught:
        CelExpression("'ERROR: <input>:7:7: ' + )")
    assert (caught.value.line, caught.value.column) == (1, 26)


@pytest.mark.parametrize("kind", [CelExpression, Template])
def test_a_text_that_would_exhaust_the_stack_is_refused_unread(kind: type[CelExpression | Template]) -> None:
    with pytest.raises(CelSyntaxError, match=f"at most {MAX_LENGTH} characters"):
        kind("1" + "+1" * MAX_LENGTH)


def test_the_longest_expression_is_read_and_evaluated() -> None:
    terms = MAX_LENGTH // 2
    assert CelExpression("1" + "+1" * (terms - 1)).evaluate(Bindings()) == terms


@pytest.mark.parametrize("error", [CelSyntaxError(1, 2, "unexpected end"), CelEvaluationError("a + b", "no")])
def test_errors_pickle(error: Exception) -> None:
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


# As fields of a model.


def test_a_model_takes_strings_and_compiles_them() -> None:
    model = Model.model_validate({"when": "fact.n > 1", "id": "flag:{fact.id}"})
    assert model.when.variables == {"fact"}
    assert model.id.expressions == ("fact.id",)


def test_a_model_gives_the_strings_back() -> None:
    config = {"when": "fact.n > 1", "id": "flag:{fact.id}"}
    assert Model.model_validate(config).model_dump(mode="json") == config


def test_a_model_names_the_field_and_the_place_of_every_syntax_error() -> None:
    with pytest.raises(ValidationError) as caught:
        Model.model_validate({"when": "fact.n >", "id": "flag:{fact.}"})
    assert [(fault["loc"], fault["msg"]) for fault in caught.value.errors()] == [
        (("when",), "Value error, line 1, column 9: unexpected end"),
        (("id",), "Value error, line 1, column 12: unexpected '.'"),
    ]


def test_a_model_takes_nothing_but_strings() -> None:
    with pytest.raises(ValidationError, match="valid string"):
        Model.model_validate({"when": 1, "id": "x"})


# Names.


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("fact.n > 1", []),
        ("fcat.n > limit", ["fcat", "limit"]),
        ("seeds.exists(s, s.n > fact.n)", ["seeds"]),
        ("fact.list.map(x, x > 1.0, x * y)", ["y"]),
        ("fact.list . filter ( // a comment\n x, x > z)", ["z"]),
        ("fact.list.all(a, a.exists_one(b, b == c))", ["c"]),
        ("size(fact.list)", []),
    ],
)
def test_names_that_nothing_stands_behind_are_found(text: str, unknown: list[str]) -> None:
    assert CelExpression(text).unknown(["fact"]) == unknown


def test_a_fault_of_names_tells_what_is_known() -> None:
    (found,) = name_faults(("when",), CelExpression("fcat.n > 1"), ["fact", "limit"])
    assert found["loc"] == ("when",)
    assert str(found["type"]) == "unknown name 'fcat'; known here: fact, limit"


def test_a_fault_of_names_tells_how_to_read_a_key() -> None:
    (found,) = name_faults(("id",), Template("{size(votes)}"), ["fact"])
    assert str(found["type"]) == "'votes' is a context key: list it under `reads` to see its facts"


# Evaluation.


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("fact.n + 1", "cannot compute float + int (numbers of a fact are doubles: write 2.0, or int(x))"),
        ("fact.n + fact.text", "cannot compute float + string"),
        ("fact.missing", "no field 'missing'"),
        ("fact.list[3]", "index out of bounds: 3"),
        ("fact.list[fact.n]", "a double where an int is needed (numbers of a fact are doubles: write 2.0, or int(x))"),
        ("fact.text < 1", "an operator or a function got a value of the wrong type"),
        ("1 / 0", "division by zero in CEL expression"),
        ("9223372036854775807 + 1", "Arithmetic overflow in 'add' on 9223372036854775807 and 1."),
        ("int(fact.text)", "int(): string parse error: invalid digit found in string"),
        ("sum(fact.text)", "sum(): a string is not a number"),
        ("limit > 1", "unknown name, or a function that does not take this: 'limit'"),
        ("open('/etc/passwd')", "unknown name, or a function that does not take this: 'open'"),
    ],
)
def test_an_expression_that_has_no_value_says_why_in_one_sentence(text: str, reason: str, bindings: Bindings) -> None:
    assert failure(text, bindings) == f"{reason}, in `{text}`"


def test_a_long_expression_is_shortened_in_a_message(bindings: Bindings) -> None:
    message = failure("fact.missing" + " + 1.0" * 200, bindings)
    assert len(message) < 200
    assert message.endswith("...`")


def test_a_failing_function_is_reported_once(bindings: Bindings, capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []  # as in a program that has configured no logging
    try:
        failure("sum(fact.text)", bindings)
    finally:
        root.handlers = handlers
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("text", "value"), [("fact.n > 1", True), ("fact.n > 3", False)])
def test_a_condition_is_true_or_false(text: str, value: bool, bindings: Bindings) -> None:
    assert CelExpression(text).test(bindings) is value


@pytest.mark.parametrize(("text", "kind"), [("fact.n", "a double"), ("fact.none", "null"), ("fact.list", "a list")])
def test_a_condition_is_nothing_but_true_or_false(text: str, kind: str, bindings: Bindings) -> None:
    with pytest.raises(CelEvaluationError, match=f"a condition is true or false, not {kind}"):
        CelExpression(text).test(bindings)


def test_a_name_may_be_bound_again(bindings: Bindings) -> None:
    bindings.bind("fact", {"n": 9.0})
    assert CelExpression("fact.n").evaluate(bindings) == 9.0


# Templates.


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("flag:{fact.id}", "flag:s1"),
        ("{fact.id}{fact.n}-{fact.n > 1}", "s12-true"),
        ("{{{fact.id}}}", "{s1}"),
        ("a }} b {{ c", "a } b { c"),
        ("{ {'a}b': fact.n}['a}b'] }!", "2!"),
        ("{fact.text == '}' ? 1 : 2}", "2"),
        ("é{fact.n / 4.0}", "é0.5"),
        ("", ""),
    ],
)
def test_a_template_is_filled_in(template: str, text: str, bindings: Bindings) -> None:
    assert Template(template).render(bindings) == text


@given(st.text(max_size=50))
def test_any_text_with_its_braces_doubled_is_itself(text: str) -> None:
    assert Template(text.replace("{", "{{").replace("}", "}}")).render(Bindings()) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("flag:{fact.id", "line 1, column 6: a brace that is not closed: write {{ for the character"),
        ("flag:}", "line 1, column 6: a brace that closes nothing: write }} for the character"),
        ("flag:{}", "line 1, column 7: an empty expression"),
        ("flag:{fact.} {fact.id}", "line 1, column 12: unexpected '.'"),
        ("a\nb:{fact.n +}", "line 2, column 12: unexpected end"),
        ("a\n{fact.n +\n ++}", "line 3, column 2: unexpected '+'"),
    ],
)
def test_a_fault_of_a_template_has_its_place_in_the_template(template: str, message: str) -> None:
    with pytest.raises(CelSyntaxError) as caught:
        Template(template)
    assert str(caught.value) == message


@pytest.mark.parametrize(("part", "kind"), [("fact.none", "null"), ("fact.list", "a list")])
def test_a_part_that_has_no_text_is_an_error(part: str, kind: str, bindings: Bindings) -> None:
    with pytest.raises(CelEvaluationError) as caught:
        Template(f"x{{{part}}}").render(bindings)
    assert str(caught.value) == f"{kind} cannot stand in a text, in `{part}`"


def test_a_text_in_a_message_is_one_line() -> None:
    assert shortened("a &&\n  b") == "a && b"
