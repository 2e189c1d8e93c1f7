"""``--set`` and ``--input``: what a command line changes in an intent, and how it is told where it is wrong."""

from __future__ import annotations

import pytest

from converge_adapters.documents import parse_document
from converge_cli.overrides import add_input, set_value
from tests.cli.desk import Desk, intent

MORE = "id,n\nc:7,7\nc:8,8\n"


def test_set_replaces_a_value(desk: Desk) -> None:
    assert desk.finished(intent(), "--set", "budget.cycles=0", code=5)["cycles"] == 0


def test_set_reads_its_value_as_yaml(desk: Desk) -> None:
    finished = desk.finished(intent(), "--set", "inputs.0.items=[{n: 1}, {n: 2}, {n: 3}]")
    assert finished["facts"] == 6


def test_set_goes_into_lists_by_number(desk: Desk) -> None:
    assert desk.finished(intent(), "--set", "suggestors.0.with.when=fact.n > 1.0")["facts"] == 3


def test_set_makes_the_sections_on_its_way() -> None:
    document = set_value(parse_document("intent: {id: t}\nbudget:\n"), "gates.hitl.keys=[seeds]")
    document = set_value(document, "budget.cycles=5")
    assert document.value == {"intent": {"id": "t"}, "budget": {"cycles": 5}, "gates": {"hitl": {"keys": ["seeds"]}}}


def test_set_changes_nothing_that_an_alias_repeats() -> None:
    document = set_value(parse_document("a: &a {x: 1}\nb: *a\n"), "b.x=2")
    assert document.value == {"a": {"x": 1}, "b": {"x": 2}}


def test_set_leaves_the_document_that_it_was_given_as_it_is() -> None:
    document = parse_document("a: {x: [1]}")
    set_value(document, "a.x.0=2")
    assert document.value == {"a": {"x": [1]}}


def test_the_last_of_two_settings_counts(desk: Desk) -> None:
    finished = desk.finished(intent(), "--set", "budget.cycles=0", "--set", "budget.cycles=9")
    assert finished["converged"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("budget", "--set takes a path and a value, as in budget.cycles=5, not 'budget'"),
        ("=5", "--set takes a path and a value, as in budget.cycles=5, not '=5'"),
        ("budget..cycles=5", "--set takes a path and a value, as in budget.cycles=5, not 'budget..cycles=5'"),
        ("suggestors.5.use=x", "--set suggestors.5.use: the intent has no place 'suggestors.5'"),
        ("suggestors.first.use=x", "--set suggestors.first.use: the intent has no place 'suggestors.first'"),
        ("intent.id.x=1", "--set intent.id.x: the intent has no place 'intent.id.x'"),
        ("budget.cycles=[1", "--set budget.cycles:2:1: not YAML: did not find expected ',' or ']'"),
    ],
)
def test_a_setting_without_a_place_is_wrong_usage(desk: Desk, setting: str, said: str) -> None:
    result = desk.run(intent(), "--set", setting, code=2)
    assert result.stderr.splitlines()[-1].startswith(f"Error: {said}")
    assert not desk.home.exists()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("budget.cycles=many", "--set budget.cycles: Input should be a valid integer"),
        ("budget.cycle=5", "--set budget.cycle: unknown field; did you mean 'cycles'?"),
        ("suggestors.0.with.when=fact.n >", "--set suggestors.0.with.when: line 1, column 9: unexpected end"),
        ("gates={hitl: {key: [seeds]}}", "--set gates: gates.hitl.key: unknown field; did you mean 'keys'?"),
    ],
)
def test_a_fault_of_a_setting_names_the_option_and_not_the_file(desk: Desk, setting: str, said: str) -> None:
    [line] = desk.refused(intent(), "--set", setting)
    assert line.startswith(said)


def test_a_fault_beside_a_setting_still_names_the_file(desk: Desk) -> None:
    [line] = desk.refused(intent(suggestors=[]), "--set", "budget.cycles=5")
    assert line.startswith("intent.yaml:1:")


def test_input_adds_the_rows_of_a_file_named_by_their_id(desk: Desk) -> None:
    desk.write("more.csv", MORE)
    run_id = desk.finished(intent(), "--input", "seeds=more.csv")["run_id"]
    facts = desk.json("show", run_id, "--key", "seeds")["facts"]
    assert [fact["id"] for fact in facts] == ["s:1", "s:2", "c:7", "c:8"]


def test_input_is_read_from_the_current_folder_and_not_from_the_intents(desk: Desk) -> None:
    desk.write("elsewhere/intent.yaml", intent())
    desk.write("more.csv", MORE)
    assert desk.json("run", "elsewhere/intent.yaml", "--input", "seeds=more.csv")["facts"] == 8


def test_set_reaches_what_input_has_added(desk: Desk) -> None:
    desk.write("more.csv", "name,n\na,7\n")
    args = ("--input", "seeds=more.csv", "--set", "inputs.1.id=c:{name}", "--set", "inputs.1.types={n: integer}")
    run_id = desk.finished(intent(), *args)["run_id"]
    [*_, added] = desk.json("show", run_id, "--key", "seeds")["facts"]
    assert (added["id"], added["payload"]) == ("c:a", {"name": "a", "n": 7})


def test_input_begins_the_list_of_an_intent_without_inputs() -> None:
    document = add_input(parse_document("intent: {id: t}\ninputs:\n"), "seeds=more.csv")
    assert document.value == {
        "intent": {"id": "t"},
        "inputs": [{"key": "seeds", "file": "more.csv", "id": "{id}"}],
    }


@pytest.mark.parametrize("item", ["seeds", "seeds=", "=more.csv"])
def test_an_input_without_key_or_file_is_wrong_usage(desk: Desk, item: str) -> None:
    result = desk.run(intent(), "--input", item, code=2)
    said = f"Error: --input takes a key and a file, as in seeds=claims.csv, not {item!r}"
    assert result.stderr.splitlines()[-1] == said


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("seeds=no.csv", "--input seeds=no.csv: inputs[1].file: there is no file 'no.csv'"),
        ("sedes=more.csv", "--input sedes=more.csv: inputs[1].key: Input should be 'seeds'"),
        ("seeds=few.csv", "few.csv:3: the header names 2 columns, this row has 1"),
        ("seeds=named.csv", "--input seeds=named.csv: inputs[1].id: no row has a column 'id'; there are n, name"),
    ],
)
def test_a_fault_of_an_input_names_the_option_or_the_line(desk: Desk, item: str, said: str) -> None:
    desk.write("more.csv", MORE)
    desk.write("few.csv", "id,n\n1,2\n3\n")
    desk.write("named.csv", "name,n\na,7\n")
    [line] = desk.refused(intent(), "--input", item)
    assert line.startswith(said)


@pytest.mark.parametrize("text", ["[]", "inputs: 3"])
def test_an_intent_that_takes_no_inputs_is_refused_for_that(desk: Desk, text: str) -> None:
    assert any("mapping" in line or "list" in line for line in desk.refused(text, "--input", "seeds=more.csv"))
