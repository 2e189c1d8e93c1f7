"""A real folder behind the port."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from converge_adapters.repository import FolderRepository
from converge_core.repository import RepositoryError
from tests.adapters.repository.conftest import Git

pytestmark = pytest.mark.anyio


async def test_cr002_a_folder_without_version_control_is_walked_without_what_tools_derive(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/a.pyc").touch()
    (tmp_path / "a.py").touch()

    assert [entry.path for entry in (await FolderRepository(tmp_path).walk()).files] == ["a.py"]


async def test_what_git_ignores_is_not_walked_and_what_it_does_not_know_is(tmp_path: Path, git: Git) -> None:
    git("init", "-q")
    (tmp_path / ".gitignore").write_text("dist/\n", encoding="utf-8")
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/x").touch()
    (tmp_path / "untracked").touch()

    assert [entry.path for entry in (await FolderRepository(tmp_path).walk()).files] == [".gitignore", "untracked"]


async def test_a_folder_that_is_not_there_cannot_be_walked(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError):
        await FolderRepository(tmp_path / "nowhere").walk()


@pytest.mark.usefixtures("unprivileged")
async def test_digests_leave_out_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "open").write_bytes(b"open")
    (tmp_path / "shut").write_bytes(b"shut")
    (tmp_path / "shut").chmod(0)
    folder = FolderRepository(tmp_path)

    assert await folder.digests(["open", "shut", "absent"]) == {"open": sha256(b"open").hexdigest()}
    with pytest.raises(RepositoryError):
        await folder.digest("shut")


async def test_a_search_hands_each_file_to_the_function_and_stops_at_one_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"de")
    folder = FolderRepository(tmp_path)

    assert await folder.search(["b", "a"], lambda path, content: (path, content), 2) == [("b", b"de"), ("a", b"ab")]
    with pytest.raises(RepositoryError):
        await folder.search(["a", "absent"], lambda path, content: path)


async def test_a_name_that_is_no_text_can_be_read_all_the_same(tmp_path: Path) -> None:
    (Path(str(tmp_path)) / b"\xff".decode(errors="surrogateescape")).write_bytes(b"x")
    folder = FolderRepository(tmp_path)

    (entry,) = (await folder.walk()).files

    assert await folder.read(entry.path) == b"x"


async def test_a_command_is_run_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "here").touch()

    result = await FolderRepository(tmp_path).run(["ls"], 60_000)

    assert (result.exit_code, result.stdout) == (0, "here\n")
