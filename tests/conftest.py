"""Settings of all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# A process started in the background ignores Ctrl-C, and hands that on to its children; the tests press it in theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A time limit an example would fail on a busy machine; the time limit of the whole test is pytest's.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
