"""Budgets on PostgreSQL: shared by processes, counted before a request is made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
import sqlalchemy as sa

from tests.model_server import Handler, ModelServer, answers
from worker.core.policy.budget import Limits, Spending
from worker.db import budgets
from worker.db.budgets import Budget, RunBudget
from worker.db.engine import create_engine, database_url
from worker.errors import BudgetSpentError, TransientError, UsageError
from worker.providers.budget import Budget as AnyBudget
from worker.providers.budget import LocalBudget
from worker.providers.chain import open_chain
from worker.providers.config import LiveConfig, ProviderConfig

RUN = 7


def an_engine(url: str, lock_timeout_ms: int = 20_000) -> sa.Engine:
    return create_engine(
        database_url(url),
        lock_timeout_ms=lock_timeout_ms,
        statement_timeout_ms=60_000,
        application_name="test",
    )


@pytest.fixture
def engine(database: str) -> Iterator[sa.Engine]:
    engine = an_engine(database)
    yield engine
    engine.dispose()


def allow(engine: sa.Engine, limits: Limits, run_id: int = RUN) -> RunBudget:
    with engine.begin() as connection:
        budgets.allow(connection, run_id, limits)
    return RunBudget(engine, run_id)


def found(engine: sa.Engine, run_id: int = RUN) -> Budget:
    with engine.connect() as connection:
        budget = budgets.get(connection, run_id)
    assert budget is not None
    return budget


def spending(engine: sa.Engine, run_id: int = RUN) -> Spending:
    return found(engine, run_id).spending


# -- what every budget does ----------------------------------------------------------------------------

Make = Callable[[Limits], AnyBudget]


@pytest.fixture(params=["of a run", "of a process"])
def make(request: pytest.FixtureRequest, engine: sa.Engine) -> Make:
    if request.param == "of a run":
        return lambda limits: allow(engine, limits)
    return LocalBudget


def requests_left(budget: AnyBudget) -> int:
    """Reserves until there is nothing left."""
    for count in range(100):
        try:
            budget.reserve()
        except BudgetSpentError:
            return count
    raise AssertionError("it never ended")


def test_requests_are_counted_one_by_one(make: Make) -> None:
    budget = make(Limits(requests=3))

    assert budget.limits() == Limits(requests=3)
    assert requests_left(budget) == 3
    with pytest.raises(BudgetSpentError, match="the budget is spent: 3 of 3 requests"):
        budget.reserve()


def test_tokens_end_a_budget_once_they_are_counted(make: Make) -> None:
    budget = make(Limits(tokens=100))

    budget.reserve()
    budget.spend(99, Decimal(0))
    budget.reserve()
    budget.spend(500, Decimal(0))

    with pytest.raises(BudgetSpentError, match="the budget is spent: 599 of 100 tokens"):
        budget.reserve()


def test_money_is_counted_to_the_last_digit(make: Make) -> None:
    budget = make(Limits(money=Decimal("0.3")))

    for _ in range(2):
        budget.reserve()
        budget.spend(1, Decimal("0.1"))
    budget.reserve()
    budget.spend(1, Decimal("0.099999999999"))
    budget.reserve()
    budget.spend(1, Decimal("0.000000000001"))

    with pytest.raises(BudgetSpentError, match=r"money 0\.300000000000 of 0\.3$"):
        budget.reserve()


def test_the_first_limit_that_is_reached_ends_a_budget(make: Make) -> None:
    assert requests_left(make(Limits(requests=2, tokens=1_000, money=Decimal(5)))) == 2


# -- what only a run's does ----------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 40])
def test_of_many_that_spend_at_once_none_gets_a_request_too_many(
    database: str, engine: sa.Engine, limit: int
) -> None:
    allow(engine, Limits(requests=limit))
    engines = [an_engine(database) for _ in range(6)]
    together = threading.Barrier(len(engines))

    def take_all(own: sa.Engine) -> int:
        together.wait(30)
        return requests_left(RunBudget(own, RUN))

    with ThreadPoolExecutor(len(engines)) as pool:
        taken = list(pool.map(take_all, engines))
    for own in engines:
        own.dispose()

    assert sum(taken) == limit
    assert spending(engine).requests == limit


def test_what_many_spend_at_once_adds_up(database: str, engine: sa.Engine) -> None:
    allow(engine, Limits(requests=1_000))
    engines = [an_engine(database) for _ in range(4)]

    def spend(own: sa.Engine) -> None:
        for _ in range(25):
            RunBudget(own, RUN).spend(3, Decimal("0.01"))

    with ThreadPoolExecutor(len(engines)) as pool:
        list(pool.map(spend, engines))
    for own in engines:
        own.dispose()

    assert spending(engine) == Spending(tokens=300, money=Decimal("1.00"))


def test_a_request_is_on_record_before_it_is_made(engine: sa.Engine) -> None:
    seen: list[int] = []

    def look_and_answer(handler: Handler) -> None:
        seen.append(spending(engine).requests)
        answers("fine")(handler)

    budget = allow(engine, Limits(requests=5))
    with ModelServer() as server:
        server.script(look_and_answer)
        config = LiveConfig((ProviderConfig(name="one", base_url=server.url),))
        with open_chain(config, budget, environ={}) as chain:
            chain.generate("p", "m", "openai", 0.5, 10)
            chain.generate("p", "m", "openai", 0.5, 10)

    assert seen == [1, 2]
    assert spending(engine) == Spending(requests=2, tokens=24)


def test_more_may_be_allowed_and_what_is_spent_stays_spent(engine: sa.Engine) -> None:
    budget = allow(engine, Limits(requests=2))
    assert requests_left(budget) == 2
    assert found(engine).why_spent == "the budget is spent: 2 of 2 requests"

    allow(engine, Limits(requests=5, tokens=10))

    assert found(engine) == Budget(Limits(requests=5, tokens=10), Spending(requests=2))
    assert found(engine).why_spent is None
    assert requests_left(budget) == 3


def test_each_run_has_a_budget_of_its_own(engine: sa.Engine) -> None:
    allow(engine, Limits(requests=1), run_id=1)
    allow(engine, Limits(requests=4), run_id=2)

    assert requests_left(RunBudget(engine, 1)) == 1
    assert spending(engine, 2).requests == 0


def test_a_run_that_was_given_no_budget_may_ask_nobody(engine: sa.Engine) -> None:
    budget = RunBudget(engine, 99)

    assert budget.limits() is None
    with pytest.raises(BudgetSpentError, match="the run has no budget"):
        budget.reserve()
    config = LiveConfig((ProviderConfig(name="one", base_url="http://127.0.0.1:1"),))
    with pytest.raises(UsageError, match="within a budget"):
        open_chain(config, budget, environ={})


def test_a_budget_that_cannot_be_reached_is_transient(database: str, engine: sa.Engine) -> None:
    allow(engine, Limits(requests=5))
    hasty = an_engine(database, lock_timeout_ms=50)
    budget = RunBudget(hasty, RUN)

    with engine.begin() as connection:
        connection.execute(sa.text("LOCK TABLE flowshift.budgets"))
        with pytest.raises(TransientError):
            budget.reserve()
        with pytest.raises(TransientError):
            budget.spend(1, Decimal(0))
        with pytest.raises(TransientError):
            budget.limits()
    hasty.dispose()

    assert spending(engine) == Spending()
