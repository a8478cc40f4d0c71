"""Which bots are asked of late: known from executions alone, and canaries are taken from them."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.fleet import Fleet
from tests.traffic import Traffic
from worker.core.publication.sizes import parse_waves
from worker.core.publication.waves import Wishes
from worker.db.publication import traffic_before, traffic_v1
from worker.db.publication.waves import Options
from worker.steps.publication.asked import asked_of_late
from worker.steps.publication.plan import Wanted, look


def test_executions_of_a_week_count_by_bot_whatever_the_version(fleet: Fleet) -> None:
    traffic = Traffic(fleet)
    traffic.wave(1, "a", "b", "c")
    traffic.ask("a", 3, ago="6 days")
    traffic.ask("a", 4, ago="2 hours", version=None)
    traffic.ask("b", 7, ago="7 days 1 minute")
    traffic.ask("c", 7, session="flowshift:run-1:message-1")

    assert asked_of_late(fleet.engine) == {"a": 1.0}


def test_what_takes_too_long_is_read_for_a_day_and_else_not_known(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic = Traffic(fleet)
    traffic.wave(1, "a")
    traffic.ask("a", 3, ago="6 days")
    traffic.ask("a", 4)
    real, too_long = traffic_before.a_day, {7}

    def slow(connection: sa.Connection, days: int) -> dict[str, float]:
        if days in too_long:
            connection.execute(sa.text("SELECT pg_sleep(60)"))
        return real(connection, days)

    monkeypatch.setattr(traffic_v1, "MOST_MS", 200)
    monkeypatch.setattr(traffic_before, "a_day", slow)
    assert asked_of_late(fleet.engine) == {"a": 4.0}
    too_long.add(1)
    assert asked_of_late(fleet.engine) == {}


def test_the_first_wave_is_a_bot_that_is_asked(fleet: Fleet) -> None:
    ids = fleet.add_many(12)
    fleet.run(validate="sample:1")
    fleet.execute(
        "INSERT INTO workflow_execution_runs (id, bot_id, session_id, graph_snapshot, status, created_at)"
        " SELECT gen_random_uuid(), :bot, 'v' || n, '{}', 'succeeded', now() - interval '2 days'"
        " FROM generate_series(1, 490) n",
        bot=ids[7],
    )
    wanted = Wanted(
        run_id=1, steps=parse_waves("1, all"), wishes=Wishes(), options=Options(target="guide")
    )

    plan = look(fleet.current, wanted).plan

    assert (plan.bot_ids[0], plan.asked) == (ids[7], 1)
