"""Plugins of third parties, as the command line meets them: announced by a distribution, loaded, used, or reported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.desk import PATHS, RULE, Desk, intent

GOOD = """\
import click
from converge_core import ContextKey, ProposedFact, Suggestor, TextPayload, hookimpl, suggestor
from converge_adapters.executors import AnyioExecutor
from converge_adapters.ledgers.sqlite import SqliteLedger
from pydantic import BaseModel


class Config(BaseModel):
    greeting: str = "hello"


def greeter(config, site):
    @suggestor(reads=ContextKey.SEEDS, writes=ContextKey.SIGNALS, name=site.name)
    def greet(ctx):
        for seed in ctx.fresh(ContextKey.SEEDS):
            yield ProposedFact(ContextKey.SIGNALS, f"greet:{seed.id}", TextPayload(text=config.greeting))

    return greet


@hookimpl
def converge_register_suggestors(catalog):
    catalog.add("acme.greeter", greeter, Config, "Greets every seed.")


@hookimpl
def converge_register_gates(registry):
    registry.add("acme.polite", lambda config, site: lambda proposal, ctx: None)


@click.command("acme")
@click.option("--json", "as_json", is_flag=True, help="JSON.")
def acme(as_json):
    click.echo("a command of acme")


@hookimpl
def converge_register_commands(group):
    group.add("acme", lambda config, site: acme)
    group.add("acme-none", lambda config, site: "no command")


class Recorder:
    def __init__(self):
        self.file = open("observed", "a", encoding="utf-8")

    def recorded(self, run_id, entries):
        for entry in entries:
            print(run_id, entry.kind, file=self.file, flush=True)


class Raiser:
    calls = 0

    def recorded(self, run_id, entries):
        Raiser.calls += 1
        raise RuntimeError(f"call {Raiser.calls}")


def unmade(config, site):
    raise RuntimeError("not today")


@hookimpl
def converge_register_observers(registry):
    registry.add("acme.raiser", lambda config, site: Raiser())
    registry.add("acme.recorder", lambda config, site: Recorder())
    registry.add("acme.unmade", unmade)


class Limits(BaseModel):
    concurrency: int


class Announcing(AnyioExecutor):
    async def execute(self, calls):
        print("acme executes", len(calls))
        return await super().execute(calls)


@hookimpl
def converge_register_executors(registry):
    registry.add("acme.executor", lambda config, site: Announcing(config.concurrency), Limits)


@hookimpl
def converge_register_ledgers(registry):
    registry.add("acme", lambda config, site: SqliteLedger(site.name.removeprefix("acme://") + ".acme"))
"""

RAISING = "raise RuntimeError('\\x1b[31mbroken')"
UNKNOWN = "from converge_core import hookimpl\n\n@hookimpl\ndef converge_register_suggestor(catalog): ...\n"
TAKEN = (
    "from converge_core import hookimpl\n\n@hookimpl\ndef converge_register_suggestors(catalog):\n"
    "    catalog.add('taken.first', lambda config, site: None)\n"
    "    catalog.add('rules.cel', lambda config, site: None)\n"
)
EXITING = "raise SystemExit(0)"


def _distribute(desk: Desk, **modules: str) -> dict[str, str]:
    """Install a distribution that announces these modules as plugins, and return the environment that has it."""
    site = desk.folder / "site"
    announced = "\n".join(f"{name} = {name}_plugin" for name in modules)
    desk.write("site/acme-1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: acme\nVersion: 1.2\n")
    desk.write("site/acme-1.2.dist-info/entry_points.txt", f"[converge]\n{announced}\n")
    for name, source in modules.items():
        desk.write(f"site/{name}_plugin.py", source)
    return {"PYTHONPATH": ":".join([*PATHS, str(site)])}


@pytest.fixture
def acme(desk: Desk) -> Mapping[str, str]:
    """Return the environment with the plugin that has everything."""
    return _distribute(desk, acme=GOOD)


def _states(stdout: str) -> dict[str, tuple[str, str | None]]:
    rows = [json.loads(line) for line in stdout.splitlines()]
    return {row["name"]: (row["state"], row["error"]) for row in rows if row["version"] != "built-in"}


def _greeting(**with_: object) -> str:
    return intent(suggestors=[{"use": "acme.greeter", "with": with_}])


# Loading.


def test_the_plugins_are_listed_with_version_hooks_and_state(desk: Desk, acme: Mapping[str, str]) -> None:
    rows = [json.loads(line) for line in desk.process("plugins", "--json", environment=acme).stdout.splitlines()]
    assert all(set(row) == {"name", "version", "state", "hooks", "error"} for row in rows)
    [row] = [row for row in rows if row["name"] == "acme"]
    assert (row["version"], row["state"], row["error"]) == ("1.2", "loaded", None)
    assert {"commands", "executors", "gates", "ledgers", "observers", "suggestors"} == set(row["hooks"])


def test_broken_plugins_are_reported_and_the_good_one_works(desk: Desk) -> None:
    modules = {"a_raising": RAISING, "b_unknown": UNKNOWN, "c_taken": TAKEN, "d_exiting": EXITING, "good": GOOD}
    environment = _distribute(desk, **modules)
    states = _states(desk.process("plugins", "--json", environment=environment).stdout)
    assert {name: state for name, (state, _) in states.items()} == {
        **dict.fromkeys(list(modules)[:4], "failed"),
        "good": "loaded",
    }
    assert states["a_raising"][1] == "RuntimeError: \x1b[31mbroken"
    assert "unknown hook 'converge_register_suggestor'" in str(states["b_unknown"][1])
    assert states["c_taken"][1] == "suggestor 'rules.cel' is offered already, by rules"
    assert states["d_exiting"][1] == "SystemExit: 0"

    desk.write("intent.yaml", _greeting())
    done = desk.process("run", "intent.yaml", "--json", environment=environment)
    assert json.loads(done.stdout)["facts"] == 4
    reported = [line for line in done.stderr.splitlines() if line.startswith("plugin ")]
    assert [line.split("'")[1] for line in reported] == list(modules)[:4]
    assert "\x1b" not in done.stderr


def test_the_table_tells_state_and_error(desk: Desk) -> None:
    environment = _distribute(desk, bad=RAISING)
    told = desk.process("plugins", environment=environment).stdout
    [row] = [line for line in told.splitlines() if line.startswith("bad")]
    assert row.split() == ["bad", "1.2", "failed", "RuntimeError:", "\N{REPLACEMENT CHARACTER}[31mbroken"]


def test_what_a_failed_plugin_had_offered_is_withdrawn(desk: Desk) -> None:
    environment = _distribute(desk, taken=TAKEN)
    offered = desk.process("plugins", "--offers", "--json", environment=environment).stdout
    assert "taken.first" not in offered


def test_strictly_a_broken_plugin_stops_everything(desk: Desk) -> None:
    environment = _distribute(desk, bad=RAISING, good=GOOD)
    desk.write("intent.yaml", _greeting())
    done = desk.process("--strict-plugins", "run", "intent.yaml", code=1, environment=environment)
    assert (done.stdout, desk.home.exists()) == ("", False)
    assert done.stderr == "converge: plugin 'bad': RuntimeError: \N{REPLACEMENT CHARACTER}[31mbroken\n"


def test_no_plugins_leaves_third_parties_out(desk: Desk, acme: Mapping[str, str]) -> None:
    assert _states(desk.process("--no-plugins", "plugins", "--json", environment=acme).stdout) == {}
    desk.write("intent.yaml", _greeting())
    done = desk.process("--no-plugins", "run", "intent.yaml", code=3, environment=acme)
    assert "unknown suggestor 'acme.greeter'" in done.stderr


@pytest.mark.parametrize(
    ("named", "state"), [("acme", "loaded"), ("other, acme", "loaded"), ("other", "blocked"), ("", "blocked")]
)
def test_the_environment_restricts_the_plugins(desk: Desk, acme: Mapping[str, str], named: str, state: str) -> None:
    done = desk.process("plugins", "--json", environment={**acme, "CONVERGE_PLUGINS": named})
    assert _states(done.stdout) == {"acme": (state, None)}


def test_a_plugin_is_not_loaded_for_help(desk: Desk) -> None:
    environment = _distribute(desk, bad=RAISING)
    assert desk.process("--help", environment=environment).stderr == ""


# What plugins offer.


def test_the_offers_are_listed_with_who_makes_them(desk: Desk, acme: Mapping[str, str]) -> None:
    done = desk.process("plugins", "--offers", "--json", environment=acme)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(set(row) == {"what", "name", "plugin", "summary"} for row in rows)
    greeter = {"what": "suggestor", "name": "acme.greeter", "plugin": "acme", "summary": "Greets every seed."}
    assert greeter in rows
    assert ("check", "has_evidence", "converge") in [(row["what"], row["name"], row["plugin"]) for row in rows]


def test_a_fault_of_its_configuration_is_told_with_the_place(desk: Desk, acme: Mapping[str, str]) -> None:
    desk.write("intent.yaml", _greeting(greetin="hi"))
    done = desk.process("run", "intent.yaml", code=3, environment=acme)
    assert done.stderr.endswith("suggestors[0].with.greetin: unknown field; did you mean 'greeting'?\n")


def test_a_check_of_a_plugin_can_be_required(desk: Desk, acme: Mapping[str, str]) -> None:
    desk.write("intent.yaml", intent(gates={"validation": {"require": ["acme.polite", "evidence_exists"]}}))
    assert json.loads(desk.process("run", "intent.yaml", "--json", environment=acme).stdout)["facts"] == 4


def test_a_plugin_adds_a_command(desk: Desk, acme: Mapping[str, str]) -> None:
    assert desk.process("acme", environment=acme).stdout == "a command of acme\n"


@pytest.mark.parametrize("flags", [["--no-plugins"], []])
def test_a_command_of_a_plugin_that_is_not_loaded_is_unknown(
    desk: Desk, acme: Mapping[str, str], flags: list[str]
) -> None:
    environment = acme if flags else {**acme, "CONVERGE_PLUGINS": ""}
    assert "No such command 'acme'" in desk.process(*flags, "acme", code=2, environment=environment).stderr


def test_a_command_that_is_none_is_the_fault_of_its_plugin(desk: Desk, acme: Mapping[str, str]) -> None:
    done = desk.process("acme-none", code=1, environment=acme)
    assert done.stderr == "converge: plugin 'acme': 'acme-none' is no click command, but a str\n"


def test_observers_are_told_of_a_run_and_of_its_resumption(desk: Desk, acme: Mapping[str, str]) -> None:
    after = RULE | {"name": "after", "with": {**RULE["with"], "for_each": "signals", "key": "evaluations"}}
    desk.write("intent.yaml", intent(suggestors=[RULE, after], gates={"hitl": {"keys": ["signals"]}}))
    run_id = json.loads(desk.process("run", "intent.yaml", "--json", code=6, environment=acme).stdout)["run_id"]
    desk.call("approve", run_id, "--all")
    desk.process("resume", run_id, environment=acme)
    observed = [line.split() for line in (desk.folder / "observed").read_text(encoding="utf-8").splitlines()]
    assert {name for name, _ in observed} == {run_id}
    kinds = [kind for _, kind in observed]
    assert (kinds[0], kinds[-1]) == ("run_started", "run_stopped")
    assert kinds.count("effect_received") == 2


def test_an_observer_that_fails_is_reported_once_and_stops_nothing(desk: Desk, acme: Mapping[str, str]) -> None:
    desk.write("intent.yaml", intent())
    done = desk.process("run", "intent.yaml", "--json", environment=acme)
    assert json.loads(done.stdout)["converged"]
    assert done.stderr.splitlines() == [
        "observer 'acme.unmade' of the plugin 'acme' failed, and is told nothing more: RuntimeError: not today",
        "observer 'acme.raiser' of the plugin 'acme' failed, and is told nothing more: RuntimeError: call 1",
    ]
    assert (desk.folder / "observed").read_text(encoding="utf-8").endswith("run_stopped\n")


def test_an_executor_of_a_plugin_performs_the_calls_on_request(desk: Desk, acme: Mapping[str, str]) -> None:
    desk.write("intent.yaml", intent(suggestors=[RULE, RULE | {"name": "again"}], gates={"conflict": "reject"}))
    done = desk.process("run", "intent.yaml", "--json", "--executor", "acme.executor", environment=acme)
    assert "acme executes 2\n" in done.stderr
    assert json.loads(done.stdout)["converged"]
    assert "acme executes" not in desk.process("run", "intent.yaml", environment=acme).stderr


def test_an_unknown_executor_is_wrong_usage(desk: Desk, acme: Mapping[str, str]) -> None:
    desk.write("intent.yaml", intent())
    done = desk.process("run", "intent.yaml", "--executor", "acme.exekutor", code=2, environment=acme)
    assert done.stderr.endswith("Error: unknown executor 'acme.exekutor'; did you mean 'acme.executor'?\n")
    assert not desk.home.exists()


def test_a_ledger_of_a_plugin_is_opened_by_the_scheme_of_its_url(desk: Desk, acme: Mapping[str, str]) -> None:
    desk.write("intent.yaml", intent())
    done = desk.process("run", "intent.yaml", "--json", "--ledger", "acme://kept", environment=acme)
    run_id = json.loads(done.stdout)["run_id"]
    assert (desk.folder / "kept.acme").exists()
    assert run_id in desk.process("runs", "--ledger", "acme://kept", environment=acme).stdout


def test_a_plugin_without_metadata_still_loads(desk: Desk) -> None:
    environment = _distribute(desk, good=GOOD)
    (Path(desk.folder) / "site/acme-1.2.dist-info/METADATA").unlink()
    [(name, (state, _))] = _states(desk.process("plugins", "--json", environment=environment).stdout).items()
    assert (name, state) == ("good", "loaded")
