"""Every backend that comes with Converge keeps the promises of the port."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from converge_adapters.backends.config import OfflineConfig, ScriptedConfig, StepSection
from converge_adapters.backends.offline import OfflineBackend
from converge_adapters.backends.scripted import ScriptedBackend, Step
from converge_adapters.testing.backends import ANSWER, BackendConformance
from converge_core.llm.backend import Backend
from tests.adapters.backends.server import Asked, Server, Told, serving
from tests.adapters.backends.test_remote import SDK_LEAVES_GENERATORS
from tests.adapters.backends.wire import ANTHROPIC, COMPATIBLE, OPENAI, Provider


class RemoteConformance(BackendConformance):
    """The promises, kept through an SDK and a server that always gives the same answer."""

    provider: ClassVar[Provider]
    server: Server

    @pytest.fixture(autouse=True)
    def _serve(self) -> Iterator[None]:
        with serving(self.answer) as server:
            self.server = server
            yield

    def answer(self, asked: Asked) -> Told:
        """Count, stream or answer, as it is asked."""
        if asked.path.endswith("tokens"):
            return Told({"input_tokens": 23, "object": "response.input_tokens"})
        stop = self.provider.stops["stop"]
        if asked.body.get("stream"):
            return self.provider.stream([ANSWER[:20], ANSWER[20:]], stop, "end")
        return self.provider.answer(ANSWER, stop)

    def make_backend(self) -> Backend:
        return self.provider.backend(self.server)


class TestAnthropic(RemoteConformance):
    provider = ANTHROPIC


class TestOpenAI(RemoteConformance):
    provider = OPENAI


@SDK_LEAVES_GENERATORS
class TestCompatible(RemoteConformance):
    provider = COMPATIBLE


class TestOffline(BackendConformance):
    def make_backend(self) -> Backend:
        return OfflineBackend(OfflineConfig().profile_of("offline", "offline", "templates"))


class TestScripted(BackendConformance):
    def make_backend(self) -> Backend:
        config = ScriptedConfig(steps=(StepSection(text=ANSWER),))
        return ScriptedBackend(config.profile_of("scripted", "scripted", "script"), [Step("again", ANSWER)] * 9)
