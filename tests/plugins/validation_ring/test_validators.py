"""The validators that ship: what each of them sees, and that none takes another's word."""

from __future__ import annotations

from hashlib import sha256

import pytest

from converge_core import NoConfig, Site
from converge_core.repository import REPOSITORY, RepositoryError
from converge_core.suggestors.catalog import Ports
from converge_core.validation import CannotSay, Claim, Finding
from tests.core.stage import finish
from tests.fakes.repository import FakeRepository
from tests.plugins.validation_ring.stage import SHIPPED, claims, committed, no_code, outcomes, ring, run, votes

CONTENT = b"all is well\n"
DIGEST = sha256(CONTENT).hexdigest()
GIT_FAILED = RepositoryError(".", "git failed")


def look(name: str, repository: FakeRepository, path: str = "a.txt", digest: str | None = DIGEST) -> Finding:
    validator = SHIPPED[name](NoConfig(), Site(name, no_code, Ports().offer(REPOSITORY, repository)))
    said = validator.validate(Claim(claim="it is as it was", path=path, sha256=digest))
    assert not isinstance(said, Finding)
    return finish(said)  # type: ignore[arg-type]  # those that ship are all coroutines


def test_the_file_strategy_sees_whether_there_is_content() -> None:
    repository = FakeRepository({"a.txt": CONTENT, "empty.txt": b""})
    assert look("file", repository).holds
    assert look("file", repository, "empty.txt") == Finding(
        False, {"path": "empty.txt", "readable": True, "empty": True}, "empty.txt is empty"
    )
    gone = look("file", repository, "gone.txt")
    assert (gone.holds, gone.saw["readable"], gone.reason) == (False, False, "gone.txt: there is no such file")


def test_the_version_control_strategy_sees_whether_it_is_what_was_committed() -> None:
    files = {"a.txt": CONTENT}
    assert look("version_control", FakeRepository(files, committed("a.txt"))).holds
    untracked = look("version_control", FakeRepository(files, committed("b.txt")))
    assert (untracked.holds, untracked.reason) == (False, "a.txt is not tracked")
    changed = look("version_control", FakeRepository(files, committed("a.txt", changed=["a.txt"])))
    assert (changed.holds, changed.reason) == (False, "a.txt is not what was committed")


def test_x19_without_version_control_the_version_control_strategy_says_no() -> None:
    found = look("version_control", FakeRepository({"a.txt": CONTENT}))
    assert (found.holds, found.reason) == (False, "the folder is not under version control")


def test_x19_a_failing_git_is_no_yes() -> None:
    repository = FakeRepository({"a.txt": CONTENT}, GIT_FAILED)
    with pytest.raises(RepositoryError):
        look("version_control", repository)
    result = run(claims({"severity": "critical"}), ring(repository=repository))
    assert votes(result)["version_control"].reason == "RepositoryError: .: git failed"
    assert outcomes(result)["c1"].abstain == ("hash", "version_control")
    assert outcomes(result)["c1"].status == "disputed"


def test_the_hash_strategy_sees_whether_the_content_is_what_was_named() -> None:
    repository = FakeRepository({"a.txt": CONTENT})
    assert look("hash", repository) == Finding(True, {"path": "a.txt", "sha256": DIGEST})
    assert not look("hash", repository, digest="0" * 64).holds
    assert not look("hash", repository, "gone.txt").holds


def test_the_hash_strategy_has_nothing_to_say_of_a_claim_without_a_digest() -> None:
    with pytest.raises(CannotSay, match="names no digest"):
        look("hash", FakeRepository({"a.txt": CONTENT}), digest=None)


def test_s007_the_strategies_are_those_of_file_version_control_and_hash() -> None:
    result = run(claims({"sha256": DIGEST}), ring(repository=FakeRepository({"a.txt": CONTENT}, committed("a.txt"))))
    assert outcomes(result)["c1"].yes == ("file", "hash", "version_control")
    assert outcomes(result)["c1"].status == "validated"


def test_td006_a_file_that_is_there_but_untracked_and_another_one_is_disputed() -> None:
    repository = FakeRepository({"a.txt": CONTENT}, committed("b.txt"))
    result = run(claims({"sha256": "0" * 64}), ring(repository=repository))
    said = {voter: vote.decision for voter, vote in votes(result).items()}
    assert said == {"file": "yes", "version_control": "no", "hash": "no"}
    assert outcomes(result)["c1"].status == "disputed"
