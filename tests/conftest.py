"""Settings of all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# A time limit an example would fail on a busy machine; the time limit of the whole test is pytest's.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
