"""``converge schema``: the shape of intent.yaml, and of what a suggestor is configured with."""

from __future__ import annotations

import json

from tests.cli.desk import Desk


def test_the_schema_of_an_intent_names_its_sections(desk: Desk) -> None:
    schema = json.loads(desk.call("schema").stdout)
    assert {"intent", "inputs", "suggestors", "gates", "invariants", "success"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False


def test_the_schema_is_the_same_on_one_line(desk: Desk) -> None:
    assert desk.json("schema") == json.loads(desk.call("schema").stdout)


def test_the_schema_of_a_suggestor_is_that_of_its_configuration(desk: Desk) -> None:
    assert {"for_each", "when", "payload"} <= set(desk.json("schema", "rules.cel")["properties"])


def test_an_unknown_suggestor_is_told_with_the_nearest_name(desk: Desk) -> None:
    said = desk.call("schema", "rules.sel", code=2).stderr
    assert said.endswith("Error: unknown suggestor 'rules.sel'; did you mean 'rules.cel'?\n")
