"""What publications leave: proofs of bots that are gone, what the gate read; the last word stays."""

from __future__ import annotations

import pytest

from tests.executions import Executions, days
from tests.fleet import Fleet
from tests.publishing import Publishing
from tests.roles import Role
from worker.steps.prune.prune import Keep

KEEP = Keep(runs_s=days(90), ledger_s=days(60), audit_s=days(365))


@pytest.fixture
def executions(fleet: Fleet) -> Executions:
    return Executions(fleet)


def proofs(fleet: Fleet) -> list[str]:
    return [row.bot_id for row in fleet.rows("SELECT bot_id FROM flowshift.proofs ORDER BY 1")]


def proven(fleet: Fleet, *ages: str) -> None:
    """Bots with proofs of so many days."""
    for number, age in enumerate(ages):
        fleet.add(f"bot-{number}")
        fleet.execute(
            "INSERT INTO flowshift.proofs (bot_id, content_hash, workflow_hash, run_id, proven_at)"
            " VALUES (:bot, 1, 1, 1, now() - CAST(:age AS interval))",
            bot=f"bot-{number}",
            age=age,
        )


def test_only_old_proofs_of_bots_that_are_gone_go(executions: Executions) -> None:
    fleet = executions.fleet
    proven(fleet, "61 days", "61 days", "59 days", "400 days")
    fleet.execute("DELETE FROM bots WHERE bot_id IN ('bot-1', 'bot-2')")

    told = executions.look(KEEP)
    result = executions.prune(keep=KEEP)

    assert proofs(fleet) == ["bot-0", "bot-2", "bot-3"]
    assert (result.gone["proofs"], told.gone["proofs"]) == (1, 1)
    assert "proofs" not in executions.prune(keep=KEEP).gone


def test_proofs_are_looked_at_page_by_page_to_the_last_one(executions: Executions) -> None:
    fleet = executions.fleet
    fleet.execute(
        "INSERT INTO flowshift.proofs (bot_id, content_hash, workflow_hash, run_id, proven_at)"
        " SELECT 'gone-' || n, 1, 1, 1, now() - interval '1 year' FROM generate_series(1, 5000) n"
    )
    fleet.add("zzz")
    proven(fleet, "1 year")
    result = executions.prune(keep=KEEP)
    assert proofs(fleet) == ["bot-0"]
    assert result.gone["proofs"] == 5_000
    assert result.batches > 5


def readings(fleet: Fleet) -> list[tuple[int, int, str]]:
    rows = fleet.rows(
        "SELECT publication_id, wave, sentence FROM flowshift.gate_readings ORDER BY reading_id"
    )
    return [tuple(row) for row in rows]


def a_publication(fleet: Fleet, number: int, ended: str | None) -> None:
    """A publication with two waves, three readings of the first and one of the second, and counts."""
    state = (
        "'publishing', NULL" if ended is None else "'completed', now() - CAST(:ended AS interval)"
    )
    fleet.execute(
        "INSERT INTO flowshift.publications (publication_id, request_id, requested_by, state, finished_at)"
        f" VALUES (:id, 'r' || :id, 'me', {state})",
        id=number,
        **({} if ended is None else {"ended": ended}),
    )
    for wave, sentence in ((1, "a"), (1, "b"), (2, "c"), (1, "d")):
        fleet.execute(
            "INSERT INTO flowshift.gate_readings"
            " (publication_id, wave, read_at, outcome, sentence, reading)"
            " VALUES (:id, :wave, now() - interval '2 years', 'watching', :sentence, '{}')",
            id=number,
            wave=wave,
            sentence=sentence,
        )
    for table, more, values in (
        ("gate_bots", "bot_id", "'b'"),
        ("gate_bad_minutes", "minute, bot_id", "now(), 'b'"),
        ("gate_control_minutes", "minute, who", "now(), 'v1'"),
    ):
        fleet.execute(
            f"INSERT INTO flowshift.{table} (publication_id, wave, {more})"
            f" VALUES (:id, 1, {values}), (:id, 2, {values})",
            id=number,
        )


def counted(fleet: Fleet) -> set[int]:
    tables = ("gate_bots", "gate_bad_minutes", "gate_control_minutes")
    query = " UNION ".join(f"SELECT publication_id FROM flowshift.{table}" for table in tables)
    return {row.publication_id for row in fleet.rows(query)}


def test_of_a_publication_that_is_long_over_each_waves_last_reading_stays(
    executions: Executions,
) -> None:
    fleet = executions.fleet
    a_publication(fleet, 1, "91 days")
    a_publication(fleet, 2, "89 days")
    a_publication(fleet, 3, None)

    told = executions.look(KEEP)
    result = executions.prune(keep=KEEP)

    kept = readings(fleet)
    assert [one for one in kept if one[0] == 1] == [(1, 2, "c"), (1, 1, "d")]
    assert len([one for one in kept if one[0] == 2]) == 4
    assert len([one for one in kept if one[0] == 3]) == 4
    assert counted(fleet) == {2, 3}
    assert (result.gone["gate_readings"], result.gone["gate_counts"]) == (2, 6)
    assert told.gone == result.gone
    assert executions.prune(keep=KEEP).gone == {}


def test_a_worker_may_do_it(executions: Executions, role: Role) -> None:
    fleet = executions.fleet
    a_publication(fleet, 1, "91 days")
    proven(fleet, "91 days")
    fleet.execute("DELETE FROM bots")
    assert executions.prune_as(role.name).gone == {
        "proofs": 1,
        "gate_readings": 2,
        "gate_counts": 6,
    }


def test_what_is_live_is_still_known_afterwards(fleet: Fleet, executions: Executions) -> None:
    fleet.add_many(1)
    fleet.run(validate="sample:1")
    publishing = Publishing(fleet)
    publishing.plan()
    publishing.publish()
    fleet.execute("UPDATE flowshift.publications SET state = 'stopped', finished_at = '2020-01-01'")
    fleet.execute("UPDATE flowshift.proofs SET proven_at = '2020-01-01'")
    executions.prune(keep=KEEP)
    assert (publishing.state("bot-00000"), proofs(fleet)) == ("published", ["bot-00000"])
