from __future__ import annotations

import anyio
import pytest

from converge_adapters.backends.config import ScriptedConfig
from converge_adapters.backends.scripted import FAILURES, ScriptedBackend, Step, failure
from converge_core.context.allowance import Usage
from converge_core.errors import MisuseError
from converge_core.llm.backend import BackendRequest, BackendResponse, Message
from converge_core.llm.errors import BackendError, CallOutcome, RateLimited

ASK = BackendRequest("intent", (Message.user("What now?"),))


def scripted(*steps: Step) -> ScriptedBackend:
    return ScriptedBackend(ScriptedConfig(steps=()).profile_of("s", "scripted", "script"), steps)


def ask(backend: ScriptedBackend) -> BackendResponse:
    return anyio.run(backend.complete, ASK)


def test_steps_are_taken_in_their_order() -> None:
    backend = scripted(Step("first", "one"), Step("wait", RateLimited("s", 9)), Step("last", "two", Usage(5, 6)))
    assert ask(backend).text == "one"
    with pytest.raises(RateLimited):
        ask(backend)
    response = ask(backend)
    assert (response.text, response.usage) == ("two", Usage(5, 6))
    backend.end()


def test_a_request_beyond_the_last_step_names_it() -> None:
    backend = scripted(Step("first", "one"), Step("last", "two"))
    ask(backend)
    ask(backend)
    with pytest.raises(MisuseError, match="has 2 steps, the last of which is 'last', and is asked for another"):
        ask(backend)


def test_an_empty_script_answers_nothing() -> None:
    with pytest.raises(MisuseError, match="has 0 steps, and is asked for another"):
        ask(scripted())


def test_steps_that_nobody_came_to_are_named_at_the_end() -> None:
    backend = scripted(Step("first", "one"), Step("second", "two"), Step("third", "three"))
    ask(backend)
    with pytest.raises(MisuseError, match="has steps that nobody came to: 'second', 'third'"):
        backend.end()


def test_a_script_goes_on_after_connections_were_given_back() -> None:
    backend = scripted(Step("first", "one"), Step("second", "two"))
    ask(backend)
    anyio.run(backend.aclose)
    assert ask(backend).text == "two"


def test_no_fallback_hides_what_is_wrong_with_a_script() -> None:
    with pytest.raises(MisuseError) as caught:
        ask(scripted())
    assert not isinstance(caught.value, BackendError)


@pytest.mark.parametrize("outcome", sorted(FAILURES))
def test_a_failure_has_the_outcome_that_the_script_says(outcome: CallOutcome) -> None:
    assert failure("s", outcome).outcome is outcome


@pytest.mark.parametrize("outcome", sorted(set(CallOutcome) - FAILURES))
def test_what_is_no_failure_of_a_provider_is_refused(outcome: CallOutcome) -> None:
    with pytest.raises(MisuseError, match="cannot end with"):
        failure("s", outcome)


def test_a_failure_says_how_long_to_wait() -> None:
    found = failure("s", CallOutcome.RATE_LIMITED, 40)
    assert isinstance(found, RateLimited)
    assert found.retry_after_ms == 40
