"""What the tests of all examples share."""

from __future__ import annotations

import pytest

from tests.examples.running import Converge


@pytest.fixture(scope="module")
def converge(tmp_path_factory: pytest.TempPathFactory) -> Converge:
    """Return the command line with a ledger for the tests of one example."""
    return Converge(tmp_path_factory.mktemp("home"))
