"""Live models: a chain of providers against real servers on loopback that answer well or badly."""

from __future__ import annotations

import datetime as dt
import json
import logging
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest

from tests import model_server
from tests.model_server import ModelServer, Step, answers, refuses, sends
from worker import log
from worker.core.policy.budget import Limits, Spending
from worker.errors import BudgetSpentError, ConfigError, ProviderError, UsageError
from worker.providers import chain as chain_module
from worker.providers import endpoint
from worker.providers.budget import LocalBudget
from worker.providers.chain import REST_S, Chain, Time, open_chain
from worker.providers.config import LiveConfig, ProviderConfig

KEY = "sk-the-secret-key-0123456789"
ENVIRON = {"TEST_KEY": KEY}
PATIENT: dict[str, Any] = {"timeout_s": 20.0, "max_retries": 0}
HASTY: dict[str, Any] = {"timeout_s": 0.2, "max_retries": 0}


class Clockwork:
    """A clock that only pauses move, so that no test waits for one."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def timing(self) -> Time:
        return Time(clock=lambda: self.now, sleep=self.sleep, jitter=lambda: 0.0)


@pytest.fixture(autouse=True)
def nothing_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the person at the keyboard."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def first() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def second() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server.script(answers("second"))


@pytest.fixture
def clockwork() -> Clockwork:
    return Clockwork()


Opener = Callable[..., Chain]


@pytest.fixture
def opened(clockwork: Clockwork) -> Iterator[Opener]:
    """Opens chains, and closes them at the end."""
    with ExitStack() as stack:

        def open_(*providers: ProviderConfig, budget: LocalBudget | None = None) -> Chain:
            chain = open_chain(
                LiveConfig(providers),
                budget or LocalBudget(Limits(requests=1_000)),
                environ=ENVIRON,
                timing=clockwork.timing(),
            )
            return stack.enter_context(chain)

        yield open_


def provider(server: ModelServer, name: str = "first", **keys: Any) -> ProviderConfig:
    values = {**PATIENT, "api_key_env": "TEST_KEY", **keys}
    return ProviderConfig(name=name, base_url=server.url, **values)


def generate(chain: Chain, prompt: str = "hello", model: str = "gpt-4") -> tuple[str, int]:
    return chain.generate(prompt, model, "openai", 0.5, 100)


# -- an answer ---------------------------------------------------------------------------------------


def test_a_prompt_is_sent_as_a_message_and_answered_with_its_tokens(
    first: ModelServer, opened: Opener
) -> None:
    first.script(answers("안녕하세요 🙂"))

    answer = generate(opened(provider(first)), "질문 {question}")

    assert answer == ("안녕하세요 🙂", 12)
    (request,) = first.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "gpt-4",
        "messages": [{"role": "user", "content": "질문 {question}"}],
        "temperature": 0.5,
        "max_tokens": 100,
    }


def test_an_endpoint_may_call_models_and_the_token_limit_by_other_names(
    first: ModelServer, opened: Opener
) -> None:
    chain = opened(
        provider(
            first,
            models={"gpt-4": "large", "*": "small"},
            max_tokens_key="max_completion_tokens",
        )
    )

    generate(chain, model="gpt-4")
    generate(chain, model="claude-3")

    assert [request.body["model"] for request in first.requests] == ["large", "small"]
    assert [request.body["max_completion_tokens"] for request in first.requests] == [100, 100]
    assert "max_tokens" not in first.requests[0].body


def test_an_empty_answer_is_an_answer(first: ModelServer, opened: Opener) -> None:
    first.script(answers(""))

    assert generate(opened(provider(first))) == ("", 12)


def test_searches_are_answered_by_echo(first: ModelServer, opened: Opener) -> None:
    found = opened(provider(first)).retrieve("hello", 1, ["faq"])

    assert found == [{"content": "[faq#0] hello"}]
    assert first.requests == []


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        "many",
        {"prompt_tokens": -5, "completion_tokens": 1},
        {"prompt_tokens": 1.5},
        {"prompt_tokens": 10**30},
    ],
)
def test_tokens_that_an_endpoint_does_not_tell_are_estimated_from_the_bytes(
    first: ModelServer, opened: Opener, usage: object
) -> None:
    first.script(answers("1234567", usage=usage))

    _, tokens = generate(opened(provider(first)), "한")

    assert tokens == 1 + 3


def test_an_endpoint_without_a_key_is_sent_none(first: ModelServer, opened: Opener) -> None:
    generate(opened(provider(first, api_key_env=None)))

    assert "authorization" not in first.requests[0].headers


def test_nothing_meant_for_openai_is_sent_to_others(
    first: ModelServer, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", "for-openai-alone")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: for-openai-alone\nX-Mine: yes")

    generate(opened(provider(first, api_key_env=None)))

    (request,) = first.requests
    assert "for-openai-alone" not in str(request.headers)
    assert set(request.headers) <= {
        *("host", "accept", "accept-encoding", "connection", "user-agent"),
        *("content-type", "content-length", "x-stainless-raw-response"),
    }


# -- no answer: the next one ---------------------------------------------------------------------------


def raw(text: str) -> Step:
    return sends(text.encode())


BAD_BODIES = {
    "not JSON": (raw("<html>gateway</html>"), "its answer is no chat completion (DecodeError)"),
    "nothing": (raw(""), "its answer is no chat completion (DecodeError)"),
    "half": (raw('{"choices": [{"mess'), "its answer is no chat completion (DecodeError)"),
    "not UTF-8": (sends(b'{"choices": "\xff"}'), "its answer is no chat completion"),
    "another shape": (raw('["choices"]'), "its answer is no chat completion (ValidationError)"),
    "null": (raw("null"), "its answer is no chat completion (ValidationError)"),
    "no choices": (raw("{}"), "its answer is no chat completion (ValidationError)"),
    "empty choices": (
        raw('{"choices": []}'),
        "its answer is no chat completion (ValidationError)",
    ),
    "no message": (
        raw('{"choices": [{"text": "old style"}]}'),
        "its answer is no chat completion (ValidationError)",
    ),
    "a list as content": (answers(["a"]), "its answer is no chat completion (ValidationError)"),
    "a lone surrogate": (
        raw('{"choices": [{"message": {"content": "\\ud800"}}]}'),
        "its answer is no chat completion (DecodeError)",
    ),
    "deep nesting": (raw("[" * 100_000), "its answer is no chat completion"),
    "no content": (raw('{"choices": [{"message": {}}]}'), "its answer holds no text"),
    "null content": (answers(None), "its answer holds no text"),
    "NUL": (answers("a\x00b"), "its answer holds NUL, which PostgreSQL cannot store"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_nonsense_body_makes_the_next_provider_answer(
    name: str, first: ModelServer, second: ModelServer, opened: Opener
) -> None:
    step, why = BAD_BODIES[name]
    first.script(step)
    chain = opened(provider(first), provider(second, "second"))

    assert generate(chain) == ("second", 12)
    assert len(first.requests) == 1

    second.script(refuses(400))
    with pytest.raises(ProviderError) as caught:
        generate(chain)
    assert str(caught.value).startswith(f"no provider answered (first: {why}")


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (refuses(401, {"code": "invalid_api_key"}), "HTTP 401 invalid_api_key"),
        (refuses(403), "HTTP 403"),
        (refuses(404, {"type": "invalid_request_error", "code": None}), "invalid_request_error"),
        (refuses(400, {"code": "context_length_exceeded"}), "HTTP 400 context_length_exceeded"),
        (refuses(429), "HTTP 429"),
        (refuses(500), "HTTP 500"),
        (refuses(503), "HTTP 503"),
        (refuses(302, location="http://127.0.0.1:1/"), "HTTP 302"),
        (refuses(500, {"code": f"your key is {KEY}"}), "HTTP 500"),
        (model_server.cuts, "RemoteProtocolError"),
        (model_server.cuts_at_once, "RemoteProtocolError"),
    ],
)
def test_a_refusal_or_a_cut_connection_makes_the_next_provider_answer(
    step: Step, why: str, first: ModelServer, second: ModelServer, opened: Opener
) -> None:
    first.script(step)
    chain = opened(provider(first), provider(second, "second"))

    assert generate(chain) == ("second", 12)

    second.script(step)
    with pytest.raises(ProviderError) as caught:
        generate(chain)
    assert why in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "step",
    [model_server.hangs, model_server.dribbles_headers, model_server.dribbles_body],
)
def test_a_server_that_hangs_or_dribbles_is_given_up_in_time(
    step: Step, first: ModelServer, second: ModelServer, opened: Opener
) -> None:
    first.script(step)
    chain = opened(provider(first, **HASTY), provider(second, "second"))

    assert generate(chain) == ("second", 12)
    if step is not model_server.hangs:
        assert first.left_alone.wait(10), "its connection was closed"


def test_a_silence_is_given_up_before_the_whole_time_is_over(
    first: ModelServer, opened: Opener
) -> None:
    first.script(model_server.hangs, answers("at last"))

    answer = generate(opened(provider(first, read_timeout_s=0.1, max_retries=1)))

    assert answer == ("at last", 12)


def test_a_server_that_is_not_there_makes_the_next_provider_answer(
    second: ModelServer, opened: Opener
) -> None:
    with ModelServer() as gone:
        nobody = provider(gone, "nobody")
    chain = opened(nobody, provider(second, "second"))

    assert generate(chain) == ("second", 12)


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (model_server.floods, "its answer is larger than 4,194,304 bytes"),
        (model_server.floods_with_500, "HTTP 500"),
    ],
)
def test_an_endless_body_is_read_no_further_than_its_limit(
    step: Step, why: str, first: ModelServer, opened: Opener
) -> None:
    first.script(step)

    with pytest.raises(ProviderError, match=why):
        generate(opened(provider(first)))

    assert first.left_alone.wait(10)


def test_the_first_that_answers_is_asked_alone_and_which_one_did_is_known(
    first: ModelServer, second: ModelServer, opened: Opener
) -> None:
    chain = opened(provider(first), provider(second, "second"))
    first.script(answers("a"), refuses(500), answers("c"))

    assert [generate(chain)[0] for _ in range(3)] == ["a", "second", "c"]
    assert len(second.requests) == 1
    assert chain.answered == {"first": 2, "second": 1}
    assert chain.last_answer is not None
    assert chain.last_answer.provider == "first"


# -- asking again -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 529])
def test_what_may_pass_is_asked_again_after_growing_pauses(
    status: int, first: ModelServer, opened: Opener, clockwork: Clockwork
) -> None:
    first.script(refuses(status), refuses(status), answers("at last"))

    assert generate(opened(provider(first, max_retries=2))) == ("at last", 12)
    assert clockwork.pauses == [0.25, 0.5]


@pytest.mark.parametrize("step", [model_server.cuts, model_server.cuts_at_once])
def test_a_cut_connection_is_tried_again(step: Step, first: ModelServer, opened: Opener) -> None:
    first.script(step, answers("at last"))

    assert generate(opened(provider(first, max_retries=1))) == ("at last", 12)


@pytest.mark.parametrize("step", [refuses(400), refuses(401), refuses(404), raw("{}")])
def test_what_will_not_pass_is_not_asked_again(
    step: Step, first: ModelServer, opened: Opener
) -> None:
    first.script(step)

    with pytest.raises(ProviderError):
        generate(opened(provider(first, max_retries=5)))

    assert len(first.requests) == 1


def test_a_provider_is_asked_once_more_than_its_retries(first: ModelServer, opened: Opener) -> None:
    first.script(refuses(500))

    with pytest.raises(ProviderError):
        generate(opened(provider(first, max_retries=3)))

    assert len(first.requests) == 4


def test_a_provider_that_says_when_to_come_back_is_obeyed(
    first: ModelServer, opened: Opener, clockwork: Clockwork
) -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=9)
    first.script(
        refuses(429, retry_after="4"),
        refuses(503, retry_after=format_datetime(later, usegmt=True)),
        answers("at last"),
    )

    assert generate(opened(provider(first, max_retries=2))) == ("at last", 12)
    by_seconds, by_date = clockwork.pauses
    assert by_seconds == 4.0
    assert 4.0 < by_date <= 9.0


@pytest.mark.parametrize("value", ["21", "86400", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_nobody_is_waited_for_longer_than_the_whole_time(
    value: str, first: ModelServer, second: ModelServer, opened: Opener, clockwork: Clockwork
) -> None:
    first.script(refuses(429, retry_after=value))
    chain = opened(provider(first, max_retries=5), provider(second, "second"))

    assert generate(chain) == ("second", 12)
    assert clockwork.pauses == []
    assert len(first.requests) == 1


@pytest.mark.parametrize(
    "value", ["", "soon", "-5", "nan", "inf", "1e3", "Wed, 99 Foo 2026 99:99:99 GMT"]
)
def test_a_retry_after_that_says_nothing_is_as_none(
    value: str, first: ModelServer, opened: Opener, clockwork: Clockwork
) -> None:
    first.script(refuses(429, retry_after=value), answers("at last"))

    assert generate(opened(provider(first, max_retries=1))) == ("at last", 12)
    assert clockwork.pauses == [0.25]


# -- being left alone --------------------------------------------------------------------------------


def test_a_provider_that_failed_several_times_in_a_row_is_left_alone_for_a_while(
    first: ModelServer, second: ModelServer, opened: Opener, clockwork: Clockwork
) -> None:
    first.script(refuses(500))
    chain = opened(provider(first), provider(second, "second"))

    for _ in range(10):
        assert generate(chain) == ("second", 12)
    assert len(first.requests) == 3

    first.script(answers("well again"))
    clockwork.now += REST_S
    assert generate(chain) == ("well again", 12)
    first.script(refuses(500), answers("fine"))
    assert [generate(chain)[0] for _ in range(2)] == ["second", "fine"]


def test_a_provider_that_asks_to_be_left_alone_is(
    first: ModelServer, second: ModelServer, opened: Opener, clockwork: Clockwork
) -> None:
    first.script(refuses(429, retry_after="30"), answers("well again"))
    chain = opened(provider(first), provider(second, "second"))

    assert [generate(chain)[0] for _ in range(3)] == ["second"] * 3
    clockwork.now += 30
    assert generate(chain)[0] == "well again"


def test_what_is_wrong_with_a_request_is_not_held_against_the_provider(
    first: ModelServer, second: ModelServer, opened: Opener
) -> None:
    first.script(refuses(400))
    chain = opened(provider(first), provider(second, "second"))

    for _ in range(5):
        generate(chain)

    assert len(first.requests) == 5


def test_a_resting_provider_is_asked_all_the_same_where_no_other_answers(
    first: ModelServer, second: ModelServer, opened: Opener
) -> None:
    first.script(refuses(500))
    chain = opened(provider(first), provider(second, "second"))
    for _ in range(3):
        generate(chain)

    first.script(answers("well again"))
    second.script(refuses(500))

    assert generate(chain) == ("well again", 12)


# -- the budget --------------------------------------------------------------------------------------


def test_every_request_is_counted_with_its_tokens_and_its_price(
    first: ModelServer, second: ModelServer, opened: Opener
) -> None:
    budget = LocalBudget(Limits(requests=100))
    prices: dict[str, Any] = {"input_price": Decimal("0.15"), "output_price": Decimal("0.60")}
    first.script(refuses(500), answers("a"))
    chain = opened(provider(first, max_retries=1, **prices), budget=budget)

    generate(chain)

    assert budget.spending == Spending(requests=2, tokens=12, money=Decimal("0.00000405"))


def test_an_answer_that_cannot_be_used_is_counted_too(
    first: ModelServer, second: ModelServer, opened: Opener
) -> None:
    budget = LocalBudget(Limits(requests=100))
    first.script(answers(None))
    chain = opened(provider(first), provider(second, "second"), budget=budget)

    generate(chain)

    assert budget.spending == Spending(requests=2, tokens=24)


@pytest.mark.parametrize(
    ("limits", "asked", "why"),
    [
        (Limits(requests=3), 3, "3 of 3 requests"),
        (Limits(tokens=13), 2, "24 of 13 tokens"),
        (Limits(money=Decimal("0.02")), 2, "money 0.024 of 0.02"),
    ],
)
def test_when_the_budget_is_spent_nobody_is_asked_any_more(
    limits: Limits, asked: int, why: str, first: ModelServer, opened: Opener
) -> None:
    prices: dict[str, Any] = {"input_price": Decimal(1_000), "output_price": Decimal(1_000)}
    chain = opened(provider(first, **prices), budget=LocalBudget(limits))

    for _ in range(asked):
        generate(chain)
    for _ in range(2):
        with pytest.raises(BudgetSpentError, match=f"the budget is spent: {why}"):
            generate(chain)

    assert len(first.requests) == asked


def test_a_budget_that_ends_between_two_tries_stops_there(
    first: ModelServer, second: ModelServer, opened: Opener
) -> None:
    first.script(refuses(500))
    chain = opened(
        provider(first, max_retries=5),
        provider(second, "second"),
        budget=LocalBudget(Limits(requests=2)),
    )

    with pytest.raises(BudgetSpentError):
        generate(chain)

    assert (len(first.requests), len(second.requests)) == (2, 0)


def test_a_budget_in_money_needs_the_price_of_every_provider(
    first: ModelServer, second: ModelServer, opened: Opener
) -> None:
    priced = provider(first, input_price=Decimal(0), output_price=Decimal(0))

    with pytest.raises(UsageError, match="second has none"):
        opened(priced, provider(second, "second"), budget=LocalBudget(Limits(money=Decimal(1))))


def test_without_a_budget_nobody_is_asked(first: ModelServer) -> None:
    class NoBudget(LocalBudget):
        def limits(self) -> None:  # type: ignore[override]
            return None

    with pytest.raises(UsageError, match="within a budget"):
        open_chain(LiveConfig((provider(first),)), NoBudget(Limits(requests=1)), environ=ENVIRON)


# -- what is checked first, and what is kept secret ----------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "the provider first needs its key in the environment variable TEST_KEY"),
        ({"TEST_KEY": " \n"}, "the provider first needs its key"),
        ({"TEST_KEY": "sk-1 sk-2"}, "TEST_KEY (the key of the provider first) holds spaces"),
        ({"TEST_KEY": "sk-비밀"}, "or what is no ASCII"),
    ],
)
def test_a_key_that_is_missing_or_cannot_be_sent_is_told_before_anybody_is_asked(
    environ: dict[str, str], said: str, first: ModelServer
) -> None:
    config = LiveConfig((provider(first),))

    for attempt in (
        lambda: chain_module.check(config, environ),
        lambda: open_chain(config, LocalBudget(Limits(requests=1)), environ=environ),
    ):
        with pytest.raises(ConfigError) as caught:
            attempt()
        assert said in str(caught.value)
        assert caught.value.setting == "FLOWSHIFT_PROVIDERS"
        assert "sk-" not in str(caught.value)


def test_a_key_may_have_a_line_end_around_it(first: ModelServer) -> None:
    config = LiveConfig((provider(first),))
    budget = LocalBudget(Limits(requests=1))

    with open_chain(config, budget, environ={"TEST_KEY": f"{KEY}\n"}) as chain:
        generate(chain)

    assert first.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_without_the_extra_it_is_named(first: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "find_spec", lambda _: None)

    with pytest.raises(ConfigError, match=r"pip install 'flowshift\[live\]'"):
        chain_module.check(LiveConfig((provider(first),)), ENVIRON)


def test_neither_the_key_nor_the_prompt_is_logged_or_told(
    first: ModelServer,
    second: ModelServer,
    opened: Opener,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure(log_format="json", level="debug")
    prompt, response = "a-prompt-of-a-user", "an-answer-to-it"
    echo = {"message": f"bad key {KEY} for {prompt}", "code": KEY}
    first.script(refuses(401, echo))
    second.script(refuses(500, echo))
    chain = opened(
        provider(first), provider(second, "second", max_retries=1), provider(second, "third")
    )

    for _ in range(3):
        with pytest.raises(ProviderError) as caught:
            generate(chain, prompt)
    shown = "".join(traceback.format_exception(caught.value))
    second.script(answers(response))
    generate(chain, prompt)
    chain.close()

    logged = capsys.readouterr().err
    events = [json.loads(line)["event"] for line in logged.splitlines()]
    assert {"provider.failed", "provider.rested"} <= set(events)
    for text in (logged, shown, repr(chain), str(caught.value)):
        for secret in (KEY, prompt, response):
            assert secret not in text


def test_libraries_stay_quiet_at_debug_level(first: ModelServer, opened: Opener) -> None:
    log.configure(log_format="json", level="debug")

    opened(provider(first))

    for name in ("openai", "httpx2", "httpcore2"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)


def test_a_chain_closes_its_connections_and_may_be_closed_twice(
    first: ModelServer, opened: Opener
) -> None:
    chain = opened(provider(first))
    generate(chain)

    chain.close()
    chain.close()


def test_several_threads_may_ask_at_once(first: ModelServer, opened: Opener) -> None:
    chain = opened(provider(first))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: generate(chain, f"prompt {n}"), range(40)))

    assert found == [("fine", 12)] * 40
    assert {request.body["messages"][0]["content"] for request in first.requests} == {
        f"prompt {n}" for n in range(40)
    }
