"""A fleet that is out, to be taken back: published without Celery, on a platform that takes its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from tests.fleet import Fleet
from tests.live import eventually
from worker.core.publication.sizes import parse_waves
from worker.core.publication.waves import Wishes
from worker.db.publication.waves import Options
from worker.steps.finish import finish_run
from worker.steps.publication import control
from worker.steps.publication.begin import Going
from worker.steps.publication.plan import Wanted

# A platform with work of its own at each switch, which can be stopped at the one that a test says.
_INSTALL: Final = (
    "CREATE SEQUENCE switched",
    "CREATE TABLE brake (at bigint NOT NULL)",
    """
    CREATE FUNCTION note_switch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
        DECLARE number bigint := nextval('switched');
        BEGIN
            PERFORM pg_sleep(0.001);
            WHILE EXISTS (SELECT FROM brake WHERE at <= number) LOOP
                PERFORM pg_sleep(0.01);
            END LOOP;
            RETURN NULL;
        END $$
    """,
    """
    CREATE TRIGGER note AFTER INSERT ON bot_workflow_versions FOR EACH ROW
        WHEN (NEW.status = 'published') EXECUTE FUNCTION note_switch()
    """,
    """
    CREATE TRIGGER note AFTER UPDATE ON bots FOR EACH ROW
        WHEN (OLD.use_workflow_v2 AND NOT NEW.use_workflow_v2) EXECUTE FUNCTION note_switch()
    """,
)


def go_out(fleet: Fleet, bots: int, waves: str = "40 %, all", *, out: int | None = None) -> None:
    """Convert and publish so many bots: all of the waves, or the first `out`, the next one begun."""
    fleet.add_many(bots)
    fleet.run(validate="sample:1")
    wanted = Wanted(
        run_id=1, steps=parse_waves(waves), wishes=Wishes(), options=Options(target="guide")
    )
    going = control.publish(fleet.current, wanted, request_id="r", actor="test")
    steps = len(parse_waves(waves))
    for wave in range(1, steps + 1):
        if out is not None and wave > out:
            return
        publish_wave(fleet, going)
        if wave < steps:
            going = control.accept(fleet.current, 1, wave, actor="test", reason="seen")


def publish_wave(fleet: Fleet, going: Going) -> None:
    """Do every batch of a wave's run."""
    assert going.run_id is not None
    number = 1
    while number <= fleet.get(going.run_id).batch_count:
        fleet.convert(going.run_id, number)
        number += 1
    finish_run(fleet.engine, going.run_id, actor="test")


def install_brake(fleet: Fleet) -> None:
    """Let the platform do work of its own for each bot that is switched, either way."""
    for statement in _INSTALL:
        fleet.execute(statement)


@contextmanager
def stopped(
    fleet: Fleet, *, after: int, tend: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Whatever switches bots stops at the one after so many from now on, until the block ends.

    The block begins when something has; `tend` is done again and again until then.
    """
    fleet.execute(
        "INSERT INTO brake SELECT last_value + is_called::int + :after FROM switched", after=after
    )
    try:
        eventually(lambda: tend() or is_in_the_middle(fleet))
        yield
    finally:
        fleet.execute("DELETE FROM brake")


def is_in_the_middle(fleet: Fleet) -> bool:
    """Whether a transaction of ours has switched a bot, and is stopped before its commit."""
    query = "SELECT FROM brake, switched WHERE is_called AND at <= last_value"
    return bool(fleet.rows(query)) and bool(fleet.rows(f"{_SESSIONS} AND wait_event = 'PgSleep'"))


def is_at_rest(fleet: Fleet) -> bool:
    """Whether no session does anything, also none whose process is gone."""
    return not fleet.rows(f"{_SESSIONS} AND state <> 'idle' AND pid <> pg_backend_pid()")


_SESSIONS = """
    SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend'
"""


def deadlocks(fleet: Fleet) -> int:
    """How many there were in this database."""
    fleet.execute("SELECT pg_stat_force_next_flush()")
    query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    return int(fleet.rows(query)[0][0])


def count_live(fleet: Fleet) -> int:
    """How many bots answer with V2."""
    return int(fleet.rows("SELECT count(*) FROM bots WHERE use_workflow_v2")[0][0])
