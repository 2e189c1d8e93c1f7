"""What the README shows works as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from converge_cli.main import COMMANDS
from tests.cli.desk import PATHS, Desk

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(section: str) -> list[tuple[str, str]]:
    """Return language and text of the fenced blocks of a section."""
    _, _, rest = README.partition(f"\n## {section}\n")
    assert rest, section
    return re.findall(r"^```(\w+)\n(.*?)^```$", rest.partition("\n## ")[0], re.M | re.S)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path)


def test_the_python_quick_start_runs_as_it_stands(desk: Desk) -> None:
    [(language, source)] = _blocks("Quick start in Python")
    assert language == "python"
    script = desk.write("quick_start.py", source)
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(command, env=desk.variables(), capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    shown = re.findall(r"# (.*)$", source, re.M)
    assert [first, second] == shown[1:]
    assert len([line for line in source.splitlines() if line.strip()]) <= 20


def test_the_yaml_quick_start_runs_from_its_first_command_to_its_last(desk: Desk) -> None:
    (_, intent), (_, console) = _blocks("Quick start in YAML")
    desk.write("tickets.yaml", intent)
    names = {"RUN": "", "HEAD": ""}
    commands = re.findall(r"^\$ converge (.*)$", console, re.M)
    for command in commands:
        args = [names.get(word, word) for word in command.split()]
        printed = desk.call(*args).stdout
        if found := re.search(r"^run +(\S+)\n.*\nledger head +(\S+)$", printed, re.M):
            names = {"RUN": found[1], "HEAD": found[2]}
            assert "Criteria met: found" in printed
    assert [command.split()[0] for command in commands] == ["run", "runs", "show", "verify", "replay"]


def test_the_plugin_loads_and_runs_as_it_stands(desk: Desk) -> None:
    (_, source), (_, announced) = _blocks("Writing a plugin")
    module = re.match(r"# (\w+)\.py\n", source)
    point = re.search(r'^\[project\.entry-points\.converge\]\n(\w+) = "(\w+)"$', announced, re.M)
    assert module is not None
    assert point is not None
    assert module[1] == point[2]
    desk.write(f"site/{module[1]}.py", source)
    desk.write("site/acme-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    desk.write("site/acme-1.0.dist-info/entry_points.txt", f"[converge]\n{point[1]} = {point[2]}\n")
    environment = {"PYTHONPATH": ":".join([*PATHS, str(desk.folder / "site")])}
    config = {"greeting": "hi"}
    used = {"use": "acme.greeter", "with": config}
    seeds = {"key": "seeds", "id": "{n}", "items": [{"n": 1}]}
    desk.write("intent.yaml", json.dumps({"intent": {"id": "t"}, "inputs": [seeds], "suggestors": [used]}))
    done = desk.process("--strict-plugins", "run", "intent.yaml", "--json", environment=environment)
    run_id = json.loads(done.stdout)["run_id"]
    [fact] = json.loads(desk.process("show", run_id, "--key", "signals", "--json").stdout)["facts"]
    assert (fact["id"], fact["payload"]) == ("greet:1", {"text": "hi"})

    config["greting"] = "hi"
    desk.write("intent.yaml", json.dumps({"intent": {"id": "t"}, "suggestors": [used]}))
    done = desk.process("run", "intent.yaml", code=3, environment=environment)
    assert re.match(
        r"intent\.yaml:1:\d+: suggestors\[0\]\.with\.greting: unknown field; did you mean 'greeting'", done.stderr
    )


def test_every_command_that_it_mentions_exists() -> None:
    mentioned = set(re.findall(r"(?:^\$ |`)converge ([a-z]+)", README, re.M))
    assert mentioned
    assert mentioned <= set(COMMANDS)


def test_every_make_target_that_it_mentions_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    mentioned = {target for words in re.findall(r"\bmake ((?:[a-z]+ ?)+)(?:`|  )", README) for target in words.split()}
    assert {"demo", "test", "lint"} <= mentioned <= targets


def test_the_intent_with_a_model_runs_without_a_key_and_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    [(language, source)] = _blocks("With a language model")
    assert language == "yaml"
    desk.write("causes.yaml", source)
    run_id = desk.json("run", "causes.yaml")["run_id"]
    shown = desk.call("show", run_id).stdout
    assert "capacity: ANTHROPIC_API_KEY is not set" in shown
    assert "offline (templates)" in shown
