"""What a wave is held against: V1's executions where the platform keeps them, and earlier waves."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.fleet import Fleet
from tests.traffic import Traffic, counts, metric
from worker.core.publication.baseline import Count, wilson_upper
from worker.core.publication.evidence import Reading
from worker.core.publication.gate import judge
from worker.core.publication.visits import at_least
from worker.db.publication import traffic_v1


@pytest.fixture
def traffic(fleet: Fleet) -> Traffic:
    """A wave of three bots, out for two hours."""
    traffic = Traffic(fleet)
    traffic.wave(1, "a", "b", "c")
    return traffic


def p0(reading: Reading, name: str = "failed") -> tuple[float, str]:
    one = metric(reading, name)
    return round(one.p0, 6), one.source


def test_by_default_two_percent_fail(traffic: Traffic) -> None:
    traffic.ask("a", 99, version=None, status="failed", ago="3 hours")

    assert p0(traffic.look()) == (0.02, "default")
    assert p0(traffic.look(), "slow") == (0.05, "default")


def test_v1_of_the_waves_own_bots_says_what_is_normal(traffic: Traffic) -> None:
    traffic.fleet.execute("INSERT INTO bots (bot_id, name) VALUES ('other', 'O')")
    traffic.ask("a", 95, version=None, ago="3 hours")
    traffic.ask("b", 5, version=None, status="failed", ago="26 hours")
    traffic.ask("b", 50, version=None, status="failed", error="Cancelled by client", ago="3 hours")
    traffic.ask("b", 50, version=None, status="failed", session="flowshift:test", ago="3 hours")
    traffic.ask("other", 50, version=None, status="failed", ago="3 hours")
    traffic.ask("c", 50, version=None, status="failed", ago="170 hours 1 minute")
    traffic.ask("c", 50, version=None, status="failed", ago="1 hour")

    assert p0(traffic.look()) == (round(wilson_upper(Count(5, 100)) + 0.01, 6), "v1")


def test_what_is_normal_is_found_once(traffic: Traffic) -> None:
    assert p0(traffic.look()) == (0.02, "default")
    traffic.ask("a", 200, version=None, status="failed", ago="3 hours")

    assert p0(traffic.look()) == (0.02, "default")


def test_v1_is_looked_for_no_further_back_than_set(traffic: Traffic) -> None:
    traffic.ask("a", 200, version=None, ago="3 hours")

    assert p0(traffic.look(gate_baseline_h=0))[1] == "default"


def test_a_bot_is_slow_by_its_own_v1(traffic: Traffic) -> None:
    """95 % of a's executions took V1 at most 950 ms; nobody knows of b."""
    for n in range(1, 21):
        traffic.ask("a", 5, version=None, ago="3 hours", elapsed_ms=50 * n, tokens=10 * n)
    for bot_id in ("a", "b"):
        traffic.ask(bot_id, 1, elapsed_ms=1_450, tokens=237)
        traffic.ask(bot_id, 2, elapsed_ms=1_451, tokens=238)
        traffic.ask(bot_id, 1, elapsed_ms=30_001, tokens=20_001)

    reading = traffic.look()

    assert (counts(reading, "slow"), counts(reading, "costly")) == ((4, 8), (4, 8))
    assert p0(reading, "slow") == (round(wilson_upper(Count(0, 100)) + 0.01, 6), "v1")


def test_the_waves_before_say_what_is_normal(traffic: Traffic) -> None:
    traffic.ask("a", 1_000, ago="1 hour")
    traffic.ask("b", 100, ago="1 hour", status="failed")
    traffic.ask("c", 100, ago="2 minutes", status="failed")
    traffic.look()
    traffic.fleet.execute(
        "UPDATE flowshift.publication_bots SET state = 'quarantined' WHERE bot_id = 'b'"
    )
    traffic.fleet.execute("UPDATE flowshift.waves SET state = 'passed'")
    traffic.wave(2, "x")

    assert p0(traffic.look(2)) == (round(wilson_upper(Count(0, 1_000)) + 0.01, 6), "waves")


def test_what_takes_too_long_to_read_is_read_for_fewer_hours(
    traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A week of V1 cannot be read in the time that a statement may take; a day can."""
    traffic.ask("a", 100, version=None, ago="3 hours")
    traffic.ask("a", 900, version=None, status="failed", ago="30 hours")
    real = traffic_v1.find

    def slow(connection: sa.Connection, *given: object, hours: int, **more: object) -> object:
        if hours > 24:
            connection.execute(sa.text("SELECT pg_sleep(60)"))
        return real(connection, *given, hours=hours, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(traffic_v1, "MOST_MS", 300)
    monkeypatch.setattr(traffic_v1, "find", slow)

    assert p0(traffic.look()) == (round(wilson_upper(Count(0, 100)) + 0.01, 6), "v1")
    (row,) = traffic.fleet.rows("SELECT normal ->> 'hours' AS hours FROM flowshift.gate_looks")
    assert row.hours == "24"


# -- silence ---------------------------------------------------------------------------------------


AT_ONCE = {"gate_confirm_s": 0}


def visitors(traffic: Traffic, bot_id: str, count: int, ago: str, **more: object) -> None:
    for n in range(count):
        traffic.ask(bot_id, 2, ago=ago, session=f"visitor {n}", **{"version": None, **more})  # type: ignore[arg-type]


def test_a_bot_to_which_nobody_comes_any_more_is_suspect(traffic: Traffic) -> None:
    """A week ago, in these two hours, 20 visitors came to a and to b, and 40 at other times."""
    for bot_id in ("a", "b"):
        visitors(traffic, bot_id, 20, "169 hours")
        visitors(traffic, bot_id, 40, "50 hours")
        visitors(traffic, bot_id, 1, "3 hours")
    traffic.ask("b", 1)

    reading = traffic.look(**AT_ONCE)

    (silent,) = reading.suspects
    assert (silent.bot_id, silent.seen) == ("a", 0)
    assert 7 <= silent.expected < 20
    assert reading.traffic.seen == 1
    assert judge(reading).quarantined == ("a",)


def test_a_wave_to_which_nobody_comes_fails(traffic: Traffic) -> None:
    for bot_id in ("a", "b", "c"):
        visitors(traffic, bot_id, 6, "169 hours")
        visitors(traffic, bot_id, 1, "3 hours")

    reading = traffic.look(**AT_ONCE)
    verdict = judge(reading)

    assert 11 < reading.traffic.expected < 18
    assert verdict.alarm is not None
    assert (verdict.outcome, verdict.alarm.kind) == ("failed", "silence")


def test_executions_that_count_as_nothing_break_the_silence(traffic: Traffic) -> None:
    visitors(traffic, "a", 30, "169 hours")
    visitors(traffic, "a", 1, "3 hours")
    traffic.ask("a", 1, status="failed", error="Cancelled by client", ago="1 hour")

    reading = traffic.look(**AT_ONCE)

    assert reading.suspects == ()
    assert reading.traffic.seen == 1


def test_one_visitor_with_many_questions_is_one(traffic: Traffic) -> None:
    traffic.ask("a", 90, version=None, ago="169 hours")
    visitors(traffic, "a", 1, "3 hours")

    reading = traffic.look(**AT_ONCE)

    assert (reading.suspects, reading.traffic.expected) == ((), 0.0)


def test_of_what_came_before_less_than_a_day_nothing_is_expected(traffic: Traffic) -> None:
    visitors(traffic, "a", 90, "3 hours")

    assert traffic.look(gate_baseline_h=23).traffic.expected == 0.0


def test_the_version_before_says_how_many_come(traffic: Traffic) -> None:
    traffic.fleet.add_version("a", "v0.9", "archived")
    (row,) = traffic.fleet.rows("SELECT id FROM bot_workflow_versions WHERE version = 'v0.9'")
    traffic.fleet.execute(
        "UPDATE flowshift.publication_bots SET previous_id = :id WHERE bot_id = 'a'", id=row.id
    )
    visitors(traffic, "a", 30, "169 hours", version=str(row.id))
    visitors(traffic, "a", 1, "3 hours", version=str(row.id), status="failed")

    reading = traffic.look(**AT_ONCE)

    assert [one.bot_id for one in reading.suspects] == ["a"]
    assert p0(reading) == (0.02, "default")


def test_where_the_control_is_silent_too_it_is_an_outage(traffic: Traffic) -> None:
    """Wave 1 had 60 visitors in these hours of the day before, and wave 2 is as silent as it is now."""
    traffic.fleet.execute("UPDATE flowshift.waves SET state = 'passed'")
    traffic.fleet.execute(
        "UPDATE flowshift.publication_bots SET published_at = now() - interval '3 days'"
    )
    visitors(traffic, "b", 60, "25 hours", version="its own")
    traffic.wave(2, "x")
    visitors(traffic, "x", 30, "169 hours")
    visitors(traffic, "x", 1, "3 hours")

    reading = traffic.look(2, **AT_ONCE)
    assert (judge(reading).outcome, reading.control_traffic.seen) == ("disturbed", 0)

    traffic.ask("b", 1, ago="1 minute")
    assert judge(traffic.look(2, **AT_ONCE)).outcome == "failed"


def test_the_control_is_expected_as_in_the_same_hours_of_the_day_before(traffic: Traffic) -> None:
    """In the two hours for which wave 2 is out nobody came yesterday: its silence is no outage."""
    traffic.fleet.execute("UPDATE flowshift.waves SET state = 'passed'")
    traffic.fleet.execute(
        "UPDATE flowshift.publication_bots SET published_at = now() - interval '3 days'"
    )
    visitors(traffic, "b", 60, "5 hours", version="its own")
    visitors(traffic, "b", 5, "25 hours 30 minutes", version="its own")
    traffic.wave(2, "x")
    visitors(traffic, "x", 30, "169 hours")
    visitors(traffic, "x", 1, "3 hours")

    reading = traffic.look(2, **AT_ONCE)

    assert reading.control_traffic.expected == at_least(5)
    assert judge(reading).outcome == "failed"


def test_a_bot_is_expected_to_be_asked_only_since_it_is_out(traffic: Traffic) -> None:
    traffic.bot(1, "late", age="10 minutes")
    visitors(traffic, "late", 30, "168 hours 30 minutes")
    visitors(traffic, "late", 1, "3 hours")

    assert traffic.look(**AT_ONCE).suspects == ()


def test_visitors_of_another_version_than_the_one_before_say_nothing(traffic: Traffic) -> None:
    traffic.fleet.add_version("a", "v0.8", "archived")
    (row,) = traffic.fleet.rows("SELECT id FROM bot_workflow_versions WHERE version = 'v0.8'")
    visitors(traffic, "a", 30, "169 hours", version=str(row.id))
    visitors(traffic, "a", 1, "3 hours", version=None)

    assert traffic.look(**AT_ONCE).suspects == ()


def test_executions_of_the_version_before_do_not_say_what_is_normal(traffic: Traffic) -> None:
    traffic.fleet.add_version("a", "v0.9", "archived")
    (row,) = traffic.fleet.rows("SELECT id FROM bot_workflow_versions WHERE version = 'v0.9'")
    traffic.fleet.execute(
        "UPDATE flowshift.publication_bots SET previous_id = :id WHERE bot_id = 'a'", id=row.id
    )
    traffic.ask("a", 120, version=str(row.id), status="failed", ago="3 hours")

    assert p0(traffic.look()) == (0.02, "default")


def test_how_long_v1_took_until_it_failed_says_nothing(traffic: Traffic) -> None:
    traffic.ask("a", 20, version=None, ago="3 hours", elapsed_ms=900)
    traffic.ask("a", 20, version=None, ago="3 hours", elapsed_ms=60_000, status="failed")
    traffic.ask("a", 1, elapsed_ms=1_401)

    assert counts(traffic.look(), "slow") == (1, 1)


def test_v1_of_the_waves_own_bots_is_no_control(traffic: Traffic) -> None:
    visitors(traffic, "a", 60, "25 hours")

    assert traffic.look().control_traffic.expected == 0


@pytest.mark.parametrize("state", ["failed", "rolled_back"])
def test_a_wave_before_that_did_not_pass_does_not_say_what_is_normal(
    traffic: Traffic, state: str
) -> None:
    traffic.ask("a", 1_000, ago="1 hour")
    traffic.look()
    traffic.fleet.execute(f"UPDATE flowshift.waves SET state = '{state}'")
    traffic.wave(2, "x")

    assert p0(traffic.look(2)) == (0.02, "default")
