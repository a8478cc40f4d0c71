"""Deciding on many bots: what becomes of each, how many are in memory at a time, whose the time is."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.fleet import a_broken_workflow, a_workflow
from worker.core.parity.messages import BUILT_IN, Trials
from worker.core.parity.trial import Equipment
from worker.core.targets.convert import convert_checked
from worker.core.targets.guide import GUIDE
from worker.core.workflow.config import Defaults
from worker.core.workflow.draft import Draft
from worker.core.workflow.v1 import Workflow
from worker.db.bots import BotRow, KnownDraft
from worker.db.ledger import LedgerRow
from worker.db.row_ids import Source
from worker.providers.echo import Echo
from worker.sample import sample_bots
from worker.steps.batch import decide as module
from worker.steps.batch.decide import (
    TOGETHER,
    TOGETHER_BYTES,
    Converted,
    Known,
    decide,
    decide_each,
)
from worker.steps.batch.trial import Trial

DEFAULTS = Defaults()


@pytest.fixture
def trial() -> Trial:
    """A trial in which no time passes."""
    echo = Echo()
    equipment = Equipment(lambda: (echo, echo), lambda: 0.0, GUIDE.rules.built_in)
    return Trial(Source("run", run_id=1, batch=1), Trials(BUILT_IN, 1), equipment)


def a_row(bot_id: str, workflow: object | None = None, **columns: Any) -> BotRow:
    text = json.dumps(a_workflow() if workflow is None else workflow).encode()
    row = BotRow(bot_id, False, text, len(text), False, False)
    return msgspec.structs.replace(row, **columns)


def every_kind() -> list[BotRow]:
    """Bots of all outcomes, more than are decided on together."""
    sample = [
        BotRow(
            one.bot_id, one.uses_v2, one.workflow, len(one.workflow or b"") or None, False, False
        )
        for one in sample_bots(3 * TOGETHER + 5)
    ]
    known = KnownDraft(7, ())
    return [
        *sample[:40],
        a_row("broken", a_broken_workflow()),
        a_row("flagged", uses_v2=True),
        a_row("huge", workflow=None, workflow_bytes=5_000_000),
        a_row("known", known=known),
        a_row("twice", is_duplicate=True),
        *sample[40:],
    ]


@pytest.mark.parametrize("is_tried", [False, True])
def test_bots_come_in_their_order_to_what_each_comes_to_alone(trial: Trial, is_tried: bool) -> None:
    rows, how = every_kind(), trial if is_tried else None
    decided = list(decide_each(rows, DEFAULTS, how))

    assert [one.bot_id for one in decided] == [row.bot_id for row in rows]
    assert [one.what for one in decided] == [decide(row, DEFAULTS, how) for row in rows]
    assert [one.basis for one in decided] == [row.basis for row in rows]
    assert {type(one.what) for one in decided} == {Converted, Known, LedgerRow}
    assert all((one.took_s == math.inf) == isinstance(one.what, Known) for one in decided)


def test_a_fault_on_one_bot_changes_nothing_for_the_others(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [a_row("a"), a_row("b", a_workflow("boom")), a_row("c")]

    def faulty(workflow: Workflow, *target: Any) -> Draft:
        if any(b"boom" in bytes(value) for node in workflow.nodes for value in node.data.values()):
            raise RuntimeError("a fault of ours")
        return convert_checked(workflow, *target)

    monkeypatch.setattr(module, "convert_checked", faulty)
    first, second, third = (one.what for one in decide_each(rows, DEFAULTS, trial))

    assert isinstance(second, LedgerRow)
    assert (second.bot_id, second.code) == ("b", "internal_error")
    assert [type(first), type(third)] == [Converted, Converted]


def read_before_the_first(rows: list[BotRow]) -> int:
    """How many bots are read before one is decided on."""
    read = 0

    def reading() -> Iterator[BotRow]:
        nonlocal read
        for row in rows:
            read += 1
            yield row

    next(decide_each(reading(), DEFAULTS))
    return read


def test_few_bots_are_in_memory_at_a_time_and_fewer_large_ones() -> None:
    quarter, more = "x" * (TOGETHER_BYTES // 4), "x" * (TOGETHER_BYTES + 1)

    assert read_before_the_first([a_row(f"{n:03}") for n in range(200)]) == TOGETHER + 1
    assert read_before_the_first([a_row(f"{n}", a_workflow(quarter)) for n in range(20)]) == 4
    assert read_before_the_first([a_row(f"{n}", a_workflow(more)) for n in range(20)]) == 2


def test_the_time_of_each_bot_is_that_of_all_its_steps_and_of_no_other(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0

    def converts_in_a_second(workflow: Workflow, *target: Any) -> Draft:
        nonlocal now_s
        now_s += 1.0 if len(workflow.nodes) == 4 else 0.0
        return convert_checked(workflow, *target)

    def tries_in_ten(one: Trial, *arguments: Any) -> Any:
        nonlocal now_s
        now_s += 10.0
        return try_draft(one, *arguments)

    try_draft = Trial.try_draft
    monkeypatch.setattr(module, "time", types.SimpleNamespace(perf_counter=lambda: now_s))
    monkeypatch.setattr(module, "convert_checked", converts_in_a_second)
    monkeypatch.setattr(Trial, "try_draft", tries_in_ten)
    shorter = {
        "nodes": [{"id": "s", "type": "start"}, {"id": "e", "type": "end"}],
        "edges": [{"source": "s", "target": "e"}],
    }
    rows = [a_row("a"), a_row("b", shorter), a_row("c", a_broken_workflow())]

    assert [one.took_s for one in decide_each(rows, DEFAULTS, trial)] == [11.0, 10.0, 0.0]
