"""Nobody has to ask what is missing: every name of the original has a place here, or a reason."""

from __future__ import annotations

import pkgutil
import re
from collections import Counter
from pathlib import Path

import pytest

from docs import seed_map

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reference" / "seed-map.md").read_text(encoding="utf-8")
REASONS = [*seed_map.ABSENT, *seed_map.DEFECTS.values()]
PATHS = sorted(
    {*seed_map.lives().values(), *(path for why in REASONS for path in re.findall(r"`(converge_\S+)`", why))}
)
TESTS = sorted({test for why in REASONS for test in re.findall(r"`(tests/\S+)`", why)})


def _mapped() -> list[str]:
    grouped = [*seed_map.SAME.values(), *seed_map.ABSENT.values()]
    return [*seed_map.RENAMED, *(name for names in grouped for name in names.split())]


def test_every_name_of_the_original_is_mapped_once_and_no_other() -> None:
    assert Counter(_mapped()) == Counter(seed_map.NAMES)
    assert len(seed_map.NAMES) > 300


@pytest.mark.parametrize("path", PATHS)
def test_every_place_can_be_imported(path: str) -> None:
    pkgutil.resolve_name(path)


@pytest.mark.parametrize("path", PATHS)
def test_no_place_is_private(path: str) -> None:
    assert not any(part.startswith("_") for part in path.split("."))


@pytest.mark.parametrize("name", seed_map.NAMES)
def test_every_name_has_its_line_on_the_page(name: str) -> None:
    [line] = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    assert line in seed_map.rows()
    _, _, place, reason, _ = line.split("|")
    assert bool(place.strip()) != bool(reason.strip())


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_is_a_short_sentence(reason: str) -> None:
    assert 10 < len(reason) <= 130


@pytest.mark.parametrize("named", TESTS)
def test_every_test_that_is_named_is_there(named: str) -> None:
    file, _, test = named.partition("::")
    assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")
