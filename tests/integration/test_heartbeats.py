"""Heartbeats in the database: what is written, what is read, and what does not stay."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fleet import Fleet
from tests.live import eventually
from tests.roles import Role
from worker import log
from worker.core.policy.processes import Process, ProcessKind, condition_of
from worker.core.policy.run_kinds import QueueName
from worker.db import heartbeats
from worker.db.heartbeats import Identity, Sign
from worker.processes.heartbeat import Heartbeat
from worker.runtime import Runtime
from worker.servers.connect import Servers
from worker.settings import Settings


def somebody(
    kind: ProcessKind = "worker",
    host: str = "here",
    pid: int = 7,
    queues: tuple[QueueName, ...] = ("convert",),
) -> Identity:
    """A process that keeps running."""
    return Identity(uuid.uuid4(), kind, f"{kind}@{host}", host, pid, "0.1.0", queues)


def begin(fleet: Fleet, me: Identity, sign: Sign | None = None) -> Identity:
    """Write the first heartbeat, and one with what can be said."""
    with fleet.engine.begin() as connection:
        heartbeats.begin(connection, me)
    if sign is not None:
        beat(fleet, me, sign)
    return me


def beat(fleet: Fleet, me: Identity, sign: Sign) -> None:
    """Write a heartbeat."""
    with fleet.engine.begin() as connection:
        heartbeats.beat(connection, me, sign)


def found(fleet: Fleet, **which: Any) -> list[Process]:
    """What is read."""
    with fleet.engine.connect() as connection:
        return heartbeats.processes(connection, **which)


def alive(fleet: Fleet, within_s: float = 30, queue: QueueName = "convert") -> int:
    """How many workers take messages of a queue."""
    with fleet.engine.connect() as connection:
        return heartbeats.workers_alive(connection, queue, within_s=within_s)


def grow_old(fleet: Fleet, me: Identity, seconds: int) -> None:
    """Let nothing have been heard of a process for so long."""
    fleet.execute(
        f"UPDATE flowshift.heartbeats SET beat_at = beat_at - interval '{seconds} s', "
        f"worked_at = worked_at - interval '{seconds} s' WHERE instance_id = '{me.instance_id}'"
    )


def test_a_process_that_began_has_shown_nothing_yet(fleet: Fleet) -> None:
    begin(fleet, somebody())
    (one,) = found(fleet)
    assert (one.kind, one.name, one.host, one.pid) == ("worker", "worker@here", "here", 7)
    assert one.worked_s is None
    assert 0 <= one.beat_s < 30
    assert condition_of(one, 60) == "starting"
    assert alive(fleet) == 0


def test_what_was_seen_to_work_some_time_ago_is_that_old(fleet: Fleet) -> None:
    me = begin(fleet, somebody(), Sign(12.0, "it takes messages"))
    (one,) = found(fleet)
    assert one.worked_s is not None
    assert 12 <= one.worked_s < 30
    assert one.evidence == "it takes messages"
    assert (alive(fleet, 60), alive(fleet, 10)) == (1, 0)
    beat(fleet, me, Sign(None, problem="it is not connected to the queue"))
    (one,) = found(fleet)
    assert one.worked_s is not None, "what was seen stays seen"
    assert one.evidence == "it takes messages"
    assert one.problem == "it is not connected to the queue"
    beat(fleet, me, Sign(0.0))
    (one,) = found(fleet)
    assert one.problem is None


def test_only_workers_that_work_and_are_not_stopped_are_alive(fleet: Fleet) -> None:
    now = Sign(0.0)
    begin(fleet, somebody(), now)
    begin(fleet, somebody("beat"), now)
    stopped = begin(fleet, somebody(host="b"), now)
    silent = begin(fleet, somebody(host="c"), now)
    grow_old(fleet, silent, 31)
    begin(fleet, somebody(host="d"))
    assert alive(fleet) == 2
    with fleet.engine.begin() as connection:
        heartbeats.stop(connection, stopped)
    assert alive(fleet) == 1
    assert [one.host for one in found(fleet, host="b")] == ["b"]
    assert found(fleet, host="b")[0].stopped


def test_a_worker_counts_for_the_queues_that_it_takes_messages_from(fleet: Fleet) -> None:
    now = Sign(0.0)
    begin(fleet, somebody(), now)
    assert (alive(fleet), alive(fleet, queue="publish")) == (1, 0)
    begin(fleet, somebody(host="b", queues=("publish",)), now)
    begin(fleet, somebody(host="c", queues=("convert", "publish")), now)
    assert (alive(fleet), alive(fleet, queue="publish")) == (2, 2)
    assert {one.queues for one in found(fleet, host="c")} == {("convert", "publish")}


def test_a_worker_of_the_version_before_counts_as_one_that_publishes_nothing(fleet: Fleet) -> None:
    begin(fleet, somebody(queues=("convert", "publish")), Sign(0.0))
    fleet.execute("UPDATE flowshift.heartbeats SET queues = DEFAULT")
    assert (alive(fleet), alive(fleet, queue="publish")) == (1, 0)


def test_rows_of_processes_that_are_gone_do_not_stay(fleet: Fleet) -> None:
    old = begin(fleet, somebody(host="gone"))
    grow_old(fleet, old, heartbeats.KEPT_S + 1)
    kept = begin(fleet, somebody(host="kept"))
    grow_old(fleet, kept, heartbeats.KEPT_S - 60)
    dying = [begin(fleet, somebody(pid=number)) for number in range(3)]
    grow_old(fleet, dying[0], heartbeats.REPLACED_S + 1)
    grow_old(fleet, dying[1], heartbeats.REPLACED_S - 60)
    begin(fleet, somebody("beat"))
    assert len(found(fleet)) == 5, "one that is older than a day is not shown"
    begin(fleet, somebody(pid=3))
    rows = fleet.rows("SELECT host, pid FROM flowshift.heartbeats WHERE kind = 'worker'")
    assert sorted(tuple(row) for row in rows) == [
        ("here", 1),
        ("here", 2),
        ("here", 3),
        ("kept", 7),
    ]


def test_a_heartbeat_stays_in_its_page_and_leaves_no_other_row(fleet: Fleet) -> None:
    me = begin(fleet, somebody())
    for _ in range(200):
        beat(fleet, me, Sign(0.0, "it takes messages"))
    fleet.execute("SELECT pg_stat_force_next_flush()")
    (row,) = fleet.rows(
        "SELECT pg_relation_size('flowshift.heartbeats') / 8192, "
        "pg_relation_size('flowshift.heartbeats_pkey') / 8192"
    )
    assert tuple(row) == (1, 2)


@pytest.fixture
def live(settings: Settings, role: Role) -> Iterator[Runtime]:
    """A runtime with the rights of a worker, whose heart beats every second."""
    given = Settings(heartbeat_s=1, data_dir=settings.data_dir)
    current = Runtime(given, Servers(role.url(settings.database_url), settings.redis_url))
    yield current
    current.close()


def test_a_process_writes_by_itself_with_a_workers_rights_and_holds_no_connection(
    live: Runtime, fleet: Fleet
) -> None:
    heart = Heartbeat(live, "worker", "w@h", lambda: Sign(0.0, "seen"), queues=("convert",))
    heart.start()
    eventually(lambda: alive(fleet))
    eventually(lambda: not fleet.rows(CONNECTED))
    heart.stop()
    (one,) = found(fleet)
    assert (one.evidence, one.stopped) == ("seen", True)
    assert (one.memory_bytes or 0) > 1_000_000
    written = found(fleet)[0].beat_s
    time.sleep(1.2)
    assert found(fleet)[0].beat_s > written, "it writes no more"


CONNECTED = (
    "SELECT FROM pg_stat_activity WHERE application_name = 'flowshift heartbeat' "
    "AND datname = current_database()"
)


def test_a_database_that_is_away_changes_nothing_but_the_row(
    live: Runtime, fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure(log_format="json", level="warning")
    heart = Heartbeat(live, "worker", "w@h", lambda: Sign(0.0), queues=("convert",))
    fleet.execute("ALTER TABLE flowshift.heartbeats RENAME TO away")
    heart.beat()
    heart.beat()
    fleet.execute("ALTER TABLE flowshift.away RENAME TO heartbeats")
    said = capsys.readouterr().err
    assert said.count("heartbeat.unwritten") == 1
    assert json.loads(said)["error"] == (
        "the table of heartbeats is not as this version needs it (relation "
        '"flowshift.heartbeats" does not exist): run `flowshift db upgrade`'
    )
    heart.beat()
    assert alive(fleet) == 1
