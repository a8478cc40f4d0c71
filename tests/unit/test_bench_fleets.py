"""The fleet that is measured without hits: every bot is built differently, and V1 runs it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from bench.fleets import FLEETS, TYPICAL, alike_bots, distinct_bots
from worker.core.targets.convert import convert_text
from worker.core.workflow.config import Defaults
from worker.errors import BotError
from worker.sample import SampleBot, sample_bots


def built(workflow: dict[str, Any]) -> tuple[object, ...]:
    """What a workflow is built of: types, edges and `use_context_from`, by position; no ids, no configs."""
    places = {node["id"]: place for place, node in enumerate(workflow["nodes"])}
    types = tuple(node["type"] for node in workflow["nodes"])
    edges = frozenset((places[one["source"]], places[one["target"]]) for one in workflow["edges"])
    asked = tuple(
        tuple(places[one] for one in node["data"].get("use_context_from", ()))
        for node in workflow["nodes"]
    )
    return types, edges, asked


def workflows(bots: Iterable[SampleBot]) -> list[dict[str, Any]]:
    """Of the bots that are not broken."""
    return [json.loads(bot.workflow) for bot in bots if bot.workflow and int(bot.bot_id[-2:]) < 90]


def test_no_two_bots_of_the_distinct_fleet_are_built_alike() -> None:
    numbers = (0, 126_500, 500_000, 999_000)
    found = workflows(bot for first in numbers for bot in distinct_bots(1_000, first))

    assert len(found) == 4 * 890
    assert len({built(workflow) for workflow in found}) == len(found)


def test_all_bots_of_the_fleet_alike_are_built_in_one_way_of_the_distinct_fleets() -> None:
    assert {built(workflow) for workflow in workflows(alike_bots(200))} == {
        built(workflow) for workflow in workflows(distinct_bots(1, TYPICAL))
    }


def test_bots_of_the_distinct_fleet_convert_and_fail_as_those_of_the_sample_fleet_do() -> None:
    assert codes("distinct") == codes("alike") == codes("sample")


def codes(fleet: str) -> list[str | None]:
    return [code(bot.workflow) for bot in FLEETS[fleet](200, 0) if bot.workflow]


def code(workflow: bytes) -> str | None:
    try:
        convert_text(workflow, Defaults())
    except BotError as error:
        return error.code
    return None


def test_a_bot_is_the_same_however_many_there_are() -> None:
    assert list(distinct_bots(3, 70)) == list(distinct_bots(100, 0))[70:73]
    assert [bot.bot_id for bot in distinct_bots(5)] == [bot.bot_id for bot in sample_bots(5)]
