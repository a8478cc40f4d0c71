"""Validations that ask models: a real server on loopback answers, and no two answers are the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.fleet import Fleet, a_workflow
from tests.integration.conftest import Run
from tests.model_server import ModelServer, answers, refuses
from worker import runtime
from worker.core.parity.overhead import LIMIT_US
from worker.core.policy.budget import Limits
from worker.db import budgets
from worker.errors import UsageError
from worker.runtime import Runtime
from worker.settings import Settings

KEY = "sk-the-secret-key-0123456789"


@pytest.fixture(autouse=True)
def nothing_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the person at the keyboard."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server.script(*(answers(f"answer {number}") for number in range(40)))


@pytest.fixture
def configured(
    server: ModelServer, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    path = tmp_path / "providers.toml"
    path.write_text(
        f'[[provider]]\nname = "one"\nbase_url = "{server.url}"\napi_key_env = "TEST_KEY"\n'
        "max_retries = 0\ntimeout_s = 20\n"
    )
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.setenv("FLOWSHIFT_PROVIDERS", str(path))
    return msgspec.structs.replace(settings, providers=str(path))


@pytest.fixture
def current(configured: Settings) -> Iterator[Runtime]:
    yield runtime.configure(configured)
    runtime.shutdown()


def test_a_model_that_never_says_the_same_twice_agrees_with_itself(
    fleet: Fleet, server: ModelServer
) -> None:
    fleet.add_many(3)
    fleet.run(validate="none")
    progress = fleet.run(
        kind="validate", of_run=1, provider="live", budget=Limits(requests=10), messages=("hi",)
    )

    assert (progress.counts.unchanged, progress.counts.validated) == (3, 3)
    assert len(server.requests) == 3  # V2 was given what V1 was answered
    outputs = fleet.rows("SELECT outputs FROM workflow_execution_runs ORDER BY bot_id")
    assert [row.outputs for row in outputs] == [
        {"final_response": f"answer {number}"} for number in range(3)
    ]
    [row] = fleet.rows("SELECT max(overhead_us) AS us FROM flowshift.ledger WHERE run_id = 2")
    assert row.us < LIMIT_US
    assert fleet.get(2).options.batch_size == 1


def test_models_are_asked_by_the_engine_of_the_runs_target(
    fleet: Fleet, server: ModelServer
) -> None:
    fleet.add("a", a_workflow(" {question} "))
    fleet.run(validate="none", target="answer")
    progress = fleet.run(
        kind="validate",
        of_run=1,
        target="answer",
        provider="live",
        budget=Limits(requests=10),
        messages=("hi",),
    )
    # The other target's engine would refuse the draft, or ask a second time with stripped blanks.
    assert (progress.counts.validated, len(server.requests)) == (1, 1)


def test_when_the_budget_is_spent_the_other_bots_are_not_tried_and_say_why(
    fleet: Fleet, server: ModelServer
) -> None:
    fleet.add_many(4)
    fleet.run(validate="none")
    progress = fleet.run(
        kind="validate", of_run=1, provider="live", budget=Limits(requests=2), messages=("hi",)
    )

    assert fleet.outcomes(progress.run_id) == {
        "bot-00000": "unchanged",
        "bot-00001": "unchanged",
        "bot-00002": "skipped budget_spent",
        "bot-00003": "skipped budget_spent",
    }
    assert len(server.requests) == 2
    [row] = fleet.rows("SELECT DISTINCT message FROM flowshift.ledger WHERE code = 'budget_spent'")
    assert row.message == "the budget is spent: 2 of 2 requests"


def test_a_model_that_refuses_leaves_bots_undecided_not_failed(
    fleet: Fleet, server: ModelServer
) -> None:
    server.script(refuses(401))
    fleet.add_many(1)
    fleet.run(validate="none")
    progress = fleet.run(
        kind="validate", of_run=1, provider="live", budget=Limits(requests=9), messages=("hi",)
    )

    assert (progress.counts.unchanged, progress.counts.validated) == (1, 0)
    [row] = fleet.rows("SELECT message FROM flowshift.ledger WHERE run_id = 2")
    assert "V1 gave no answer to compare with" in row.message
    assert KEY not in row.message


def test_a_retry_may_spend_as_much_as_the_run_before_it(fleet: Fleet) -> None:
    fleet.add_many(1)
    fleet.run(validate="none")
    first = fleet.run(kind="validate", of_run=1, provider="live", budget=Limits(requests=7))
    fleet.execute(
        "UPDATE flowshift.ledger SET outcome = 'failed', code = 'execution_failed'"
        " WHERE run_id = :run_id",
        run_id=first.run_id,
    )
    retry = fleet.start(retry_of=first.run_id)
    with fleet.engine.connect() as connection:
        given = budgets.get(connection, retry.run_id)
    assert given is not None
    assert (given.limits.requests, given.spending.requests) == (7, 0)
    assert (retry.kind, retry.options.provider) == ("validate", "live")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"provider": "live"}, "within a budget"),
        ({"budget": Limits(requests=1)}, "within a budget"),
    ],
)
def test_models_and_a_budget_are_asked_for_together(
    fleet: Fleet, asked: dict[str, object], why: str
) -> None:
    fleet.add_many(1)
    with pytest.raises(UsageError, match=why):
        fleet.start(kind="validate", bot_ids=("bot-00000",), **asked)


def test_a_validation_that_nobody_can_answer_is_refused_before_it_starts(
    flowshift: Run, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(1)
    fleet.run(validate="none")
    wanted = ("validate", "1", "--provider", "live", "--max-requests", "5", "--detach")
    monkeypatch.delenv("TEST_KEY")
    code, _, err = flowshift(*wanted)
    assert (code, "TEST_KEY" in err) == (3, True)
    monkeypatch.delenv("FLOWSHIFT_PROVIDERS")
    code, _, err = flowshift(*wanted)
    assert (code, "FLOWSHIFT_PROVIDERS" in err) == (3, True)
    assert len(json.loads(flowshift("runs", "--json")[1])) == 1


def test_one_draft_is_tried_on_a_model_in_the_foreground(
    flowshift: Run, fleet: Fleet, server: ModelServer
) -> None:
    fleet.add("a", a_workflow("{question}"))
    fleet.run(validate="none")
    code, out, err = flowshift(
        "test", "a", "--message", "hi", "--provider", "live", "--max-requests", "1", "--json"
    )
    assert code == 0, err
    told = json.loads(out)
    assert (told["v1"]["answer"], told["v2"]["answer"], told["parity"]) == (
        "answer 0",
        "answer 0",
        True,
    )
    assert len(server.requests) == 1

    code, _, err = flowshift("test", "a", "--provider", "live")
    assert (code, "within a budget" in err) == (2, True)
    code, _, err = flowshift("test", "a", "--provider", "live", "--max-money", "much")
    assert (code, "an amount above zero" in err) == (2, True)
