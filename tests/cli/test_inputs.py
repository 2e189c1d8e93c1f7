"""Inputs: rows become proposals, and the faults of all rows are told at once."""

from __future__ import annotations

import pytest

from converge_adapters.tables import MAX_PROBLEMS
from tests.cli.desk import RULE, SEED, Desk, intent


def _seeds(desk: Desk, **section: object) -> list[dict[str, object]]:
    """Run an intent with one input, and return the facts that it became."""
    changed = {**SEED, **section}
    inputs = [{name: value for name, value in changed.items() if value is not None}]
    rule = RULE | {"with": {**RULE["with"], "payload": {"of": "fact.id"}}}
    run_id = desk.finished(intent(inputs=inputs, suggestors=[rule]))["run_id"]
    facts: list[dict[str, object]] = desk.json("show", run_id, "--key", "seeds")["facts"]
    return facts


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "n,of\n1,a\n2,b\n"),
        ("rows.jsonl", '{"n": "1", "of": "a"}\n{"n": "2", "of": "b"}\n'),
        ("rows.json", '[{"n": "1", "of": "a"}, {"n": "2", "of": "b"}]'),
        ("rows.yaml", '- {n: "1", of: a}\n- {n: "2", of: b}\n'),
    ],
)
def test_the_rows_of_a_file_become_facts(desk: Desk, name: str, content: str) -> None:
    desk.write(name, content)
    facts = _seeds(desk, items=None, file=name)
    assert [(fact["id"], fact["payload"]) for fact in facts] == [
        ("s:1", {"n": "1", "of": "a"}),
        ("s:2", {"n": "2", "of": "b"}),
    ]


def test_items_are_typed_like_rows(desk: Desk) -> None:
    [fact] = _seeds(desk, items=[{"n": 1, "amount": "12.50"}], types={"amount": "money"})
    assert fact["payload"] == {"n": 1, "amount": 1250}


def test_a_text_payload_takes_the_column_text(desk: Desk) -> None:
    [fact] = _seeds(desk, items=[{"text": "words"}], payload="text", id="one")
    assert fact["payload"] == {"text": "words"}


def test_what_does_not_fit_the_payload_is_told_with_its_place(desk: Desk) -> None:
    section = {"key": "seeds", "id": "one", "payload": "text", "items": [{"text": "fits"}, {"txt": "does not"}]}
    [line] = desk.refused(intent(inputs=[section]))
    assert "inputs[0].items[1]: text: Field required; txt: Extra inputs are not permitted" in line


def test_the_faults_of_all_items_are_told(desk: Desk) -> None:
    section = SEED | {"items": [{"n": "a"}, {"n": 2}, {"n": "c"}], "types": {"n": "integer"}}
    lines = desk.refused(intent(inputs=[section]))
    assert [line.partition(": ")[2] for line in lines] == [
        'inputs[0].items[0].n: "a" is not of the type integer',
        'inputs[0].items[2].n: "c" is not of the type integer',
    ]


def test_a_column_that_no_row_has_is_one_fault_and_not_one_a_row(desk: Desk) -> None:
    rows = "".join(f"{number},x\n" for number in range(500))
    desk.write("rows.csv", f"number,of\n{rows}")
    [line] = desk.refused(intent(inputs=[{"key": "seeds", "id": "{numbr}", "file": "rows.csv"}]))
    assert line.endswith("inputs[0].id: no row has a column 'numbr'; did you mean 'number'?")


def test_more_faults_than_a_person_reads_are_counted(desk: Desk) -> None:
    rows = [{"n": number, "text": True} for number in range(500)]
    lines = desk.refused(intent(inputs=[SEED | {"items": rows, "payload": "text"}]))
    assert len(lines) == MAX_PROBLEMS + 1
    assert lines[-1].endswith(f"and {500 - MAX_PROBLEMS} more")


def test_a_file_that_a_row_spoils_is_not_taken_in_part(desk: Desk) -> None:
    desk.write("rows.csv", "n\n1\ntwo\n3\n")
    section = {"key": "seeds", "id": "{n}", "file": "rows.csv", "types": {"n": "integer"}}
    assert desk.refused(intent(inputs=[section])) == ['rows.csv:3: n: "two" is not an integer']
