"""The walk: what is found, what bounds it, what is left out; and files, read and hashed."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterable
from hashlib import sha256
from itertools import islice
from pathlib import Path

import pytest

from converge_adapters.repository import walk
from converge_core.repository import FileEntry, RepositoryError, Walk


def paths(found: Walk) -> list[str]:
    return [entry.path for entry in found.files]


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")


def test_files_are_listed_in_order_with_their_size_and_mode(tmp_path: Path) -> None:
    make(tmp_path, "b/c", "a", "b/a")
    (tmp_path / "a").chmod(0o755)
    (tmp_path / "b/a").chmod(0o644)

    found = walk.walk(tmp_path, 10, 10)

    assert found.files == (FileEntry("a", 1, True), FileEntry("b/a", 3), FileEntry("b/c", 3))
    assert (found.directories, found.truncated) == (2, False)


def test_pr001_a_tree_of_one_file_more_than_the_bound_stops_there_and_says_so(tmp_path: Path) -> None:
    make(tmp_path, *(f"{number // 10}/{number}" for number in range(31)))

    assert len(walk.walk(tmp_path, 31, 5).files) == 31
    assert not walk.walk(tmp_path, 31, 5).truncated

    cut = walk.walk(tmp_path, 30, 5)

    assert len(cut.files) == 30
    assert cut.truncated


def test_pr001_a_link_to_the_parent_is_listed_and_not_followed(tmp_path: Path) -> None:
    make(tmp_path, "one/file")
    (tmp_path / "one/up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "alias").symlink_to(tmp_path / "one/file")

    found = walk.walk(tmp_path, 100, 100)

    assert paths(found) == ["one/file"]
    assert found.links == ("alias", "one/up")
    assert found.directories == 2


def test_pr001_no_more_of_a_directory_is_held_than_may_still_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, *(str(number) for number in range(40)))
    monkeypatch.setattr(walk, "_OTHERS", 1)
    taken = []

    def counted(entries: Iterable[object], stop: int) -> Iterable[object]:
        taken.append(stop)
        return islice(entries, stop)

    monkeypatch.setattr(walk, "islice", counted)

    assert walk.walk(tmp_path, 5, 5).truncated
    assert taken == [6]


def test_deeper_than_the_bound_is_not_looked_into_and_said(tmp_path: Path) -> None:
    make(tmp_path, "a/b/c/d", "a/e")

    found = walk.walk(tmp_path, 100, 1)

    assert paths(found) == ["a/e"]
    assert found.truncated
    assert not walk.walk(tmp_path, 100, 3).truncated


def test_a_walk_of_a_deep_tree_needs_no_recursion(tmp_path: Path) -> None:
    depth, limit = 200, sys.getrecursionlimit()
    make(tmp_path, "/".join("d" * depth) + "/f")
    sys.setrecursionlimit(len(inspect.stack(0)) + 60)
    try:
        found = walk.walk(tmp_path, 1000, depth)
    finally:
        sys.setrecursionlimit(limit)

    assert paths(found) == ["/".join("d" * depth) + "/f"]


def test_version_control_ignored_paths_and_names_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, ".git/config", "a", "out/x", "b/out/x", "b/__pycache__/y", "b/z.log", "z.log")

    found = walk.walk(tmp_path, 100, 10, {"out/", "b/z.log"}, walk.DERIVED)

    assert paths(found) == ["a", "b/out/x", "z.log"]


@pytest.mark.usefixtures("unprivileged")
def test_what_cannot_be_looked_into_is_listed(tmp_path: Path) -> None:
    make(tmp_path, "a", "shut/b")
    (tmp_path / "shut").chmod(0)
    try:
        found = walk.walk(tmp_path, 100, 10)
    finally:
        (tmp_path / "shut").chmod(0o755)

    assert (paths(found), found.unreadable) == (["a"], ("shut",))


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_root_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    make(tmp_path, "file")

    with pytest.raises(RepositoryError):
        walk.walk(tmp_path / name, 10, 10)


def test_what_is_neither_file_nor_folder_is_not_listed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert walk.walk(tmp_path, 10, 10).files == ()


@pytest.mark.parametrize("path", ["../outside", "a/../../outside", "", "/etc/passwd", "out/secret", "\0"])
def test_a_path_that_leads_out_of_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    make(tmp_path, "outside", "elsewhere/secret")
    (root / "out").symlink_to(tmp_path / "elsewhere", target_is_directory=True)

    with pytest.raises(RepositoryError):
        walk.read(root, path, 10)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    make(tmp_path, "file")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()

    with pytest.raises(RepositoryError):
        walk.read(tmp_path, kind, 10)


def test_no_more_than_the_bound_is_read(tmp_path: Path) -> None:
    make(tmp_path, "0123456789")

    assert walk.read(tmp_path, "0123456789", 4) == b"0123"


class Clock:
    """A clock that is as late as it is told to be."""

    def __init__(self) -> None:
        self.ns = 2**62

    def __call__(self) -> int:
        return self.ns


def test_a_digest_is_that_of_the_content(tmp_path: Path) -> None:
    make(tmp_path, "a")

    assert walk.Digests(Clock()).of(tmp_path, "a") == sha256(b"a").hexdigest()


def test_a_file_that_looks_untouched_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a")
    digests = walk.Digests(Clock())
    first = digests.of(tmp_path, "a")
    monkeypatch.delattr(walk, "_pieces")

    assert digests.of(tmp_path, "a") == first


def test_cr002_a_file_that_changes_its_content_alone_has_another_digest(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    digests = walk.Digests(Clock())
    before, status = digests.of(tmp_path, "a"), path.stat()

    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as `touch -r` hides a change

    assert digests.of(tmp_path, "a") != before


def test_a_file_that_was_touched_just_now_is_not_remembered(tmp_path: Path) -> None:
    make(tmp_path, "a")
    clock = Clock()
    clock.ns = (tmp_path / "a").stat().st_ctime_ns + 1

    digests = walk.Digests(clock)
    digests.of(tmp_path, "a")

    assert len(digests) == 0


def test_td005_digests_are_bounded_and_evictions_counted(tmp_path: Path) -> None:
    names = [f"f{number}" for number in range(20)]
    make(tmp_path, *names)
    digests = walk.Digests(Clock(), bound=6)

    found = [digests.of(tmp_path, name) for name in names]

    assert found == [sha256(name.encode()).hexdigest() for name in names]
    assert (len(digests), digests.evictions) == (6, 14)


def test_s004_the_digest_that_was_used_last_is_forgotten_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a", "b", "c")
    digests = walk.Digests(Clock(), bound=2)
    for name in ("a", "b", "a", "c"):
        digests.of(tmp_path, name)
    monkeypatch.delattr(walk, "_pieces")  # only what is remembered can be told now

    assert digests.of(tmp_path, "a") == sha256(b"a").hexdigest()
    assert digests.of(tmp_path, "c") == sha256(b"c").hexdigest()
    with pytest.raises(NameError):
        digests.of(tmp_path, "b")
