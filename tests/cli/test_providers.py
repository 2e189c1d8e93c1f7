"""``converge providers``: which can be asked, what is known of each, and how it is forgotten."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from converge_adapters.testing.capacity import ManualClock
from converge_cli.commands.providers import command
from converge_cli.exit_codes import ExitCode
from converge_cli.session import Session
from converge_plugins.pcsf.memory import MemoryCapacityStore
from converge_plugins.pcsf.registry import ProviderRegistry
from tests.cli.desk import Desk, intent

SECRET = "sk-never-to-be-shown"
NAMES = ("anthropic", "openai", "google", "groq", "deepseek", "ollama", "offline")
KEYS = tuple(f"{name.upper()}_API_KEY" for name in NAMES[:5])


@pytest.fixture
def desk(desk: Desk) -> Desk:
    """A desk without a key."""
    desk.environment |= dict.fromkeys(KEYS)
    return desk


@pytest.fixture
def rich(desk: Desk) -> Desk:
    """A desk with every key."""
    desk.environment |= dict.fromkeys(KEYS, SECRET)
    return desk


@pytest.fixture
def elsewhere(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> ProviderRegistry:
    """What another process of this home would use."""
    monkeypatch.setenv("CONVERGE_HOME", str(desk.home))
    return Session(third_party=False).capacity


def shown(desk: Desk, *args: object) -> dict[str, dict[str, Any]]:
    """Return what `--json` says of each provider, in its order."""
    rows = [json.loads(line) for line in desk.call("providers", "--json", *args).stdout.splitlines()]
    return {row["provider_id"]: row for row in rows}


def lines(desk: Desk, *args: object) -> list[str]:
    """Return the lines of the table, the spaces in each made one."""
    return [" ".join(line.split()) for line in desk.call("providers", *args).stdout.splitlines()]


def trip(registry: ProviderRegistry, provider: str) -> None:
    for _ in range(3):
        registry.record_error(provider, "no answer")


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_x01_the_table_has_those_that_can_be_asked_first_and_says_which_keys_are_missing(desk: Desk) -> None:
    desk.environment["GROQ_API_KEY"] = "key"
    header, _, *rows = lines(desk)
    assert header == "provider state routable latency errors window key last error"
    assert rows == [
        "1 groq available yes GROQ_API_KEY: present",
        "2 ollama available yes not needed",
        "3 offline available yes not needed",
        "anthropic no_key no ANTHROPIC_API_KEY: missing",
        "openai no_key no OPENAI_API_KEY: missing",
        "google no_key no GOOGLE_API_KEY: missing",
        "deepseek no_key no DEEPSEEK_API_KEY: missing",
    ]


def test_x01_with_every_key_the_chain_is_the_default_one(rich: Desk) -> None:
    rows = shown(rich)
    assert [(name, row["position"]) for name, row in rows.items()] == [(name, n) for n, name in enumerate(NAMES, 1)]


def test_what_was_learned_elsewhere_is_in_the_table(desk: Desk, elsewhere: ProviderRegistry) -> None:
    elsewhere.record_success("offline", 12)
    elsewhere.record_error("offline", "no\x1b[2J answer")
    elsewhere.record_quota_hit("ollama", 23 * 3_600_000 + 30 * 61_000)
    rows = lines(desk)
    assert "1 offline degraded yes 12 ms 1 not needed failed: no?[2J answer" in rows
    assert "ollama quota_hit no 23 h 30 min not needed quota" in rows


def test_json_is_one_object_a_provider_with_all_that_is_known(desk: Desk, elsewhere: ProviderRegistry) -> None:
    elsewhere.record_success("ollama", 70)
    row = shown(desk)["ollama"]
    assert row.items() >= {"position": 1, "state": "available", "is_routable": True, "window_left_ms": 0}.items()
    assert (row["latency_ema_ms"], row["success_count"], row["env_key"]) == (70, 1, None)
    assert row["provider_id"] == "ollama"


def test_td009_what_nobody_has_observed_is_null(desk: Desk) -> None:
    row = shown(desk)["ollama"]
    assert (row["latency_ema_ms"], row["latency_max_ms"], row["last_success_at_ms"]) == (None, None, None)


def test_an_open_circuit_is_out_of_the_chain_and_its_window_is_shown(desk: Desk, elsewhere: ProviderRegistry) -> None:
    trip(elsewhere, "ollama")
    row = shown(desk)["ollama"]
    assert (row["position"], row["state"], row["is_routable"], row["error_count"]) == (None, "circuit_open", False, 3)
    assert 0 < row["window_left_ms"] <= 30_000


def test_to_look_begins_no_file(desk: Desk) -> None:
    desk.call("providers")
    assert not desk.home.exists()


@pytest.mark.parametrize("how", [(), ("--json",), ("--reset", "ollama")])
def test_no_key_is_shown_or_written(rich: Desk, how: tuple[str, ...]) -> None:
    result = rich.call("providers", *how)
    assert "anthropic" in result.stdout
    assert SECRET not in result.output
    assert not [file for file in rich.folder.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]


# --- tiers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "chain"),
    [
        ((), ["ollama", "google", "anthropic"]),
        (("--tier", "deep_dreamer"), ["ollama", "anthropic", "google"]),
        (("--tier", "synthesasia_guild"), ["anthropic", "google", "ollama"]),
    ],
)
def test_x02_the_order_is_that_of_the_tier(how: tuple[str, ...], chain: list[str]) -> None:
    session = Session(third_party=False)
    session.capacity = ProviderRegistry(MemoryCapacityStore(), ManualClock())
    for provider in ("ollama", "google", "anthropic"):
        session.capacity.register(provider)
    printed = CliRunner().invoke(command, ["--json", *how], obj=session)
    assert [json.loads(line)["provider_id"] for line in printed.stdout.splitlines()] == chain


def test_a_tier_that_there_is_not_is_wrong_usage(desk: Desk) -> None:
    result = desk.call("providers", "--tier", "dreamer", code=ExitCode.USAGE)
    assert "'dreamer' is not one of 'wanderer', 'deep_dreamer', 'synthesasia_guild'" in result.stderr


# --- forgetting -------------------------------------------------------------------------------------------------------


def test_who_is_reset_can_be_asked_again_and_nobody_else(rich: Desk, elsewhere: ProviderRegistry) -> None:
    trip(elsewhere, "ollama")
    trip(elsewhere, "openai")
    result = rich.call("providers", "--reset", "ollama", "--json")
    assert result.stderr == "forgotten: ollama\n"
    rows = shown(rich)
    assert (rows["ollama"]["state"], rows["ollama"]["error_count"]) == ("available", 0)
    assert rows["openai"]["state"] == "circuit_open"
    assert elsewhere.admit("ollama").permit is not None


def test_several_can_be_reset_at_once(desk: Desk, elsewhere: ProviderRegistry) -> None:
    for name in ("ollama", "openai"):
        trip(elsewhere, name)
    desk.call("providers", "--reset", "ollama", "--reset", "openai")
    assert {row["error_count"] for row in shown(desk).values()} == {0}


def test_x27_a_name_that_nobody_has_is_wrong_usage_and_nobody_is_reset(desk: Desk, elsewhere: ProviderRegistry) -> None:
    trip(elsewhere, "ollama")
    result = desk.call("providers", "--reset", "ollama", "--reset", "gemini", code=ExitCode.USAGE)
    assert "there is no provider 'gemini'; known: " in result.stderr
    assert all(name in result.stderr for name in NAMES)
    assert result.stdout == ""
    assert shown(desk)["ollama"]["state"] == "circuit_open"


# --- a file that is damaged -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [(), ("--json",), ("--watch",), ("--reset", "ollama")])
def test_a_file_that_is_none_is_one_error_that_says_that_it_can_be_deleted(desk: Desk, how: tuple[str, ...]) -> None:
    path = desk.write("home/capacity.db", "no database at all " * 100)
    result = desk.call("providers", *how, code=ExitCode.ERROR)
    [said] = result.stderr.splitlines()
    assert said == (
        f"converge: capacity of the providers, {path}: file is not a database; "
        "the file can be deleted: what it knows is then learned again"
    )
    assert result.stdout == ""
    path.unlink()
    desk.call("providers", *[word for word in how if word != "--watch"])


# --- in a run ---------------------------------------------------------------------------------------------------------


def test_a_run_sees_the_providers_and_its_replay_sees_what_it_saw(desk: Desk, elsewhere: ProviderRegistry) -> None:
    looks = {"use": "pcsf.capacity", "name": "looks", "with": {"for_each": "seeds"}}
    waits = {
        "use": "rules.cel",
        "name": "waits",
        "with": {
            "for_each": "signals",
            "when": "'ollama' in fact.chain",
            "key": "hypotheses",
            "id": "ask",
            "payload": {"whom": "fact.chain[0]", "state": "fact.states.ollama"},
        },
    }
    run = desk.finished(intent(suggestors=[looks, waits]))
    assert run["status"] == "converged"
    facts = desk.json("show", run["run_id"])["facts"]
    assert [fact["payload"] for fact in facts if fact["id"] == "ask"] == [{"whom": "ollama", "state": "available"}]
    trip(elsewhere, "ollama")
    assert desk.json("replay", run["run_id"])["equal"] is True
