"""``converge`` itself: its help, what it loads for that, mistyped words, and what becomes of errors."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from converge_cli.exit_codes import ExitCode
from converge_cli.main import COMMANDS, main
from tests.cli.desk import Desk, intent, python

HEAVY = ("anthropic", "openai", "sqlite_utils", "sqlite3", "pydantic", "rich", "anyio", "yaml", "cel", "converge_core")
IMPORTED = """\
import sys
sys.argv = ["converge", *sys.argv[1:]]
from converge_cli.main import main
try:
    main()
finally:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


def _leaves() -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, under the words that call it."""
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", found) for inner, found in command.commands.items())
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield name, command


LEAVES = dict(_leaves())


def _loaded(desk: Desk, *args: str) -> set[str]:
    """Call `converge` in a process of its own, and return the packages that it imports for that."""
    command = [sys.executable, "-c", IMPORTED, *args]
    done = subprocess.run(command, env=desk.variables(), capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("args", [["--help"], ["-h"], []])
def test_help_loads_nothing_heavy(desk: Desk, args: list[str]) -> None:
    command = [sys.executable, "-c", IMPORTED, *args]
    done = subprocess.run(command, env=desk.variables(), capture_output=True, text=True, check=False)
    assert set(done.stderr.splitlines()[-1].split()).isdisjoint(HEAVY)


def test_a_command_loads_no_sdk_of_a_model_provider(desk: Desk) -> None:
    desk.write("intent.yaml", intent())
    loaded = _loaded(desk, "run", str(desk.folder / "intent.yaml"))
    assert loaded.isdisjoint({"anthropic", "openai"})
    assert "converge_core" in loaded  # so that the test can see something


@pytest.mark.parametrize("command", ["runs", "verify", "head", "export"])
def test_a_command_that_reads_a_run_loads_no_plugin_and_sets_no_engine_up(desk: Desk, command: str) -> None:
    kept: str = desk.finished(intent())["run_id"]
    loaded = _loaded(desk, command, *([] if command == "runs" else [kept]))
    assert loaded.isdisjoint({"cel", "converge_plugins", "yaml"})


def test_help_lists_every_command_and_every_exit_code(desk: Desk) -> None:
    shown = desk.call("--help").stdout
    assert all(f"\n  {name} " in shown for name in COMMANDS)
    assert all(f"\n    {code.value:<5}{code.meaning}\n" in shown for code in ExitCode)


@pytest.mark.parametrize("words", LEAVES)
def test_a_command_has_a_help_text_and_json(desk: Desk, words: str) -> None:
    command = LEAVES[words]
    assert command.help, words
    assert "--json" in [name for parameter in command.params for name in parameter.opts]
    assert command.help.splitlines()[0] in " ".join(desk.call(*words.split(), "--help").stdout.split())


@pytest.mark.parametrize("words", LEAVES)
def test_every_option_says_what_it_does(words: str) -> None:
    options = [parameter for parameter in LEAVES[words].params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_commands_are_the_modules(desk: Desk) -> None:
    from converge_cli import commands

    (folder,) = commands.__path__
    stems = {path.stem for path in (desk.folder / folder).glob("*.py")} - {"__init__"}
    found = {stem.replace("_", "-") for stem in stems}
    assert found == set(COMMANDS)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["rnu"], "No such command 'rnu'.*Did you mean.*'run'"),
        (["aprove"], "No such command 'aprove'.*Did you mean.*'approve'"),
        (["run", "--dry-rum"], "No such option '--dry-rum'.*Did you mean.*'--dry-run'"),
        (["zzzz"], "No such command 'zzzz'.$"),
        (["run"], "Missing argument 'INTENT'.$"),
    ],
)
def test_a_mistyped_word_is_told_with_what_may_be_meant(desk: Desk, args: list[str], said: str) -> None:
    [*_, line] = desk.call(*args, code=2).stderr.splitlines()
    assert re.match(f"Error: {said}", line), line


BUG = """\
from converge_core import Suggestor
class Own(Suggestor):
    name = "own"
    def execute(self, ctx):
        raise AssertionError
    @property
    def dependencies(self):
        raise RuntimeError("a bug \\x1b[31mhere")
"""


def test_a_bug_is_one_sentence_that_says_how_to_see_more(desk: Desk) -> None:
    desk.write("own.py", BUG)
    result = desk.run(intent(suggestors=[{"use": "python", "name": "own", "with": {"callable": "own:Own"}}]), code=1)
    assert result.stdout == ""
    assert result.stderr == (
        "converge: RuntimeError: a bug \N{REPLACEMENT CHARACTER}[31mhere\n"
        "This is a fault of Converge or of a plugin; `converge --debug ...` shows where.\n"
    )


@pytest.mark.parametrize(("flags", "environment"), [(["--debug"], {}), ([], {"CONVERGE_DEBUG": "1"})])
def test_debug_shows_where(desk: Desk, flags: list[str], environment: dict[str, str]) -> None:
    desk.write("own.py", BUG)
    desk.write("intent.yaml", intent(suggestors=[{"use": "python", "name": "own", "with": {"callable": "own:Own"}}]))
    done = desk.process(*flags, "run", "intent.yaml", code=1, environment=environment)
    assert "Traceback" in done.stderr
    assert "own.py" in done.stderr


@pytest.mark.parametrize("args", [["--debug", "rnu"], ["run", "intent.yaml", "--debug"]])
def test_wrong_usage_is_never_a_traceback(desk: Desk, args: list[str]) -> None:
    assert "Traceback" not in desk.process(*args, code=2).stderr


def test_a_reader_that_goes_away_is_no_error_to_tell(desk: Desk) -> None:
    desk.run(
        intent(inputs=[{"key": "seeds", "id": "s:{n}", "items": [{"n": n, "text": "x" * 999} for n in range(500)]}])
    )
    run_id = desk.json("runs")["run_id"]
    command = f"{sys.executable} -m converge_cli show {run_id} --all --json | head -c 10"
    done = subprocess.run(["sh", "-c", command], env=desk.variables(), capture_output=True, text=True, check=True)
    assert (len(done.stdout), done.stderr) == (10, "")


INTERRUPTED = """\
import asyncio, os, signal

async def say(ctx):
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.Event().wait()
"""


def test_a_run_that_is_interrupted_exits_with_130_and_can_be_resumed(desk: Desk) -> None:
    desk.write("own.py", INTERRUPTED)
    desk.write("intent.yaml", intent(suggestors=[python("own:say")]))
    done = desk.process("run", "intent.yaml", code=130)
    run_id = desk.json("runs")["run_id"]
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1] == f"run {run_id} is kept as far as it came: converge resume {run_id}"
    assert desk.json("runs")["status"] == "open"
