"""The work suggester as a plugin: its stages are on offer, and an intent without it says so."""

from __future__ import annotations

import pytest

from converge_adapters.documents import load_document
from converge_cli.compose import compose
from converge_cli.session import Session
from converge_core import IntentError
from tests.examples.running import EXAMPLES

FOLDER = EXAMPLES / "work_suggester"


def test_s010_td008_the_stages_are_offered_by_one_plugin_and_each_by_itself() -> None:
    offers = Session(third_party=False).offers
    stages = [entry.name for entry in offers.suggestors if entry.plugin == "work_suggester"]
    assert stages == ["work.issues", "work.vectorise", "work.score", "work.suggest"]
    [loaded] = [plugin for plugin in offers.plugins if plugin.name == "work_suggester"]
    assert (loaded.state, loaded.hooks) == (
        "loaded",
        ("converge_register_payloads", "converge_register_suggestors"),
    )


def test_td008_without_the_plugin_the_intent_is_refused_before_anything_runs() -> None:
    session = Session(third_party=False)
    ports = session.ports({})
    session.offers.suggestors.withdraw("work_suggester")
    with pytest.raises(IntentError) as raised:
        compose(load_document(FOLDER / "intent.yaml"), session.offers, FOLDER, ports=ports)
    assert [problem.message.partition(";")[0] for problem in raised.value.problems] == [
        f"unknown suggestor 'work.{stage}'" for stage in ("issues", "vectorise", "score", "suggest")
    ]
