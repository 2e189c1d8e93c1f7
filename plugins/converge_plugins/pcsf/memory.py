"""A store for one process: what it knows ends with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import TypeVar

from converge_core import MisuseError
from converge_core.llm.capacity import ProviderCapacityState, QuotaUse

A = TypeVar("A")


class MemoryCapacityStore:
    """Implements the port `CapacityStore`, for any number of threads."""

    def __init__(self) -> None:
        self._states: dict[str, ProviderCapacityState] = {}
        self._uses: dict[tuple[str, str], QuotaUse] = {}
        self._lock = Lock()
        self._closed = False

    def read(self) -> Mapping[str, ProviderCapacityState]:
        with self._lock:
            self._check_open()
            return dict(self._states)

    def update(self, provider: str, change: Callable[[ProviderCapacityState], tuple[ProviderCapacityState, A]]) -> A:
        with self._lock:
            self._check_open()
            state, answer = change(self._states.get(provider) or ProviderCapacityState(provider))
            self._states[provider] = state
            return answer

    def update_use(self, user: str, action: str, change: Callable[[QuotaUse], tuple[QuotaUse, A]]) -> A:
        with self._lock:
            self._check_open()
            use, answer = change(self._uses.get((user, action)) or QuotaUse())
            self._uses[user, action] = use
            return answer

    def close(self) -> None:
        with self._lock:
            self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise MisuseError("this store of capacity is closed")
