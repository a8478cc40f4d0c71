"""Requests for runs: those refused leave nothing behind, those repeated start nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

import tasks.runs
from tasks.lost import RefusedError
from tests.fleet import Fleet, a_broken_workflow, a_workflow
from tests.integration.conftest import Run
from worker.core.policy.budget import Limits
from worker.core.storable import INT8_MAX
from worker.errors import UsageError
from worker.runtime import Runtime
from worker.steps import transitions


def test_a_refused_request_uses_no_number_and_leaves_no_row(fleet: Fleet) -> None:
    fleet.add("good", a_workflow())
    fleet.add("bad", a_broken_workflow())
    first = fleet.run()
    refused: list[dict[str, Any]] = [
        {"bot_ids": ("ghost",)},
        {"retry_of": 1, "code": "cycle"},
        {"retry_of": 1, "bot_ids": ("good",)},
        {"retry_of": 77},
        {"limit": 0},
    ]
    for request in refused:
        with pytest.raises(UsageError):
            fleet.start(**request)
    planned = fleet.planned()
    with pytest.raises(UsageError, match="takes some of the same bots"):
        fleet.start(bot_ids=("good",))
    again = fleet.start(bot_ids=("good", "bad"), batch_size=1, allow_overlap=True)
    assert [first.run_id, planned.run_id, again.run_id] == [1, 2, 3]
    assert fleet.batch_slices(3) == [
        (1, None, None, ["bad"], 1, "pending"),
        (2, None, None, ["good"], 1, "pending"),
    ]
    assert fleet.rows("SELECT run_id FROM flowshift.runs WHERE run_id < 1") == []
    created = fleet.rows("SELECT run_id FROM flowshift.audit WHERE action = 'run.created'")
    assert sorted(row.run_id for row in created) == [1, 2, 3]


def test_a_retry_of_nothing_is_refused_with_a_sentence(fleet: Fleet) -> None:
    fleet.add("bad", a_broken_workflow())
    fleet.add("good", a_workflow())
    fleet.run()
    with pytest.raises(UsageError, match="no bot failed with cycle in run 1: there is nothing"):
        fleet.start(retry_of=1, code="cycle")
    with pytest.raises(UsageError, match="none of these bots failed in run 1"):
        fleet.start(retry_of=1, bot_ids=("good",))
    assert fleet.run(retry_of=1).counts.failed == 1


def test_a_dry_run_is_not_in_the_way_of_a_paused_run(fleet: Fleet) -> None:
    fleet.add_many(2)
    run = fleet.planned()
    with pytest.raises(UsageError, match="is running and takes"):
        fleet.start(dry_run=True)
    transitions.pause(fleet.engine, run.run_id, actor="test", reason=None)
    assert fleet.run(dry_run=True).counts.converted == 2
    with pytest.raises(UsageError, match="is paused and takes"):
        fleet.start()


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"bot_ids": ("a\0",)}, "the bot id 'a\\\\x00' cannot be kept: it holds the character NUL"),
        ({"bot_ids": ("\ud800",)}, "half of a surrogate pair"),
        ({"messages": ("ok", "\0")}, "the message"),
        ({"retry_of": 2**63}, "there is no run"),
        ({"retry_of": -1}, "there is no run -1 to retry"),
        ({"kind": "validate", "of_run": 2**70}, "to validate"),
        ({"limit": 2**63}, "the limit must be at most"),
        ({"retry_of": 1, "code": "\0"}, "the code"),
        (
            {
                "kind": "validate",
                "bot_ids": ("a",),
                "provider": "live",
                "budget": Limits(tokens=2**63),
            },
            f"a budget is at most {INT8_MAX:,}",
        ),
    ],
)
def test_what_no_column_holds_is_refused(
    fleet: Fleet, request_: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        fleet.start(**request_)


@pytest.mark.parametrize("name", ["start", "migrate"])
def test_messages_with_one_request_id_start_one_run(
    current: Runtime, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(current)
    fleet.add("a", a_workflow())
    task = getattr(tasks.runs, name)
    assert [task(request_id="nightly-1", limit=1) for _ in range(2)] == ["run 1", "run 1"]
    for wrong in ("\0", "x" * 501):
        with pytest.raises(RefusedError) as refused:
            task(request_id=wrong)
        assert repr(refused.value) == f"refused: {refused.value}"
    assert task(request_id="nightly-2", limit=1, allow_overlap=True) == "run 2"


def test_a_request_id_on_the_command_line_starts_one_run(flowshift: Run, fleet: Fleet) -> None:
    fleet.add("a", a_workflow())
    call = ("migrate", "--detach", "--json", "--request-id", "nightly")
    assert [json.loads(flowshift(*call)[1])["run_id"] for _ in range(2)] == [1, 1]
    code, _, err = flowshift("migrate", "--detach", "--request-id", "a\0")
    assert (code, "it holds the character NUL" in err) == (2, True)


@pytest.mark.parametrize(
    "call",
    [
        ("show", "a\0"), ("test", "a\0"), ("executions", "a\0"), ("executions", "show", "\0"),
        ("executions", "--bot", "\udcff"), ("migrate", "--bot-id", "\0"), ("pause", "1", "--reason", "\0"),
        ("status", "99999999999999999999"), ("watch", "0"), ("audit", "x"), ("retry", str(2**63)),
        ("executions", "--run", str(2**63)), ("executions", str(2**62)), ("test", "a", "--message", "\0"),
    ],
)  # fmt: skip
def test_what_is_typed_and_cannot_be_kept_exits_with_2_and_a_sentence(
    flowshift: Run, fleet: Fleet, call: tuple[str, ...]
) -> None:
    code, out, err = flowshift(*call)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    assert len(err.splitlines()[-1]) > 20


def test_cancelling_and_downgrading_ask(
    flowshift: Run, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(3)
    fleet.planned()
    code, _, err = flowshift("cancel", "1")
    assert code == 2
    assert "Cancel run 1 for good? It is running, with 3 bots left." in err
    assert "say --yes" in err
    assert fleet.get(1).state == "running"
    assert flowshift("cancel", "1", "--yes") == (0, "run 1 is cancelled\n", "")
    assert flowshift("cancel", "1") == (0, "run 1 is already cancelled\n", "")

    code, _, err = flowshift("db", "downgrade", "base")
    assert code == 2
    assert "say --yes" in err
    assert flowshift("status")[0] == 1
    assert flowshift("db", "downgrade", "base", "--yes")[0] == 0
