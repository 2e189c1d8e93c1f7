"""What every backend must do. One of a third party proves itself with a few lines:

    from converge_adapters.testing.backends import ANSWER, BackendConformance

    class TestMyBackend(BackendConformance):
        def make_backend(self):
            return MyBackend(...)  # one that answers ANSWER, whatever it is asked

Each test makes a backend, checks one promise of the port `converge_core.llm.backend.Backend`, on asyncio and on trio,
and closes it. ``event_loops`` are those that the backend runs on. For values in the messages, put
``pytest.register_assert_rewrite("converge_adapters.testing.backends")`` into ``conftest.py``.
"""

# ruff: noqa: S101 (these are tests, if on their way to others)

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import ClassVar

import anyio

from converge_core.ledger.canonical import JsonValue, parse
from converge_core.llm.backend import Backend, BackendRequest, BackendResponse, ContractSpec, FinishReason, Message
from converge_core.llm.errors import InvalidRequest
from converge_core.suggestors.contract import Replayability

_Promise = Callable[["BackendConformance", Backend], Awaitable[None]]

SCHEMA: Mapping[str, JsonValue] = {
    "type": "object",
    "properties": {"verdict": {"enum": ["approve", "reject"]}, "reason": {"type": "string"}},
    "required": ["verdict", "reason"],
    "additionalProperties": False,
}
ANSWER = '{"reason": "it is within the limit", "verdict": "approve"}'
"""An answer that fits the schema which the suite asks for. A backend that makes its own answers need not give it."""

PLAIN = BackendRequest("intent", (Message.user("Is the claim of 12 EUR to be approved?"),))
SHAPED = replace(PLAIN, contracts=(ContractSpec("verdict", SCHEMA),))
UNCHECKED = replace(PLAIN, contracts=(ContractSpec("politeness", required=False), ContractSpec("truth")))


def _promise(check: _Promise) -> Callable[[BackendConformance], None]:
    """Make a test that pytest can call of a check on an open backend."""

    def test(self: BackendConformance) -> None:
        async def run() -> None:
            backend = self.make_backend()
            try:
                await check(self, backend)
            finally:
                await backend.aclose()

        for event_loop in self.event_loops:
            anyio.run(run, backend=event_loop)

    test.__doc__ = check.__doc__
    return test


async def _heard(backend: Backend, request: BackendRequest) -> tuple[list[str], BackendResponse]:
    pieces: list[str] = []

    async def listen(piece: str) -> None:
        pieces.append(piece)

    return pieces, await backend.complete(request, listen)


class BackendConformance:
    """The promises of the port, for any backend."""

    event_loops: ClassVar[tuple[str, ...]] = ("asyncio", "trio")

    def make_backend(self) -> Backend:
        """Make the backend to be tested, which answers whatever it is asked, in time. Called on an event loop."""
        raise NotImplementedError

    @_promise
    async def test_a_profile_holds_still(self, backend: Backend) -> None:
        before = backend.profile
        await backend.complete(PLAIN)
        assert backend.profile == before

    @_promise
    async def test_an_answer_is_signed_by_who_gave_it(self, backend: Backend) -> None:
        response = await backend.complete(PLAIN)
        assert response.backend == backend.profile.id
        assert response.model
        assert response.text.strip()
        assert response.finish in FinishReason
        assert response.iterations == 1
        assert response.latency_ms >= 0

    @_promise
    async def test_a_prompt_is_never_counted_too_low(self, backend: Backend) -> None:
        for request in (PLAIN, SHAPED):
            counted = await backend.count_tokens(request)
            assert counted >= (await backend.complete(request)).usage.input_tokens

    @_promise
    async def test_an_answer_keeps_to_its_limits(self, backend: Backend) -> None:
        response = await backend.complete(PLAIN)
        assert PLAIN.faults(response) == ()

    @_promise
    async def test_a_backend_leaves_the_price_to_whoever_knows_it(self, backend: Backend) -> None:
        assert (await backend.complete(PLAIN)).usage.cost_microusd == 0

    @_promise
    async def test_the_pieces_of_a_stream_are_the_answer(self, backend: Backend) -> None:
        for request in (PLAIN, SHAPED):
            pieces, response = await _heard(backend, request)
            assert "".join(pieces) == response.text

    @_promise
    async def test_a_streamed_answer_has_all_that_another_has(self, backend: Backend) -> None:
        _, streamed = await _heard(backend, SHAPED)
        whole = await backend.complete(SHAPED)
        assert streamed.model == whole.model
        assert streamed.contract_report == whole.contract_report
        assert bool(streamed.usage.input_tokens) == bool(whole.usage.input_tokens)

    @_promise
    async def test_a_shape_is_checked_and_its_value_given(self, backend: Backend) -> None:
        response = await backend.complete(SHAPED)
        [result] = response.contract_report.results
        assert (result.name, result.passed) == ("verdict", True), result.diagnostics
        assert isinstance(response.output, dict)
        assert response.output == parse(response.text)
        assert response.output["verdict"] in ("approve", "reject")

    @_promise
    async def test_what_cannot_be_checked_is_not_reported_as_kept(self, backend: Backend) -> None:
        response = await backend.complete(UNCHECKED)
        assert response.output is None
        assert "truth" not in {result.name for result in response.contract_report.results if result.passed}

    @_promise
    async def test_an_answer_says_whether_it_would_be_the_same_again(self, backend: Backend) -> None:
        first, second = await backend.complete(SHAPED), await backend.complete(SHAPED)
        if first.replayability is Replayability.DETERMINISTIC:
            assert first.text == second.text
        else:
            assert first.replayability in Replayability

    @_promise
    async def test_one_backend_serves_many_calls_at_a_time(self, backend: Backend) -> None:
        answers: list[str] = []

        async def ask() -> None:
            answers.append((await backend.complete(PLAIN)).text)

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(ask)
        assert len(answers) == 8
        assert all(answers)

    @_promise
    async def test_what_a_listener_raises_comes_out_as_it_is(self, backend: Backend) -> None:
        thrown = LookupError("the listener's own")

        async def listen(piece: str) -> None:
            raise thrown

        try:
            await backend.complete(PLAIN, listen)
        except LookupError as error:
            assert error is thrown  # noqa: PT017
        else:
            raise AssertionError("the error of a listener was swallowed")
        assert (await backend.complete(PLAIN)).text

    @_promise
    async def test_a_call_can_be_cancelled_while_it_is_told(self, backend: Backend) -> None:
        listening, ended = anyio.Event(), False

        async def listen(piece: str) -> None:
            listening.set()
            await anyio.sleep_forever()

        async def ask() -> None:
            nonlocal ended
            await backend.complete(PLAIN, listen)
            ended = True

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await listening.wait()
            tasks.cancel_scope.cancel()
        assert not ended
        assert (await backend.complete(PLAIN)).text

    @_promise
    async def test_a_schema_that_is_none_is_an_invalid_request(self, backend: Backend) -> None:
        wrong = replace(PLAIN, contracts=(ContractSpec("odd", {"type": "no type at all"}),))
        try:
            await backend.complete(wrong)
        except InvalidRequest:
            pass
        else:
            raise AssertionError("a schema that is none was taken")

    @_promise
    async def test_closing_twice_is_fine(self, backend: Backend) -> None:
        await backend.complete(PLAIN)
        await backend.aclose()
        await backend.aclose()

    @_promise
    async def test_a_call_after_closing_makes_new_connections(self, backend: Backend) -> None:
        await backend.complete(PLAIN)
        await backend.aclose()
        assert (await backend.complete(PLAIN)).text

    def test_what_was_closed_on_one_event_loop_is_asked_on_another(self) -> None:
        """A run that stops for people goes on in an event loop of its own."""
        backend: list[Backend] = []

        async def ask() -> None:
            if not backend:
                backend.append(self.make_backend())
            try:
                assert (await backend[0].complete(PLAIN)).text
            finally:
                await backend[0].aclose()

        for event_loop in (*self.event_loops, *self.event_loops):
            anyio.run(ask, backend=event_loop)
