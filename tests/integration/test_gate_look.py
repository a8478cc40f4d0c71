"""Looking at a wave: what the platform's executions came to, on real PostgreSQL."""

from __future__ import annotations

import pytest

from migrations import known
from tests.fleet import Fleet
from tests.traffic import Traffic, counts, metric
from worker.core.publication.alarmed import Came
from worker.core.publication.baseline import Count
from worker.core.publication.gate import judge
from worker.db.publication.anew import count_anew
from worker.db.schema.check import check
from worker.errors import UsageError


@pytest.fixture
def traffic(fleet: Fleet) -> Traffic:
    """A wave of three bots, out for two hours."""
    traffic = Traffic(fleet)
    traffic.wave(1, "a", "b", "c")
    return traffic


def test_a_wave_without_executions_is_read_as_such(traffic: Traffic) -> None:
    reading = traffic.look()

    assert counts(reading) == counts(reading, "slow") == counts(reading, "costly") == (0, 0)
    assert (reading.bots, reading.quarantined, reading.is_whole) == (3, 0, True)
    assert round(reading.until_s - reading.since_s) == 7_200
    assert judge(reading).outcome == "watching"


def test_a_wave_that_is_not_there_is_named(traffic: Traffic) -> None:
    with pytest.raises(UsageError, match="there is no wave 7 of publication 1"):
        traffic.look(7)


def test_a_wave_of_which_nothing_is_out_yet_is_not_whole(traffic: Traffic) -> None:
    traffic.wave(2, "d", state="publishing", bots="pending")

    reading = traffic.look(2)

    assert (reading.bots, reading.is_whole, counts(reading)) == (0, False, (0, 0))


def test_executions_of_the_version_that_was_published_count_and_no_others(traffic: Traffic) -> None:
    traffic.ask("a", 3)
    traffic.ask("b", 2, status="failed", error="boom")
    traffic.ask("a", 5, status="failed", version=None)
    traffic.ask("a", 5, status="failed", version=traffic.versions["b"])
    traffic.ask("a", 5, status="failed", session="flowshift:run-1:message-1")
    traffic.ask("a", 5, status="failed", session="flowshift:test")

    reading = traffic.look()

    assert counts(reading) == (2, 5)
    assert metric(reading).bots_failing == 1


def test_a_session_that_is_not_known_counts(traffic: Traffic) -> None:
    traffic.ask("a", 2, session=None)
    traffic.ask("a", 2, session="Flowshift:run")

    assert counts(traffic.look()) == (0, 4)


def test_a_client_that_hangs_up_is_neither_success_nor_failure(traffic: Traffic) -> None:
    traffic.ask("a", 4, status="failed", error="Cancelled by client")
    traffic.ask("a", 4, status="failed", error="Cancelled by client: gone\nafter 3 s")
    traffic.ask("a", 1, status="failed", error="Upstream: Cancelled by client")
    traffic.ask("a", 1, status="failed", error=None)
    traffic.ask("a", 1)

    assert counts(traffic.look()) == (2, 3)
    assert counts(traffic.look(gate_ignore="none")) == (10, 11)
    assert counts(traffic.look(gate_ignore="*client*|b_om")) == (1, 2)


def test_a_hostile_message_is_looked_at_no_further_than_needed(traffic: Traffic) -> None:
    traffic.ask("a", 1, status="failed", error="a" * 1_000_000 + "b")
    traffic.ask("a", 1, status="failed", error="a" * 999 + "b" + "c" * 1_000_000)

    assert counts(traffic.look(gate_ignore="*a*a*a*b")) == (1, 1)


def test_what_runs_beyond_the_limit_has_failed_and_what_runs_within_it_is_left_out(
    traffic: Traffic,
) -> None:
    traffic.ask("a", 2, status="running", ago="299 seconds", elapsed_ms=None)
    traffic.ask("a", 3, status="running", ago="302 seconds", elapsed_ms=None)
    traffic.ask("a", 4, elapsed_ms=301_000, ago="10 minutes")
    traffic.ask("a", 5, elapsed_ms=None)

    assert counts(traffic.look()) == (7, 12)
    assert counts(traffic.look(gate_running_s=600)) == (0, 9)


def test_an_execution_of_which_nothing_is_known_is_left_out(traffic: Traffic) -> None:
    traffic.ask("a", 2, status="paused", ago="9 minutes")

    assert counts(traffic.look()) == (0, 0)


def test_executions_of_statuses_that_are_not_known_are_counted_and_named(traffic: Traffic) -> None:
    """Old ones once, when they are settled; not those of other bots, of us, or from before."""
    traffic.ask("a", 2, status="paused", ago="9 minutes")
    traffic.ask("b", 3, status="paused", ago="100 minutes")
    traffic.ask("b", 4, status="partial", ago="90 minutes")
    traffic.ask("a", 1, status="paused", ago="3 hours")
    traffic.ask("a", 1, status="paused", session="flowshift:test")
    traffic.ask("a", 1, status="paused", version=None)
    traffic.wave(2, "x")
    traffic.ask("x", 1, status="paused")
    traffic.look()

    reading = traffic.look()

    assert reading.unknown == (("paused", 5), ("partial", 4))
    assert judge(reading).sentence.endswith(
        "; 9 executions have a status that is not known ('paused', 'partial'): they count as nothing"
    )


def test_the_check_names_them_unless_it_would_have_to_sort_the_table(traffic: Traffic) -> None:
    traffic.ask("a", 3, status="paused")
    traffic.ask("a", 3, status="failed")

    def notes() -> str:
        with traffic.fleet.engine.connect() as connection:
            found = check(connection, known.revisions())
        table = next(one for one in found.tables if one.name == "workflow_execution_runs")
        return "\n".join(table.notes)

    assert (
        "of the newest 10,000 executions, 3 executions have a status that is not known ('paused')"
    ) in notes()
    traffic.fleet.execute("DROP INDEX idx_workflow_runs_created_at")
    assert "paused" not in notes()


def test_a_wave_that_is_counted_anew_forgets_them(traffic: Traffic) -> None:
    traffic.ask("b", 3, status="paused", ago="100 minutes")
    assert traffic.look().unknown == (("paused", 3),)
    with traffic.fleet.engine.begin() as connection:
        count_anew(connection, 1, 1)

    assert traffic.look().unknown == ()


def test_slow_and_costly_are_what_is_over_the_limits(traffic: Traffic) -> None:
    traffic.ask("a", 1, elapsed_ms=30_000, tokens=20_000)
    traffic.ask("a", 1, elapsed_ms=30_001, tokens=20_000)
    traffic.ask("b", 1, elapsed_ms=30_000, tokens=20_001)
    traffic.ask("b", 1, elapsed_ms=None, tokens=None)

    reading = traffic.look()

    assert (counts(reading), counts(reading, "slow"), counts(reading, "costly")) == (
        (0, 4),
        (1, 4),
        (1, 4),
    )
    assert counts(traffic.look(gate_slow_ms=29_999), "slow") == (3, 4)
    assert counts(traffic.look(gate_costly=19_999), "costly") == (3, 4)


def test_a_metric_of_which_the_platform_notes_nothing_is_left_out(traffic: Traffic) -> None:
    traffic.ask("a", 1, elapsed_ms=None, tokens=None)

    assert [one.metric for one in traffic.look().metrics] == ["failed"]


def test_the_first_executions_of_a_bot_count_and_no_more(traffic: Traffic) -> None:
    """Of 3 bots 47 executions each: what came later does not count for the wave."""
    traffic.ask("a", 40, ago="30 minutes")
    traffic.ask("a", 7, ago="20 minutes", status="failed")
    traffic.ask("a", 500, ago="5 minutes", status="failed")
    traffic.ask("b", 1, ago="5 minutes", status="failed")

    reading = traffic.look()

    assert counts(reading) == (8, 48)
    assert metric(reading).bots_failing == 2
    (suspect,) = reading.suspects
    assert suspect.bot_id == "a"
    assert suspect.metrics[0].count == Count(507, 547)


def test_a_bot_that_is_out_no_more_leaves_the_reading(traffic: Traffic) -> None:
    traffic.ask("a", 9, ago="1 hour", status="failed")
    traffic.ask("a", 9, status="failed")
    traffic.ask("b", 3)
    assert counts(traffic.look()) == (18, 21)

    traffic.fleet.execute(
        "UPDATE flowshift.publication_bots SET state = 'quarantined' WHERE bot_id = 'a'"
    )
    reading = traffic.look()

    assert (counts(reading), reading.bots, reading.quarantined) == ((0, 3), 3, 1)
    assert reading.suspects == ()
    assert reading.recent.count == Count(0, 3)


def test_the_last_five_minutes_are_read_by_themselves(traffic: Traffic) -> None:
    traffic.ask("a", 5, status="failed", ago="290 seconds")
    traffic.ask("b", 4, status="failed", ago="10 seconds")
    traffic.ask("c", 4, ago="10 seconds")
    traffic.ask("a", 7, status="failed", ago="310 seconds")

    recent = traffic.look().recent

    assert (recent.count, recent.bots) == (Count(9, 13), 2)


def test_the_control_is_what_others_did_in_the_minutes_in_which_the_wave_failed(
    traffic: Traffic,
) -> None:
    traffic.fleet.execute("UPDATE flowshift.waves SET state = 'passed'")
    traffic.wave(2, "x", "y")
    for ago in ("1 hour", "90 minutes", "4 minutes"):
        traffic.ask("a", 10, ago=ago)
    traffic.ask("b", 3, status="failed", ago="1 hour")
    traffic.ask("x", 1, status="failed", ago="1 hour")
    traffic.ask("y", 1, ago="90 minutes")

    reading = traffic.look(2)

    assert metric(reading).control == Count(3, 13)
    assert metric(reading, "slow").control == Count()


def test_v1_is_the_control_where_nothing_else_is(traffic: Traffic) -> None:
    traffic.ask("a", 1, status="failed", ago="1 hour")
    traffic.ask("b", 1, status="failed", ago="4 minutes")
    for ago in ("1 hour", "4 minutes", "30 minutes"):
        traffic.ask("c", 2, ago=ago, version=None)

    assert metric(traffic.look()).control == Count(0, 4)


def test_how_long_it_took_is_told_by_its_times_where_nothing_else_tells(traffic: Traffic) -> None:
    for seconds in (29, 31, 299, 301):
        (execution_id,) = traffic.ask("a", 1, elapsed_ms=None, ago="10 minutes")
        traffic.fleet.execute(
            "UPDATE workflow_execution_runs SET finished_at = started_at + :s * interval '1 second'"
            " WHERE id = CAST(:id AS uuid)",
            s=seconds,
            id=execution_id,
        )

    reading = traffic.look()

    assert (counts(reading), counts(reading, "slow")) == ((1, 4), (3, 4))


def test_a_platform_without_some_columns_is_read_by_the_others(traffic: Traffic) -> None:
    traffic.ask("a", 2)
    traffic.ask("b", 1, status="failed", error="Cancelled by client")
    traffic.fleet.execute(
        "ALTER TABLE workflow_execution_runs DROP COLUMN elapsed_time, DROP COLUMN total_tokens,"
        " DROP COLUMN error_message, DROP COLUMN finished_at, DROP COLUMN session_id"
    )

    reading = traffic.look()

    assert [one.metric for one in reading.metrics] == ["failed"]
    assert counts(reading) == (1, 3)


@pytest.mark.parametrize(
    "change",
    [
        (
            "ALTER COLUMN created_at TYPE timestamp, ALTER COLUMN started_at TYPE timestamp,"
            " ALTER COLUMN finished_at TYPE timestamp"
        ),
        "ALTER COLUMN elapsed_time TYPE numeric, ALTER COLUMN total_tokens TYPE double precision",
        'ALTER COLUMN bot_id TYPE varchar(80) COLLATE "C"',
        (
            "DROP CONSTRAINT workflow_execution_runs_workflow_version_id_fkey,"
            " ALTER COLUMN workflow_version_id TYPE text"
        ),
        (
            'ALTER COLUMN error_message TYPE varchar COLLATE "POSIX", ALTER COLUMN status DROP DEFAULT,'
            " ALTER COLUMN status TYPE word USING status::word"
        ),
    ],
)
def test_whatever_types_a_platform_has_it_is_read_alike(traffic: Traffic, change: str) -> None:
    traffic.fleet.execute("CREATE TYPE word AS ENUM ('running', 'succeeded', 'failed', 'paused')")
    traffic.ask("a", 2, ago="1 hour", elapsed_ms=31_000)
    traffic.ask("b", 3, status="failed", tokens=20_001)
    traffic.ask("b", 3, status="failed", error="Cancelled by client")
    traffic.ask("b", 1, status="failed", error="CANCELLED BY CLIENT")
    traffic.ask("b", 3, status="running")
    traffic.fleet.execute(f"ALTER TABLE workflow_execution_runs {change}")

    reading = traffic.look()

    assert (counts(reading), counts(reading, "slow"), counts(reading, "costly")) == (
        (4, 6),
        (2, 6),
        (3, 6),
    )


# -- since an alarm --------------------------------------------------------------------------------


def test_since_an_alarm_sick_bots_the_rest_and_accepted_waves_are_counted_apart(
    traffic: Traffic,
) -> None:
    """Not: bots that are back, waves that failed, what came before, and V1 where waves have something."""
    traffic.wave(2, "x", state="accepted")
    traffic.wave(3, "y", state="failed")
    traffic.look()
    traffic.fleet.execute(
        "UPDATE flowshift.gate_looks SET alarmed = jsonb_build_object("
        "'at_s', EXTRACT(epoch FROM now() - interval '2 minutes'), 'bots', jsonb_build_array('a'))"
    )
    traffic.ask("a", 9, status="failed", ago="3 minutes")
    for bot_id, failed in (("a", 1), ("b", 2), ("c", 3), ("x", 4), ("y", 5)):
        traffic.ask(bot_id, failed, status="failed")
        traffic.ask(bot_id, 1)
    traffic.ask("x", 1, status="running", elapsed_ms=None)
    traffic.ask("a", 6, version=None)
    traffic.fleet.execute(
        "UPDATE flowshift.publication_bots SET state = 'quarantined' WHERE bot_id = 'c'"
    )

    later = traffic.look().later

    assert later.sick == {"a": Came(executions=2, failed=1)}
    assert later.others == Came(executions=3, failed=2)
    assert later.control == Came(executions=5, failed=4, running=1)
