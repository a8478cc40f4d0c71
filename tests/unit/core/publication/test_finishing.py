"""Which bots are finished: each reason alone keeps a bot out, and the first one counts."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import msgspec
import pytest

from worker.core.publication.finishing import (
    DAY_S,
    LEFT_OUT,
    Archived,
    Fact,
    Rules,
    left_out,
    preview,
    stays,
)

READY = Fact(bot_id="b", on_v2_s=30.0 * DAY_S)

WHY: dict[str, dict[str, Any]] = {
    "gone": {"exists": False},
    "not_published": {"on_v2_s": None},
    "nothing_to_clear": {"has_v1": False, "has_backup": False},
    "uses_v1": {"uses_v2": False},
    "no_live_version": {"has_live": False},
    "too_recent": {"on_v2_s": 30.0 * DAY_S - 1},
    "v1_edited": {"is_edited": True},
    "no_execution": {"was_executed": False},
}


def test_a_bot_for_which_all_holds_goes() -> None:
    assert left_out(READY, Rules()) is None


@pytest.mark.parametrize("why", WHY)
def test_each_reason_alone_keeps_it_out(why: str) -> None:
    assert left_out(msgspec.structs.replace(READY, **WHY[why]), Rules()) == why


def test_of_two_reasons_the_first_counts() -> None:
    order: list[str] = list(LEFT_OUT)
    for one, other in combinations(WHY, 2):
        if {one, other} in ({"not_published", "uses_v1"}, {"not_published", "too_recent"}):
            continue  # one says the other
        fact = msgspec.structs.replace(READY, **{**WHY[other], **WHY[one]})
        assert left_out(fact, Rules()) == min(one, other, key=order.index), (one, other)


def test_what_was_finished_before_is_told_from_what_was_written_since() -> None:
    fact = msgspec.structs.replace(READY, is_finished=True)
    assert left_out(fact, Rules()) == "written_since"
    nothing = msgspec.structs.replace(fact, has_v1=False, has_backup=False)
    assert left_out(nothing, Rules()) == "finished"


def test_a_backup_alone_is_cleared_and_is_no_edit_of_v1() -> None:
    assert left_out(msgspec.structs.replace(READY, has_v1=False, is_edited=True), Rules()) is None


def test_a_person_can_take_bots_without_executions_and_with_edits() -> None:
    fact = msgspec.structs.replace(READY, was_executed=False, is_edited=True)
    assert left_out(fact, Rules(without_executions=True)) == "v1_edited"
    assert left_out(fact, Rules(edited_v1=True)) == "no_execution"
    assert left_out(fact, Rules(without_executions=True, edited_v1=True)) is None


def test_v1_comes_back_where_nothing_is_written_over() -> None:
    assert stays(Archived(bot_id="b")) is None
    assert stays(Archived(bot_id="b", is_empty=False)) == "written_since"
    assert stays(Archived(bot_id="b", exists=False)) == "gone"
    assert stays(Archived(bot_id="b", is_finished=False)) == "not_finished"


def test_a_preview_counts_all_and_names_the_first_in_the_order_of_the_reasons() -> None:
    bots = [(f"b{n}", None) for n in range(5)] + [("x", "busy"), ("y", "gone"), ("z", "gone")]
    assert preview(bots).lines() == [
        "5 bots: V1 and its backup are cleared ('b0', 'b1', 'b2', …)",
        "2 bots: left out: deleted since ('y', 'z')",
        "1 bot: left out: locked by another session: run it again ('x')",
    ]
    assert preview([]).lines(is_undo=True) == ["0 bots: V1 and its backup are restored"]
