"""Live models: providers in order, of which the first that answers is enough.

    generate ─► providers in order, the resting ones last
                   └─► reserve a request ─► ask ─► count what it took ─► the answer
                             ▲               │
                             └── a pause ◄───┤ may pass by itself, and there is time
                                             └─► the next provider

Searches are answered by echo: OpenAI's protocol has none that every endpoint knows.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Final, Self

import msgspec

from worker.errors import ConfigError, ProviderError, UsageError
from worker.log import get_logger
from worker.providers.budget import Budget
from worker.providers.config import SETTING, LiveConfig, ProviderConfig
from worker.providers.echo import Echo
from worker.providers.endpoint import Answer, Endpoint, NoAnswerError, Usage, check_installed
from worker.providers.loop import LoopThread
from worker.providers.retry import pause_s

log = get_logger(__name__)

FAULTS_BEFORE_REST: Final = 3
REST_S: Final = 60.0
"""How long a provider is left alone that failed so often in a row, or said that it wants to be.

Each process learns it by itself.
"""

_A_MILLION: Final = Decimal(1_000_000)
# What a header can carry. Anything else would be refused later, with the key in the message.
_A_KEY: Final = re.compile(r"[\x21-\x7e]+")


class Time(msgspec.Struct, frozen=True):
    """Where a chain has its time from."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random


REAL_TIME: Final = Time()


def check(config: LiveConfig, environ: Mapping[str, str] = os.environ) -> None:
    """See that models can be asked from this process; touches no network.

    Raises:
        ConfigError: the extra `live` is not installed, or a key is not in the environment.
    """
    check_installed()
    for one in config.provider:
        _key(one, environ)


def open_chain(
    config: LiveConfig,
    budget: Budget,
    *,
    environ: Mapping[str, str] = os.environ,
    timing: Time = REAL_TIME,
) -> Chain:
    """The providers of `config`, within `budget`; for this very process, closed at the end.

    Raises:
        ConfigError: as `check`.
        UsageError: the budget is in money, and a provider has no prices; or there is no budget.
        TransientError: the budget could not be read.
    """
    check_installed()
    keys = [_key(one, environ) for one in config.provider]
    limits = budget.limits()
    if limits is None:
        raise UsageError("models are asked within a budget, and there is none")
    unpriced = [one.name for one in config.provider if not one.is_priced]
    if limits.money is not None and unpriced:
        raise UsageError(
            f"a budget in money needs the prices of every provider: {', '.join(unpriced)} has none"
        )
    loop = LoopThread()
    try:
        endpoints = [
            Endpoint(one, key, loop) for one, key in zip(config.provider, keys, strict=True)
        ]
    except BaseException:
        loop.close()
        raise
    return Chain(endpoints, budget, loop, timing)


def _key(one: ProviderConfig, environ: Mapping[str, str]) -> str | None:
    name = one.api_key_env
    if name is None:
        return None
    key = environ.get(name, "").strip()
    if not key:
        raise ConfigError(
            f"the provider {one.name} needs its key in the environment variable {name}",
            setting=SETTING,
        )
    if not _A_KEY.fullmatch(key):
        raise ConfigError(
            f"{name} (the key of the provider {one.name}) holds spaces, or what is no ASCII",
            setting=SETTING,
        )
    return key


class _Link:
    """An endpoint, and how it has been doing."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.config = endpoint.config
        self.faults_in_a_row = 0
        self.rests_until = float("-inf")

    def did_well(self) -> None:
        self.faults_in_a_row = 0
        self.rests_until = float("-inf")

    def failed(self, now: float, retry_after_s: float | None) -> None:
        """Count a fault. Enough of them in a row earn a rest; so does the wish to be left alone."""
        self.faults_in_a_row += 1
        rest_s = REST_S
        if self.faults_in_a_row < FAULTS_BEFORE_REST:
            rest_s = min(retry_after_s or 0.0, REST_S)
        if rest_s:
            self.rests_until = now + rest_s
            log.warning(
                "provider.rested",
                provider=self.config.name,
                faults=self.faults_in_a_row,
                rest_s=round(rest_s, 1),
            )


class Chain:
    """Asks the first provider that answers. A context manager; may be used by several threads.

    `answered` counts the answers by provider, `last_answer` is the latest.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], budget: Budget, loop: LoopThread, timing: Time
    ) -> None:
        self._links = [_Link(endpoint) for endpoint in endpoints]
        self._budget = budget
        self._loop = loop
        self._time = timing
        self._echo = Echo()
        self.answered: Counter[str] = Counter()
        self.last_answer: Answer | None = None

    def retrieve(self, query: str, top_k: int, document_ids: Sequence[str]) -> list[dict[str, str]]:
        """Echo's documents."""
        return self._echo.retrieve(query, top_k, document_ids)

    def generate(
        self,
        prompt: str,
        model: str,
        provider: str,  # noqa: ARG002 - the configuration decides who is asked
        temperature: float,
        max_tokens: int,
    ) -> tuple[str, int]:
        """The answer of the first provider that has one, and the tokens that it took.

        Takes at most the `timeout_s` of all providers together.

        Raises:
            ProviderError: none answered; says why, one by one.
            BudgetSpentError: nothing is left to ask with.
            TransientError: the budget could not be reached.
        """
        why_not: list[str] = []
        for link in self._in_order():
            try:
                answer = self._ask(link, prompt, model, temperature, max_tokens)
            except NoAnswerError as error:
                why_not.append(f"{link.config.name}: {error}")
                log.info("provider.failed", provider=link.config.name, reason=str(error))
                if error.faults:
                    link.failed(self._time.clock(), error.retry_after_s)
                continue
            link.did_well()
            self.answered[answer.provider] += 1
            self.last_answer = answer
            return answer.text, answer.usage.total
        raise ProviderError(f"no provider answered ({'; '.join(why_not)})")

    def _in_order(self) -> list[_Link]:
        """As configured, but those that rest come last: better a bad chance than none."""
        now = self._time.clock()
        return sorted(self._links, key=lambda link: max(link.rests_until - now, 0.0))

    def _ask(
        self, link: _Link, prompt: str, model: str, temperature: float, max_tokens: int
    ) -> Answer:
        """Ask one provider until it answers, for as long as its time and its tries last."""
        clock = self._time.clock
        deadline = clock() + link.config.timeout_s
        tries = 0
        while True:
            tries += 1
            self._budget.reserve()
            try:
                answer = link.endpoint.ask(
                    prompt, model, temperature, max_tokens, timeout_s=deadline - clock()
                )
            except NoAnswerError as error:
                self._count(link.config, error.usage)
                pause = pause_s(tries, error.retry_after_s, self._time.jitter())
                is_last = tries > link.config.max_retries
                if not error.again or is_last or clock() + pause >= deadline:
                    raise
                self._time.sleep(pause)
            else:
                self._count(link.config, answer.usage)
                return answer

    def _count(self, config: ProviderConfig, usage: Usage | None) -> None:
        if usage is not None:
            self._budget.spend(usage.total, cost(config, usage))

    def close(self) -> None:
        """Close every connection. Safe to repeat."""
        if self._loop.is_closed:
            return
        for link in self._links:
            link.endpoint.close()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def cost(config: ProviderConfig, usage: Usage) -> Decimal:
    """What a request cost, in the currency of the prices; nothing if there are none.

    >>> one = ProviderConfig(name="a", base_url="http://h", input_price=Decimal("0.15"),
    ...     output_price=Decimal("0.60"))
    >>> cost(one, Usage(prompt_tokens=1_000, completion_tokens=10))
    Decimal('0.000156')
    """
    if config.input_price is None or config.output_price is None:
        return Decimal(0)
    spent = usage.prompt_tokens * config.input_price + usage.completion_tokens * config.output_price
    return spent / _A_MILLION
