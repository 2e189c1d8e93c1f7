"""Code that an intent names comes from its folder or from an installed package, and from nowhere else."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from converge_adapters.code_loader import CodeLoader


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of an intent, beside which there is another."""
    folder = tmp_path / "intent"
    folder.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "away.py").write_text("def f(ctx): return 'outside'\n", encoding="utf-8")
    return folder


def _write(folder: Path, name: str, source: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")


def _refusal(folder: Path, reference: str) -> str:
    with pytest.raises(LookupError) as refused:
        CodeLoader(folder)(reference)
    return str(refused.value.args[0])


def test_a_function_of_the_folder_is_loaded(folder: Path) -> None:
    _write(folder, "own.py", "def f(ctx): return 'own'\n")
    assert CodeLoader(folder)("own:f")(None) == "own"


def test_a_module_in_a_folder_of_the_folder_is_loaded(folder: Path) -> None:
    _write(folder, "deep/er/own.py", "def f(ctx): return 'deep'\n")
    assert CodeLoader(folder)("deep.er.own:f")(None) == "deep"


def test_modules_of_the_folder_find_each_other(folder: Path) -> None:
    _write(folder, "beside_for_loader_test.py", "WORD = 'beside'\n")
    _write(folder, "own.py", "from beside_for_loader_test import WORD\ndef f(ctx): return WORD\n")
    assert CodeLoader(folder)("own:f")(None) == "beside"
    assert str(folder) not in sys.path


def test_a_module_of_the_folder_shadows_nobody(folder: Path) -> None:
    _write(folder, "json.py", "def f(ctx): return 'own'\n")
    _write(folder, "own.py", "import json\ndef f(ctx): return json.dumps('standard')\n")
    assert CodeLoader(folder)("own:f")(None) == '"standard"'
    assert CodeLoader(folder)("json:f")(None) == "own"


def test_equal_names_in_two_folders_are_two_modules(folder: Path) -> None:
    _write(folder, "one/own.py", "def f(ctx): return 1\n")
    _write(folder, "two/own.py", "def f(ctx): return 2\n")
    assert [CodeLoader(folder / name)("own:f")(None) for name in ("one", "two")] == [1, 2]


def test_an_installed_package_is_loaded(folder: Path) -> None:
    import click

    assert CodeLoader(folder)("click:echo") is click.echo
    assert CodeLoader(folder)("click.utils:echo") is click.echo


@pytest.mark.parametrize("reference", ["os:system", "subprocess:run", "builtins:eval", "posix:system"])
def test_the_standard_library_is_refused(folder: Path, reference: str) -> None:
    module = reference.partition(":")[0]
    assert _refusal(folder, reference) == f"{module!r} is neither in the intent's folder nor in an installed package"


def test_the_current_folder_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path / "outside")
    monkeypatch.syspath_prepend(tmp_path / "outside")
    assert _refusal(folder, "away:f") == "'away' is neither in the intent's folder nor in an installed package"


@pytest.mark.parametrize(
    "reference",
    [
        "own",
        "own:",
        ":f",
        "own:f:g",
        "../outside/away:f",
        "own:f.g",
        "own.py:f()",
        "own :f",
        "/etc/own:f",
        "_own:f",
        "",
    ],
)
def test_what_is_no_reference_is_refused(folder: Path, reference: str) -> None:
    assert _refusal(folder, reference) == f"{reference!r} is not of the form module:callable"


def test_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "linked.py").symlink_to(folder.parent / "outside" / "away.py")
    assert _refusal(folder, "linked:f") == "'linked' leads out of the intent's folder"


def test_a_folder_that_is_a_link_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "linked").symlink_to(folder.parent / "outside")
    assert _refusal(folder, "linked.away:f") == "'linked.away' leads out of the intent's folder"


def test_a_link_inside_of_the_folder_is_followed(folder: Path) -> None:
    _write(folder, "own.py", "def f(ctx): return 'own'\n")
    (folder / "linked.py").symlink_to(folder / "own.py")
    assert CodeLoader(folder)("linked:f")(None) == "own"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(ctx:", "own.py cannot be imported: SyntaxError: '(' was never closed (own.py, line 1)"),
        ("1 / 0", "own.py cannot be imported: ZeroDivisionError: division by zero"),
        ("{}['key']", "own.py cannot be imported: KeyError: 'key'"),
        ("raise SystemExit(3)", "own.py cannot be imported: SystemExit: 3"),
        ("import gone_for_loader_test", "own.py cannot be imported: ModuleNotFoundError: No module named 'gone_for_"),
        ("g = 1", "'own' has no 'f'"),
        ("f = 1", "'own:f' is a int, which cannot be called"),
    ],
)
def test_code_that_cannot_be_used_is_refused_with_the_reason(folder: Path, source: str, said: str) -> None:
    _write(folder, "own.py", source)
    assert _refusal(folder, "own:f").startswith(said)


def test_a_module_that_could_not_be_imported_is_tried_again(folder: Path) -> None:
    _write(folder, "own.py", "1 / 0")
    _refusal(folder, "own:f")
    _write(folder, "own.py", "def f(ctx): return 'mended'  # longer than before\n")
    assert CodeLoader(folder)("own:f")(None) == "mended"


def test_what_a_module_prints_goes_to_stderr(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(folder, "own.py", "print('noise')\ndef f(ctx): return None\n")
    CodeLoader(folder)("own:f")
    assert capsys.readouterr() == ("", "noise\n")


def test_a_package_that_cannot_be_imported_is_refused_with_the_reason(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    _write(site, "broken_for_loader_test/__init__.py", "raise RuntimeError('no')")
    _write(site, "broken-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    _write(site, "broken-1.0.dist-info/RECORD", "broken_for_loader_test/__init__.py,,\n")
    monkeypatch.syspath_prepend(site)
    assert _refusal(folder, "broken_for_loader_test:f") == (
        "'broken_for_loader_test' cannot be imported: RuntimeError: no"
    )


def test_the_source_of_a_module_is_told_by_its_hash(folder: Path) -> None:
    source = "def f(ctx): return 'own'\n"
    _write(folder, "own.py", source)
    assert CodeLoader(folder).source_digest("own:f") == hashlib.sha256(source.encode()).hexdigest()


def test_the_hash_is_that_of_the_code_that_was_loaded(folder: Path) -> None:
    _write(folder, "own.py", "def f(ctx): return 'loaded'\n")
    before = CodeLoader(folder).source_digest("own:f")
    _write(folder, "own.py", "def f(ctx): return 'written since'\n")
    assert CodeLoader(folder)("own:f")(None) == "loaded"
    assert CodeLoader(folder).source_digest("own:f") == before


def test_a_module_of_an_installed_package_has_a_hash_too(folder: Path) -> None:
    assert len(CodeLoader(folder).source_digest("pydantic.fields:Field")) == 64


@pytest.mark.parametrize("reference", ["gone:f", "../outside:f", "os:getcwd", "no reference"])
def test_what_cannot_be_loaded_has_no_hash(folder: Path, reference: str) -> None:
    with pytest.raises(LookupError):
        CodeLoader(folder).source_digest(reference)


def test_code_that_was_changed_within_a_second_is_read_anew(tmp_path: Path) -> None:
    module = tmp_path / "fresh.py"
    script = "from pathlib import Path; from converge_adapters.code_loader import CodeLoader; "
    script += "print(CodeLoader(Path.cwd())('fresh:word')())"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for word in ("one", "two"):  # of one length, and the file keeps its time: cached bytecode would pass for fresh
        module.write_text(f"def word(): return {word!r}")
        os.utime(module, (1_000_000_000, 1_000_000_000))
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == word
