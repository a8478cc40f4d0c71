"""What people do in the very middle of a batch that publishes, or rolls back: all of it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import platform_sql as sql
from tests.beside import Beside
from tests.fleet import Fleet
from tests.live import eventually
from tests.platform_process import Platform
from tests.publication_invariants import must_hold
from worker.core.publication.sizes import parse_waves
from worker.core.publication.waves import Wishes
from worker.db.publication.rolling import Which
from worker.db.publication.waves import Options
from worker.steps.finish import finish_run
from worker.steps.publication import control
from worker.steps.publication.plan import Wanted
from worker.steps.publication.rollback import roll_back

BOT = "bot-00001"

# A platform with work of its own at each switch: the batch stays in the middle for a while.
SLOW = (
    (
        "CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END'"
    ),
    (
        "CREATE TRIGGER slow AFTER INSERT ON bot_workflow_versions FOR EACH ROW"
        " WHEN (NEW.status = 'published') EXECUTE FUNCTION take_time()"
    ),
    (
        "CREATE TRIGGER slow AFTER UPDATE ON bots FOR EACH ROW"
        " WHEN (OLD.use_workflow_v2 AND NOT NEW.use_workflow_v2) EXECUTE FUNCTION take_time()"
    ),
)


@pytest.fixture
def beside(fleet: Fleet) -> Beside:
    """Four proven bots; one has a version of an earlier publication, which was rolled back."""
    fleet.add_many(4)
    fleet.run(validate="sample:1")
    fleet.add_version(BOT, "v1.0", "published")
    beside = Beside(fleet)
    for statement in SLOW:
        fleet.execute(statement)
    return beside


@pytest.fixture
def platform(fleet: Fleet) -> Iterator[Platform]:
    """A person in the platform."""
    url = fleet.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    made = Platform(url, 1, "guide")
    yield made
    made.close()


def save(platform: Platform) -> None:
    """Save in an editor that was opened before."""
    at = platform._at.execute(sql.OPEN, {"bot_id": BOT}).fetchone()
    assert at is not None
    platform._at.execute(sql.SAVE, {"id": at[0], "graph": '{"nodes": [{"id": "mine"}]}'})


DEEDS: dict[str, Callable[[Platform], None]] = {
    "saves a draft": save,
    "saves V1": lambda platform: platform.change(BOT),
    "publishes": lambda platform: platform.publish(BOT),
    "deletes the bot": lambda platform: platform.delete(BOT),
    "opens the bot": lambda platform: platform.serve(BOT),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_what_a_person_does_while_a_batch_publishes_holds(
    fleet: Fleet, beside: Beside, platform: Platform, deed: str
) -> None:
    run_id = publish(fleet)
    with ThreadPoolExecutor(1) as pool:
        batch = pool.submit(fleet.convert, run_id, 1)
        eventually(lambda: is_in_the_middle(fleet))
        DEEDS[deed](platform)
        assert batch.result(60).counts.published == 4
    finish_run(fleet.engine, run_id, actor="test")
    control.stop(fleet.current, 1, actor="test", reason=None)
    must_hold(fleet, beside)


@pytest.mark.parametrize("deed", DEEDS)
def test_what_a_person_does_while_a_batch_rolls_back_holds(
    fleet: Fleet, beside: Beside, platform: Platform, deed: str
) -> None:
    run_id = publish(fleet)
    fleet.convert(run_id, 1)
    finish_run(fleet.engine, run_id, actor="test")
    save(platform)
    with ThreadPoolExecutor(1) as pool:
        back = pool.submit(
            roll_back, fleet.current, Which(), digest=None, actor="test", reason=None,
            show=lambda _: None,
        )  # fmt: skip
        eventually(lambda: is_in_the_middle(fleet))
        DEEDS[deed](platform)
        assert back.result(60).bots["rolled_back"] == 4
    must_hold(fleet, beside)


def publish(fleet: Fleet) -> int:
    """Plan a publication of all in one wave; returns its run."""
    options = Options(target="guide")
    wanted = Wanted(run_id=1, steps=parse_waves("all"), wishes=Wishes(), options=options)
    going = control.publish(fleet.current, wanted, request_id="r", actor="test")
    assert going.run_id is not None
    return going.run_id


def is_in_the_middle(fleet: Fleet) -> bool:
    """Whether a transaction of ours has switched a bot, and has not committed."""
    query = (
        "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    )
    return bool(fleet.rows(query))
