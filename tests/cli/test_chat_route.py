"""``converge chat-route``: every message is one run with one record, whatever became of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from converge_adapters.capacity import SqliteCapacityStore
from converge_cli.chatting import DEFAULT_MODELS, default_models, model_of
from converge_core.llm.capacity import ProviderCapacityState, QuotaUse
from converge_plugins.pcsf.tiers import QUOTA_PERIOD_MS
from tests.adapters.backends.server import Server, Told, serving
from tests.adapters.backends.wire import COMPATIBLE
from tests.cli.desk import Desk, intent

HELLO = "I flew over a mill"
KEYS = [f"{provider.upper()}_API_KEY" for provider in DEFAULT_MODELS]


@pytest.fixture(autouse=True)
def _without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that speaks the real protocol, and answers until it is told something else."""
    with serving(COMPATIBLE.answer("what a mill", "stop")) as server:
        yield server


def at(server: Server) -> str:
    return f"vllm:m-1@{server.url}/v1"


def records(desk: Desk, run_id: str) -> list[dict[str, Any]]:
    """Return the records of actions that a run has: the ledger is checked and derived again on the way."""
    assert desk.json("replay", run_id)["equal"] is True
    desk.call("verify", run_id)
    facts = desk.json("show", run_id)["facts"]
    return [fact["payload"] for fact in facts if "action_type" in (fact["payload"] or {})]


def only_run(desk: Desk) -> str:
    (run,) = [json.loads(line) for line in desk.call("runs", "--json").stdout.splitlines()]
    return str(run["run_id"])


def provider(desk: Desk, name: str) -> ProviderCapacityState:
    store = SqliteCapacityStore(desk.home / "capacity.db")
    try:
        return store.read().get(name, ProviderCapacityState(name))
    finally:
        store.close()


# --- every path has one record --------------------------------------------------------------------------------------


def test_without_a_key_the_templates_answer_and_say_so(desk: Desk) -> None:
    result = desk.call("chat-route", HELLO)
    assert result.stdout == f"I keep this dream as you told it: “{HELLO}”. What of it was still there when you woke?\n"
    assert "auto, by offline (templates)" in result.stderr
    assert "recorded: converge show chat-" in result.stderr


def test_a_chat_that_was_killed_is_resumed_into_its_record(desk: Desk, server: Server) -> None:
    server.say(Told(then="hang"))
    with streaming(desk, server) as process:
        assert server.arrived.wait(30)
        process.kill()
    run_id = only_run(desk)
    server.say(COMPATIBLE.answer("what a mill", "stop"))
    assert desk.json("resume", run_id)["status"] == "converged"
    (record,) = records(desk, run_id)
    assert (record["status"], record["output_summary"]) == ("ok", "what a mill")


@pytest.mark.parametrize(
    ("options", "code", "status"),
    [
        ([], 0, "ok"),
        (["--agent", "stranger"], 1, "denied"),
        (["--model", "anthropic"], 1, "denied"),
        (["--model", "vllm:m@http://127.0.0.1:9/v1"], 9, "error"),
        (["--model", "vllm:m@http://127.0.0.1:9/v1", "--deny", "local-only"], 1, "denied"),
        (
            ["--stream", "--kind", "lore", "--tier", "synthesasia_guild", "--user", "ada", "--system", "Be brief."],
            0,
            "ok",
        ),
    ],
    ids=["offline", "no claim", "no key", "no network", "denied", "all options"],
)
def test_td002_every_path_leaves_exactly_one_record(desk: Desk, options: list[str], code: int, status: str) -> None:
    desk.call("chat-route", HELLO, *options, code=code)
    (record,) = records(desk, only_run(desk))
    assert record["status"] == status
    assert record["gates"][-1]["gate"] == "aapf"
    assert record["dcf_ref"] == "chat:message"


def test_the_gates_are_on_record_in_their_order(desk: Desk) -> None:
    told = desk.json("chat-route", HELLO)
    (record,) = records(desk, told["run_id"])
    assert [passage["gate"] for passage in record["gates"]] == ["dcf", "nap", "ccf", "pcsf", "aapf"]
    assert record["capability_claim"] == "auto"
    assert record["nap_profile"] == "dreamer-safety"
    assert record["plan"] == desk.json("show", told["run_id"])["model_calls"][0]["request"]


def test_a_model_answers_through_its_sdk(desk: Desk, server: Server) -> None:
    told = desk.json("chat-route", HELLO, "--model", at(server), "--agent", "lantern", "--system", "Be brief.")
    assert (told["text"], told["provider"], told["model"]) == ("what a mill", "vllm", "m-1-real")
    assert (told["agent"], told["source"], told["status"]) == ("lantern", "llm", "ok")
    assert told["usage"] == {"input_tokens": 23, "output_tokens": 7}
    (asked,) = server.asked
    assert [message["content"] for message in asked.body["messages"]] == ["Be brief.", HELLO]


def test_a_message_may_come_from_standard_input(desk: Desk) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "converge_cli", "chat-route", "-"],
        env=desk.variables(),
        input=HELLO,
        capture_output=True,
        text=True,
        check=True,
    )
    assert HELLO in done.stdout


# --- denials --------------------------------------------------------------------------------------------------------


def test_td002_a_denied_message_reaches_no_provider(desk: Desk, server: Server) -> None:
    told = desk.json("chat-route", HELLO, "--model", at(server), "--deny", "local-only", code=1)
    assert told["denied_by"]["gate"] == "nap"
    assert "boundary 'cloud' denied: nothing leaves the premises" in told["denied_by"]["reason"]
    assert (told["provider"], server.asked) == ("", [])


def test_the_quota_of_a_tier_is_used_up_by_chatting_and_enforced(desk: Desk) -> None:
    assert desk.json("chat-route", HELLO)["quota_left"] == 99
    today = time.time_ns() // 1_000_000 // QUOTA_PERIOD_MS
    store = SqliteCapacityStore(desk.home / "capacity.db")
    store.update_use("dreamer", "chat", lambda use: (QuotaUse(today + 1, 100), None))  # whatever the hour is
    store.close()
    denied = desk.json("chat-route", HELLO, code=1)
    assert denied["denied_by"] == {"gate": "pcsf", "reason": "the quota of chat is used up"}
    assert desk.json("chat-route", HELLO, "--tier", "deep_dreamer")["quota_left"] is None
    assert desk.json("chat-route", HELLO, "--user", "ada")["quota_left"] == 99


# --- failures -------------------------------------------------------------------------------------------------------


def test_a_fallback_names_the_failure_before_it(desk: Desk, server: Server) -> None:
    server.say(Told(status=500))
    told = desk.json("chat-route", HELLO, "--model", at(server), "--model", "offline")
    assert (told["status"], told["provider"], told["source"]) == ("ok", "offline", "offline")
    assert told["error"].startswith(at(server))
    (call,) = desk.json("show", told["run_id"])["model_calls"]
    assert [attempt["outcome"] for attempt in call["attempts"]] == ["overloaded", "success"]


def test_x09_an_empty_reply_is_a_failure_of_the_provider(desk: Desk, server: Server) -> None:
    server.say(COMPATIBLE.answer("", "stop"))
    told = desk.json("chat-route", HELLO, "--model", at(server), code=9)
    assert (told["status"], told["text"]) == ("error", "")
    assert "the answer is empty" in told["error"]
    assert provider(desk, "vllm").error_count == 1


def test_cr004_three_failures_on_one_way_spare_the_provider_on_every_other(desk: Desk, server: Server) -> None:
    server.say(Told(status=500))
    for _ in range(3):
        desk.call("chat-route", HELLO, "--model", at(server), code=9)
    denied = desk.json("chat-route", HELLO, "--model", at(server), code=1)
    assert "circuit_open" in denied["denied_by"]["reason"]
    model = {
        "use": "openai-compatible",
        "with": {"provider": "vllm", "model": "m-1", "base_url": f"{server.url}/v1"},
        "price": {"input_usd": 0, "output_usd": 0},
    }
    asks = {"use": "llm", "with": {"for_each": "seeds", "prompt": "Why? {{ fact }}", "key": "signals"}}
    failed = desk.finished(intent(models=[model], suggestors=[asks]), code=9)
    assert "its circuit is open" in json.dumps(failed["stop_reason"])
    assert len(server.asked) == 3


def test_x10_a_ledger_that_cannot_be_written_ends_it_before_anybody_is_asked(desk: Desk, server: Server) -> None:
    blocked = desk.write("a-file", "")
    desk.call("chat-route", HELLO, "--model", at(server), "--ledger", blocked / "runs.db", code=1)
    assert server.asked == []
    assert not (desk.home / "capacity.db").exists() or provider(desk, "vllm").success_count == 0


# --- streams --------------------------------------------------------------------------------------------------------

PIECES = ["what ", "a ", "mill"]


def test_an_answer_is_printed_as_it_comes(desk: Desk, server: Server) -> None:
    server.say(COMPATIBLE.stream(PIECES, "stop", "end"))
    lines = desk.call("chat-route", HELLO, "--model", at(server), "--stream", "--json").stdout.splitlines()
    *pieces, told = [json.loads(line) for line in lines]
    assert [piece["piece"] for piece in pieces] == PIECES
    assert (told["text"], told["status"]) == ("what a mill", "ok")
    assert desk.call("chat-route", HELLO, "--model", at(server), "--stream").stdout == "what a mill\n"


def test_what_a_model_said_before_it_failed_is_marked_as_no_answer(desk: Desk, server: Server) -> None:
    broken = COMPATIBLE.stream(["half an"], "", "reset")
    server.say(broken, broken)
    options = ["--model", at(server), "--model", "offline", "--stream"]
    lines = [json.loads(line) for line in desk.call("chat-route", HELLO, *options, "--json").stdout.splitlines()]
    assert lines[0] == {"piece": "half an"}
    assert lines[1] == {"failed": at(server), "outcome": "network"}
    assert lines[-1]["provider"] == "offline"
    assert "what it has said so far is no answer" in desk.call("chat-route", HELLO, *options).stderr


def streaming(desk: Desk, server: Server, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "converge_cli", "chat-route", HELLO, "--model", at(server), "--stream"],
        env=desk.variables(),
        cwd=desk.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def aborted(desk: Desk) -> dict[str, Any]:
    """Return the record of the one message, and see that the provider was given its permit back."""
    (record,) = records(desk, only_run(desk))
    (call,) = desk.json("show", only_run(desk))["model_calls"]
    assert [attempt["outcome"] for attempt in call["attempts"]] == ["aborted"]
    known = provider(desk, "vllm")
    assert (known.error_count, known.success_count, known.breaker.state.value) == (0, 0, "closed")
    return record


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals of this kind")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_s008_a_stream_that_is_interrupted_is_one_record(desk: Desk, server: Server, number: signal.Signals) -> None:
    server.say(COMPATIBLE.stream(["what "], "", "hang"))
    with streaming(desk, server) as process:
        assert process.stdout is not None
        assert process.stdout.read(5) == "what "
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    record = aborted(desk)
    assert (record["status"], record["error"]) == ("error", f"the answer was cut off: {number.name} was received")
    assert server.hung_up.wait(10), "the connection was given back"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes of this kind")
def test_s008_a_stream_that_nobody_reads_any_more_is_one_record(desk: Desk, server: Server) -> None:
    server.say(COMPATIBLE.stream(["what a mill " * 10] * 2_000, "stop", "end"))  # more than a pipe holds
    with streaming(desk, server) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(4) == "what"
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 1, said
    assert "Traceback" not in said, said
    record = aborted(desk)
    assert (record["status"], record["error"]) == ("error", "the answer was cut off: the reader has gone")


def test_nothing_that_a_model_says_moves_a_cursor(desk: Desk, server: Server) -> None:
    server.say(COMPATIBLE.stream(["a\x1b[2Jb"], "stop", "end"))
    assert "\x1b" not in desk.call("chat-route", HELLO, "--model", at(server), "--stream").stdout
    server.say(COMPATIBLE.answer("a\x1b[2Jb", "stop"))
    assert "\x1b" not in desk.call("chat-route", HELLO, "--model", at(server)).stdout


# --- in an intent ---------------------------------------------------------------------------------------------------


def test_an_intent_may_route_each_of_its_facts(desk: Desk, server: Server) -> None:
    model = {
        "use": "openai-compatible",
        "with": {"provider": "vllm", "model": "m-1", "base_url": f"{server.url}/v1"},
        "price": {"input_usd": 0, "output_usd": 0},
    }
    chat = {"use": "chat", "with": {"agent": "keeper", "agents": ["keeper"], "kind": "note", "record": "full"}}
    finished = desk.finished(intent(models=[model], suggestors=[chat]))
    made = records(desk, finished["run_id"])
    assert [(record["actor"]["agent_id"], record["status"]) for record in made] == [("keeper", "ok")] * 2
    calls = desk.json("show", finished["run_id"])["model_calls"]
    assert [call["about"] for call in calls] == [["seeds/s:1"], ["seeds/s:2"]]
    assert len({call["exchange"] for call in calls}) == 2
    assert [asked.body["messages"][0]["content"] for asked in server.asked] == ['{"n":1}', '{"n":2}']


# --- who is asked ---------------------------------------------------------------------------------------------------


def test_the_default_models_are_those_whose_keys_are_there_and_then_the_templates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [model["use"] for model in default_models({})] == ["offline"]
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    monkeypatch.setenv("GOOGLE_API_KEY", "k")
    found = list(default_models({"groq": SecretStr("k")}))
    assert [model["name"] for model in found[:3]] == ["anthropic", "google", "groq"]
    assert found[1]["use"] == "openai-compatible"
    assert found[3] == {"use": "offline"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("anthropic:claude-x", {"use": "anthropic", "name": "anthropic:claude-x", "with": {"model": "claude-x"}}),
        ("offline", {"use": "offline", "name": "offline", "with": {}}),
        (
            "ollama:llama3.2:1b",
            {
                "use": "openai-compatible",
                "name": "ollama:llama3.2:1b",
                "with": {"provider": "ollama", "model": "llama3.2:1b"},
                "price": {"input_usd": 0, "output_usd": 0},
            },
        ),
        (
            "openai-compatible:m@https://models.example/v1",
            {
                "use": "openai-compatible",
                "name": "openai-compatible:m@https://models.example/v1",
                "with": {"model": "m", "base_url": "https://models.example/v1"},
            },
        ),
    ],
)
def test_a_model_is_named_by_its_backend_or_provider(spec: str, expected: dict[str, Any]) -> None:
    assert model_of(spec) == expected


def test_x27_a_provider_under_a_name_that_nobody_has_is_refused(desk: Desk) -> None:
    said = desk.call("chat-route", HELLO, "--model", "gemini:gemini-2.5-flash", code=2).stderr
    assert "unknown backend 'gemini'" in said
    assert model_of("google")["with"]["provider"] == "google"


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["  "], "a message says something"),
        ([HELLO, "--model", "antropic"], "did you mean 'anthropic'?"),
        ([HELLO, "--model", "vllm"], "which model is vllm to be asked for? Name it: vllm:MODEL"),
        ([HELLO, "--model", ":m"], "is not of the form use[:model][@URL]"),
        ([HELLO, "--agent", " "], "a name is not blank"),
        ([HELLO, "--tier", "lord"], "'lord' is not one of"),
    ],
)
def test_wrong_usage_is_refused_and_leaves_nothing_behind(desk: Desk, args: list[str], complaint: str) -> None:
    assert complaint in desk.call("chat-route", *args, code=2).stderr
    assert not os.path.exists(desk.home / "runs.db")  # noqa: PTH110
