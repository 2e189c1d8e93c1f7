from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge_adapters.backends.blobs import FolderBlobs, blobs_path, write_durably
from converge_core.errors import LedgerError
from converge_core.llm.blobs import Blobs


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path / "ledger.db.blobs")


def only_file(blobs: FolderBlobs) -> Path:
    [path] = [path for path in blobs.folder.rglob("*") if path.is_file()]
    return path


def test_what_is_put_is_got_by_its_digest(blobs: FolderBlobs) -> None:
    port: Blobs = blobs
    digest = port.put(b"an exchange")
    assert digest == hashlib.sha256(b"an exchange").hexdigest()
    assert port.get(digest) == b"an exchange"


def test_the_same_content_is_one_file(blobs: FolderBlobs) -> None:
    assert blobs.put(b"twice") == blobs.put(b"twice")
    assert only_file(blobs).read_bytes() == b"twice"


def test_a_blob_that_was_changed_is_not_given_out(blobs: FolderBlobs) -> None:
    digest = blobs.put(b"an exchange")
    only_file(blobs).write_bytes(b"another")
    with pytest.raises(LedgerError, match="is not what was written"):
        blobs.get(digest)


def test_a_blob_that_was_damaged_is_put_anew(blobs: FolderBlobs) -> None:
    digest = blobs.put(b"an exchange")
    only_file(blobs).write_bytes(b"an ex")
    assert blobs.put(b"an exchange") == digest
    assert blobs.get(digest) == b"an exchange"


def test_what_was_never_put_is_not_there(blobs: FolderBlobs) -> None:
    with pytest.raises(LedgerError, match="cannot be read: No such file"):
        blobs.get("0" * 64)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "0" * 63, "A" * 64, "0" * 64 + "/.."])
def test_only_a_digest_is_a_name(blobs: FolderBlobs, name: str) -> None:
    with pytest.raises(LedgerError, match="is not the name of a blob"):
        blobs.get(name)


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "taken"
    (target / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="irectory"):
        write_durably(target, b"content")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]


def test_a_place_that_cannot_be_written_is_an_error_of_the_ledger(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LedgerError, match="cannot be written"):
        FolderBlobs(tmp_path / "file").put(b"content")


def test_blobs_are_beside_their_ledger() -> None:
    assert blobs_path(Path("/data/ledger.db")) == Path("/data/ledger.db.blobs")


@given(st.binary())
def test_any_bytes_come_back(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    blobs = FolderBlobs(tmp_path_factory.getbasetemp() / "blobs")
    assert blobs.get(blobs.put(content)) == content
