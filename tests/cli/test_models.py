"""``models:`` and ``denials:`` of an intent: what is wrong with them, who is asked, and what the ledger says of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from converge_adapters.backends import catalog
from tests.adapters.backends.server import Asked, Server, Told, serving
from tests.adapters.backends.wire import ANTHROPIC, COMPATIBLE, KEY
from tests.cli.desk import RULE, Desk, intent
from tests.cli.terminal import Terminal

ASKS: dict[str, Any] = {
    "use": "llm",
    "name": "causes",
    "with": {"for_each": "seeds", "prompt": "Why? {{ fact }}", "output": {"cause": "string"}, "key": "hypotheses"},
}
ANSWER = '{"cause": "smoke"}'
FREE = {"input_usd": 0, "output_usd": 0}


@pytest.fixture(autouse=True)
def _without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "THE_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(COMPATIBLE.answer(ANSWER, "stop")) as server:
        yield server


def at(server: Server, **more: Any) -> dict[str, Any]:
    """Return a model that is asked through the real SDK, at this server."""
    config = {"provider": "mine", "model": "m-1", "base_url": f"{server.url}/v1"}
    return {"use": "openai-compatible", "name": "mine", "with": config, "price": FREE, **more}


def asking(*models: dict[str, Any], asks: dict[str, Any] | None = None, **sections: Any) -> str:
    suggestor = {**ASKS, "with": {**ASKS["with"], **(asks or {})}}
    return intent(models=list(models), suggestors=[suggestor], **sections)


def calls(desk: Desk, run_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = desk.json("show", run_id)["model_calls"]
    return found


# --- faults ---------------------------------------------------------------------------------------------------------

FAULTY = """\
intent: {id: t}
models:
  - {use: antropic, with: {model: claude-x}}
  - {use: anthropic, with: {modle: claude-x}}
  - {use: offline}
  - {use: offline}
  - {use: offline, name: dear, price: {input_usd: -1, output_usd: 1}}
  - {use: openai-compatible, with: {model: m}}
denials:
  - local-onyl
  - {id: mine, boundaries: [moon]}
inputs:
  - {key: seeds, id: "s:{n}", items: [{n: 1}]}
suggestors:
  - {use: llm, with: {for_each: seeds, prompt: "{{ fact }", key: hypotheses}}
"""


def test_every_fault_is_told_at_once_and_with_its_line(desk: Desk) -> None:
    said = desk.refused(FAULTY)
    told = {line.split(":")[1]: line for line in said}
    assert len(told) == 8
    assert "unknown backend 'antropic'; did you mean 'anthropic'?" in told["3"]
    assert "modle" in told["4"]
    assert "a model 'offline' stands above already: give each a name" in told["6"]
    assert "input_usd" in told["7"]
    assert "base_url is needed" in told["8"]
    assert "there is no profile 'local-onyl'" in told["10"]
    assert "denials[1].boundaries[0]: Input should be 'local', 'hybrid' or 'cloud'" in told["11"]
    assert "line 1 of the template" in told["15"]


def test_two_denials_of_one_name_are_refused(desk: Desk) -> None:
    denials = [{"id": "mine", "actions": ["chat"]}, {"id": "mine"}]
    assert any("each profile of denials has an id of its own" in line for line in desk.refused(intent(denials=denials)))


def test_a_model_that_nobody_declared_is_refused_where_it_is_named(desk: Desk) -> None:
    (line,) = desk.refused(asking({"use": "offline"}, asks={"models": ["claude"]}))
    assert "there is no model 'claude'; there is offline" in line


def test_a_suggestor_without_any_models_says_where_they_are_declared(desk: Desk) -> None:
    (line,) = desk.refused(asking())
    assert "there are no models: the intent declares them under `models`" in line


def test_an_sdk_that_is_not_there_is_named_with_the_way_to_install_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "find_spec", lambda name: None)
    said = "\n".join(desk.refused(asking({"use": "anthropic", "with": {"model": "claude-x"}})))
    assert (
        "models[0].with: plugin 'backends': there is no anthropic here: pip install 'converge-runtime[anthropic]'"
        in said
    )


def test_a_capability_that_there_is_none_of_is_refused(desk: Desk) -> None:
    lines = desk.refused(asking({"use": "offline"}, asks={"needs": {"capabilities": ["telepathy"]}}))
    assert any("telepathy" in line for line in lines)


# --- who is asked ---------------------------------------------------------------------------------------------------


def test_a_model_without_a_key_is_passed_over_and_the_ledger_says_why(desk: Desk) -> None:
    claude = {"use": "anthropic", "name": "claude", "with": {"model": "claude-sonnet-4-5"}}
    finished = desk.finished(asking(claude, {"use": "offline"}))
    assert finished["status"] == "converged"
    first, *_ = calls(desk, finished["run_id"])
    assert first["skipped"] == [{"backend": "claude", "gate": "capacity", "reason": "ANTHROPIC_API_KEY is not set"}]
    assert [attempt["backend"] for attempt in first["attempts"]] == ["offline"]
    state = next(
        json.loads(line)
        for line in desk.call("providers", "--json").stdout.splitlines()
        if json.loads(line)["provider_id"] == "anthropic"
    )
    assert state["state"] == "no_key"


def test_where_nobody_can_be_asked_the_suggestor_fails_with_everybodys_reason(desk: Desk) -> None:
    model = {"use": "openai", "with": {"model": "gpt-5-mini", "api_key_env": "THE_KEY"}}
    failed = desk.finished(asking(model), code=9)
    assert "openai: capacity: THE_KEY is not set" in json.dumps(failed["stop_reason"])


def test_a_model_without_a_price_is_not_asked(desk: Desk, server: Server) -> None:
    unpriced = {name: value for name, value in at(server).items() if name != "price"}
    failed = desk.finished(asking(unpriced), code=9)
    assert "price: nobody knows what 'm-1' costs" in json.dumps(failed["stop_reason"])
    assert server.asked == []


def test_a_declared_price_is_what_a_call_costs(desk: Desk, server: Server) -> None:
    price = {"input_usd": 100, "output_usd": 1000}
    finished = desk.finished(asking(at(server, price=price)))
    assert finished["usage"] == {"cost_microusd": 2 * (23 * 100 + 7 * 1000), "input_tokens": 46, "output_tokens": 14}


def test_a_budget_below_the_price_of_one_call_makes_none(desk: Desk, server: Server) -> None:
    price = {"input_usd": 1000, "output_usd": 1000}
    failed = desk.finished(asking(at(server, price=price), budget={"cost_usd": 0.01}), code=5)
    assert failed["usage"] == {}
    assert server.asked == []


def test_a_denial_passes_over_a_model_by_the_side_of_the_boundary_that_it_is_on(desk: Desk, server: Server) -> None:
    finished = desk.finished(asking(at(server), {"use": "offline"}, denials=["local-only"]))
    assert server.asked == []
    assert {call["backend"] for call in calls(desk, finished["run_id"])} == {"offline"}


def test_data_is_shown_to_those_alone_who_may_see_it(desk: Desk, server: Server) -> None:
    trusted = {"use": "offline", "data": "restricted"}
    finished = desk.finished(asking(at(server), trusted, asks={"data": "confidential"}))
    assert server.asked == []
    (skipped,) = calls(desk, finished["run_id"])[0]["skipped"]
    assert skipped["reason"] == "it may be shown internal data, and this is confidential"


def test_labels_of_data_can_be_denied(desk: Desk, server: Server) -> None:
    denial = {"id": "no-mail", "data_classes": ["pii.email"], "reason": "addresses stay here"}
    failed = desk.finished(asking(at(server), denials=[denial], asks={"labels": ["pii.email"]}), code=9)
    assert "data class 'pii.email' denied: addresses stay here" in json.dumps(failed["stop_reason"])
    assert server.asked == []


def test_a_need_passes_over_who_does_not_satisfy_it(desk: Desk, server: Server) -> None:
    weak = {"use": "offline", "name": "weak"}
    needs = {"capabilities": ["reasoning"]}
    able = at(server)
    able["with"] = {**able["with"], "capabilities": ["completion", "reasoning"]}
    finished = desk.finished(asking(weak, able, asks={"needs": needs}))
    assert {call["backend"] for call in calls(desk, finished["run_id"])} == {"mine"}


def scored(desk: Desk, **profile: Any) -> dict[str, Any]:
    """Run a formation of a suggestor whose profile wants something of a backend; return what the run has decided."""
    profiled = {**RULE, "profile": {"roles": ["meta"], **profile}}
    formation = {"kind": "scored", "top_n": 1, "roles": ["meta"]}
    finished = desk.finished(intent(models=[{"use": "offline"}], suggestors=[profiled], formation=formation))
    facts = desk.json("show", finished["run_id"])["facts"]
    decided: dict[str, Any] = next(fact["payload"] for fact in facts if "assignments" in fact["payload"])
    return decided


def test_a_formation_asks_whether_a_model_has_what_a_profile_wants(desk: Desk) -> None:
    able, unable = scored(desk, backend=["completion"]), scored(desk, backend=["reasoning"])
    assert (able["selected"], able["refused"]) == (["rule"], [])
    assert unable["refused"] == [{"reason": "no backend offers reasoning", "suggestor": "rule"}]


def test_a_fallback_is_on_record_with_the_failure_before_it(desk: Desk, server: Server) -> None:
    server.say(Told(status=400, value={"error": {"message": "no", "type": "invalid_request_error"}}))
    finished = desk.finished(asking(at(server), {"use": "offline"}))
    first, *_ = calls(desk, finished["run_id"])
    assert [attempt["outcome"] for attempt in first["attempts"]] == ["invalid_request", "success"]
    shown = desk.call("show", finished["run_id"]).stdout
    assert "mine (m-1)" in shown
    assert "invalid request" in shown
    assert "offline (templates)" in shown


def test_a_key_is_found_where_it_is_said_to_be_and_is_nowhere_in_the_ledger(
    desk: Desk, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    model = at(server)
    model["with"] = {**model["with"], "api_key_env": "THE_KEY"}
    finished = desk.finished(asking(model, asks={"record": "full"}))
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    kept = [path.read_bytes() for path in desk.home.rglob("*") if path.is_file()]
    assert len(kept) > 1
    assert not any(KEY.encode() in content for content in kept)
    assert finished["status"] == "converged"


def test_a_key_from_a_file_comes_before_any_other_and_is_nowhere_in_the_ledger(
    desk: Desk, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", "sk-of-the-environment")
    model = at(server)
    model["with"] = {**model["with"], "api_key_env": "THE_KEY"}
    desk.write("key.txt", f"{KEY}\n")
    desk.write("intent.yaml", asking(model, asks={"record": "full"}))
    desk.call("run", "intent.yaml", "--no-input", "--key-file", "mine=key.txt")
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    kept = [path.read_bytes() for path in desk.home.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in content for content in kept)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("vllm", "'vllm' is not PROVIDER=FILE"),
        ("vllm=nowhere.txt", "the key of vllm cannot be read from nowhere.txt: No such file or directory"),
        ("vllm=empty.txt", "there is no key of vllm in empty.txt"),
    ],
)
def test_a_key_file_that_holds_none_is_refused(desk: Desk, named: str, message: str) -> None:
    desk.write("empty.txt", "\n")
    desk.write("intent.yaml", intent())
    assert message in desk.call("run", "intent.yaml", "--key-file", named, code=2).stderr


# --- what is told ---------------------------------------------------------------------------------------------------


def test_a_fact_explains_who_was_asked_about_it(desk: Desk, server: Server) -> None:
    run_id = desk.finished(asking(at(server)))["run_id"]
    told = desk.call("explain", run_id, "hypotheses/causes:s:1").stdout
    assert told.count("asked mine (m-1): success in") == 1
    graph = desk.json("explain", run_id, "hypotheses/causes:s:1")
    assert [call["about"] for call in graph["model_calls"]] == [["seeds/s:1"]]


def test_the_page_of_a_run_lists_its_models(desk: Desk, server: Server) -> None:
    run_id = desk.finished(asking(at(server)))["run_id"]
    page = desk.call("export", run_id, "--format", "html").stdout
    assert 'id="models"' in page
    assert "mine (m-1)" in page
    assert "No model was asked." in desk.call("export", desk.finished(intent())["run_id"], "--format", "html").stdout


@pytest.mark.skipif(sys.platform == "win32", reason="there are no terminals of this kind")
def test_a_terminal_shows_who_is_asked_while_they_are(desk: Desk, server: Server) -> None:
    server.say(Told(then="hang"))
    desk.write("intent.yaml", asking(at(server)))
    terminal = Terminal(desk, "run", "intent.yaml", TERM="xterm")
    terminal.sees("causes asks mine")
    terminal.presses("c")
    terminal.ends(130)


# --- replay asks nobody ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("live", [[], ["--live"]])
def test_a_replay_is_the_same_when_the_server_is_gone(desk: Desk, live: list[str]) -> None:
    with serving(COMPATIBLE.answer(ANSWER, "stop")) as server:
        run_id = desk.finished(asking(at(server)))["run_id"]
        asked = len(server.asked)
        assert desk.json("replay", run_id, *live)["equal"] is True
        assert len(server.asked) == asked == 2
    assert desk.json("replay", run_id, *live)["equal"] is True
    desk.call("verify", run_id)


# --- connections ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", [ANTHROPIC, COMPATIBLE], ids=["anthropic", "compatible"])
@pytest.mark.skipif(sys.platform == "win32", reason="there are no terminals of this kind")
def test_after_people_were_asked_models_are_asked_again(
    desk: Desk, provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stretch of a run is an event loop of its own, and so are its connections."""

    def answer(asked: Asked) -> Told:
        if asked.path.endswith("tokens"):
            return Told({"input_tokens": 23})
        told: Told = provider.answer(ANSWER, provider.stops["stop"])
        return replace(told, headers={"Connection": "keep-alive"})  # which is what would be left behind

    second = {**ASKS, "name": "doubts", "with": {**ASKS["with"], "for_each": "hypotheses", "key": "evaluations"}}
    with serving(answer) as server:
        use = "anthropic" if provider is ANTHROPIC else "openai-compatible"
        config = {"model": "m-1", "base_url": f"{server.url}{provider.base}", "api_key_env": "THE_KEY"}
        model = {"use": use, "with": config, "price": FREE}
        gates = {"hitl": {"keys": ["hypotheses"]}}
        seeds = [{"key": "seeds", "id": "s:{n}", "items": [{"n": 1}]}]
        desk.write("intent.yaml", intent(models=[model], suggestors=[ASKS, second], gates=gates, inputs=seeds))
        terminal = Terminal(desk, "run", "intent.yaml", THE_KEY=KEY, PYTHONWARNINGS="always::ResourceWarning")
        terminal.question()
        terminal.types("a")
        shown = terminal.ends(0)
    assert "ResourceWarning" not in shown
    assert sum(not asked.path.endswith("tokens") for asked in server.asked) == 2
