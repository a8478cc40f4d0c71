"""Publication beside a platform that is in use: people edit, publish, save V1 and delete meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.beside import Beside
from tests.chaos.platform import a_variant
from tests.fleet import Fleet
from tests.live import Environment, running, tending
from tests.operating import Operator
from tests.platform_process import people_work_on
from tests.publication_invariants import must_hold
from worker.settings import Settings

pytestmark = pytest.mark.acceptance


FEW_PEOPLE = {"serve": 6.0, "edit": 0.8}
NOBODY_SAVES = {"serve": 1.0}
MANY_PEOPLE = {"serve": 3.0, "edit": 3.0, "change": 0.3, "publish": 0.5, "delete": 0.05}


def test_people_lose_nothing_from_the_first_wave_to_the_rollback(
    fleet: Fleet, publisher: Environment, settings: Settings, tmp_path: Path
) -> None:
    """On a quarter of the bots; every other one goes live and comes back, however long all of it takes."""
    ids = []
    for kind in ("plain", "joined", "bare"):
        ids += fleet.add_many(60, f"{kind}-", a_variant(kind, 1))
    alone = {bot_id for bot_id in ids if not people_work_on(bot_id)}
    assert 0 < len(alone) < len(ids)
    fleet.run(validate="sample:1")
    beside, operator = Beside(fleet), Operator(fleet, publisher)
    beside.order(doing=FEW_PEOPLE, editors=25)
    with (
        running(publisher, tmp_path) as supervisor,
        beside.working(settings.database_url, tmp_path / "platform.log", seed=1),
    ):
        tending(supervisor, lambda: beside.count("draft") > 10)
        beside.obey(doing=NOBODY_SAVES)  # so that drafts stay as they were made; editors stay open
        operator.publish("--waves", "50 %, all")
        tending(supervisor, lambda: operator.state == "watching")
        beside.order(doing=MANY_PEOPLE)
        while not operator.is_over:
            operator.do(*operator.move_on(), "--detach")
            tending(supervisor, lambda: operator.state != "publishing")
        tending(supervisor, lambda: saved_across(fleet) and published_over(fleet))
        assert alone <= in_state(fleet, "confirmed")
        operator.roll_back("--all", codes=(1,))
        done = len(beside.journal())
        tending(supervisor, lambda: len(beside.journal()) > done + 20)
    assert operator.state == "rolled_back"
    assert operator.count("superseded") > 0
    assert alone <= in_state(fleet, "rolled_back")
    assert operator.count("skipped") > 0
    must_hold(fleet, beside)


def in_state(fleet: Fleet, state: str) -> set[str]:
    """The bots of the publication that are in a state."""
    query = "SELECT bot_id FROM flowshift.publication_bots WHERE state = :state"
    return {row.bot_id for row in fleet.rows(query, state=state)}


def saved_across(fleet: Fleet) -> bool:
    """Whether an editor that showed a bot's draft before its publication has saved after it."""
    return bool(
        fleet.rows(
            "SELECT FROM platform_journal j JOIN flowshift.publication_bots p USING (bot_id)"
            " WHERE j.kind = 'draft' AND p.version_id IS NOT NULL AND j.at > p.published_at"
            " AND jsonb_array_length(j.said::jsonb -> 'nodes') > 2 LIMIT 1"
        )
    )


def published_over(fleet: Fleet) -> bool:
    """Whether a person has published over a version of ours."""
    return bool(
        fleet.rows(
            "SELECT FROM platform_journal j JOIN flowshift.publication_bots p USING (bot_id)"
            " WHERE j.kind = 'published' AND p.version_id IS NOT NULL AND j.at > p.published_at"
            " LIMIT 1"
        )
    )
