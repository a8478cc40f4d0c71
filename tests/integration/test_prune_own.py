"""flowshift's own records: what is old goes, what a later run needs stays."""

from __future__ import annotations

import pytest

from tests.executions import Executions, days
from tests.fleet import Fleet, a_broken_workflow, a_workflow
from worker.core.policy import prune as rules
from worker.errors import UsageError
from worker.progress.expiry import expire_keys, forget_run
from worker.progress.redis import RedisPublisher, events_key, run_key
from worker.steps.prune.prune import Keep

KEEP = Keep(runs_s=days(90), ledger_s=days(60), audit_s=days(365))


@pytest.fixture
def executions(fleet: Fleet) -> Executions:
    return Executions(fleet)


def ended(fleet: Fleet, run_id: int, ago: str) -> None:
    """Make a run one that ended so long ago."""
    fleet.execute(
        "UPDATE flowshift.runs SET finished_at = now() - CAST(:ago AS interval) WHERE run_id = :run",
        ago=ago,
        run=run_id,
    )


def ledger(fleet: Fleet) -> set[tuple[str, int]]:
    return {
        (row.bot_id, row.run_id)
        for row in fleet.rows("SELECT bot_id, run_id FROM flowshift.ledger")
    }


def run_ids(fleet: Fleet) -> list[int]:
    return [row.run_id for row in fleet.rows("SELECT run_id FROM flowshift.runs ORDER BY 1")]


def test_an_old_run_goes_with_its_batches_and_one_that_is_young_or_goes_on_stays(
    executions: Executions,
) -> None:
    fleet = executions.fleet
    fleet.add_many(4)
    for ago in ("91 days", "89 days"):
        ended(fleet, fleet.run(batch_size=2).run_id, ago)
    going_on = fleet.planned().run_id
    fleet.execute("UPDATE flowshift.runs SET created_at = now() - interval '2 years'")
    fleet.execute("INSERT INTO flowshift.budgets (run_id, max_requests) VALUES (1, 9), (2, 9)")
    forgotten: list[int] = []

    told = executions.look(KEEP)
    result = executions.prune(keep=KEEP, forget_run=forgotten.append)

    assert run_ids(fleet) == [2, going_on]
    assert forgotten == [1]
    assert [row.run_id for row in fleet.rows("SELECT run_id FROM flowshift.budgets")] == [2]
    assert [
        row.run_id for row in fleet.rows("SELECT DISTINCT run_id FROM flowshift.batches ORDER BY 1")
    ] == [2, going_on]
    assert (result.gone["own_runs"], result.gone["batches"]) == (1, 2)
    assert told.gone == result.gone


def test_for_each_bot_the_newest_row_with_a_draft_stays_however_old(
    executions: Executions,
) -> None:
    fleet = executions.fleet
    fleet.add("good", a_workflow())
    fleet.add("turns-bad", a_workflow())
    fleet.add("bad", a_broken_workflow())
    first = fleet.run().run_id
    fleet.change("turns-bad", a_broken_workflow())
    second = fleet.run().run_id
    for run_id in (first, second):
        ended(fleet, run_id, "400 days")

    told = executions.look(KEEP)
    result = executions.prune(keep=KEEP)

    assert ledger(fleet) == {("good", second), ("turns-bad", first)}
    assert run_ids(fleet) == []
    assert told.gone == result.gone
    fleet.change("turns-bad", a_workflow("{question}!"))
    third = fleet.run().run_id
    assert fleet.outcomes(third) == {
        "good": "unchanged",
        "turns-bad": "converted",
        "bad": "failed invalid_config",
    }


def test_rows_kept_for_a_draft_go_once_a_later_run_vouches_for_it(executions: Executions) -> None:
    fleet = executions.fleet
    fleet.add("a", a_workflow())
    first = fleet.run().run_id
    ended(fleet, first, "100 days")
    executions.prune(keep=KEEP)
    assert ledger(fleet) == {("a", first)}

    second = fleet.run().run_id
    third = fleet.run().run_id
    ended(fleet, second, "61 days")
    executions.prune(keep=KEEP)

    assert ledger(fleet) == {("a", third)}


def test_the_row_of_the_draft_as_it_is_now_stays_though_a_newer_one_says_otherwise(
    executions: Executions,
) -> None:
    """As when two runs overlap, or a person took an earlier draft back."""
    fleet = executions.fleet
    fleet.add("a", a_workflow())
    first = fleet.run().run_id
    draft = fleet.drafts()["a"]
    fleet.change("a", a_workflow("{question}!"))
    second = fleet.run().run_id
    fleet.set_draft("a", draft)
    for run_id in (first, second):
        ended(fleet, run_id, "100 days")

    executions.prune(keep=KEEP)

    assert ledger(fleet) == {("a", first), ("a", second)}
    assert fleet.outcomes(fleet.run().run_id) == {"a": "converted"}


def test_a_run_whose_ledger_is_pruned_is_not_retried(executions: Executions) -> None:
    fleet = executions.fleet
    fleet.add("bad", a_broken_workflow())
    run_id = fleet.run().run_id
    ended(fleet, run_id, "61 days")
    executions.prune(keep=KEEP)
    assert run_ids(fleet) == [run_id]
    assert ledger(fleet) == set()
    with pytest.raises(UsageError, match="outcomes of run 1 were pruned"):
        fleet.start(retry_of=run_id)


def test_a_run_stays_while_a_retry_of_it_stays_and_goes_with_it(executions: Executions) -> None:
    fleet = executions.fleet
    fleet.add("bad", a_broken_workflow())
    first = fleet.run().run_id
    second = fleet.run(retry_of=first).run_id
    third = fleet.run(retry_of=second).run_id
    for run_id, ago in ((first, "200 days"), (second, "150 days"), (third, "1 day")):
        ended(fleet, run_id, ago)
    told = executions.look(KEEP)
    assert executions.prune(keep=KEEP).gone == told.gone
    assert run_ids(fleet) == [first, second, third]

    ended(fleet, third, "100 days")
    told = executions.look(KEEP)
    assert executions.prune(keep=KEEP).gone == told.gone
    assert run_ids(fleet) == []


def test_a_big_ledger_is_thinned_in_batches_without_losing_a_bot(
    executions: Executions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "FIRST_SIZE", 4)
    monkeypatch.setattr(rules, "MAX_SIZE", 4)
    fleet = executions.fleet
    ids = fleet.add_many(13)
    first, second = fleet.run().run_id, fleet.run().run_id
    for run_id in (first, second):
        ended(fleet, run_id, "61 days")

    result = executions.prune(keep=KEEP)

    assert result.gone == {"ledger": 13}
    assert ledger(fleet) == {(bot_id, second) for bot_id in ids}


def test_old_notifications_go_with_what_channels_got_of_them(executions: Executions) -> None:
    fleet = executions.fleet
    fleet.execute(
        "INSERT INTO flowshift.notifications (kind, level, key, title, page, happened_at)"
        " SELECT 'k', 'info', key, 't', '/', now() - age::interval"
        " FROM (VALUES ('old', '366 days'), ('young', '364 days')) AS v (key, age);"
        "INSERT INTO flowshift.deliveries (notification_id, channel)"
        " SELECT notification_id, 'ops' FROM flowshift.notifications"
    )
    told = executions.look(KEEP)
    assert executions.prune(keep=KEEP).gone == told.gone == {"notifications": 1}
    rows = (
        "SELECT key FROM flowshift.notifications JOIN flowshift.deliveries USING (notification_id)"
    )
    assert [row.key for row in fleet.rows(rows)] == ["young"]


def test_old_lines_of_the_audit_trail_go_to_the_microsecond(executions: Executions) -> None:
    fleet = executions.fleet
    fleet.execute(
        "INSERT INTO flowshift.audit (actor, action, at)"
        " SELECT 'old', 'x', now() - interval '366 days' FROM generate_series(1, 3);"
        "INSERT INTO flowshift.audit (actor, action, at) VALUES"
        " ('young', 'x', now() - interval '364 days')"
    )
    told = executions.look(KEEP)
    assert executions.prune(keep=KEEP).gone == told.gone == {"audit": 3}
    actors = {row.actor for row in fleet.rows("SELECT actor FROM flowshift.audit")}
    assert actors == {"young", "test"}


def test_old_records_of_prunes_go_too(executions: Executions) -> None:
    executions.prune()
    executions.fleet.execute(
        "UPDATE flowshift.prunes SET finished_at = now() - interval '366 days'"
    )
    executions.prune(keep=KEEP)
    assert len(executions.fleet.rows("SELECT FROM flowshift.prunes")) == 1


# -- Redis -----------------------------------------------------------------------------------------


def test_a_run_that_is_gone_leaves_no_key(fleet: Fleet, namespace: str) -> None:
    fleet.add("a", a_workflow())
    client = fleet.current.redis
    progress = fleet.run()
    RedisPublisher(client, namespace, 60).publish(progress)
    assert client.exists(run_key(namespace, progress.run_id))
    forget_run(client, namespace, progress.run_id)
    assert not client.exists(run_key(namespace, progress.run_id))


def test_a_hash_whose_end_was_never_published_expires_and_one_that_goes_on_does_not(
    fleet: Fleet, namespace: str
) -> None:
    client = fleet.current.redis
    for number in (1, 2):
        client.hset(run_key(namespace, number), "state", "running")
    client.set(f"{namespace}:run:other", "not ours")
    expire_keys(client, namespace, keep_s=100, is_current=lambda run_id: run_id == 2)
    assert 0 < int(client.ttl(run_key(namespace, 1))) <= 100
    assert client.ttl(run_key(namespace, 2)) == -1
    assert client.ttl(f"{namespace}:run:other") == -1


def test_events_beyond_their_age_are_trimmed(fleet: Fleet, namespace: str) -> None:
    client = fleet.current.redis
    for number in range(500):
        client.xadd(events_key(namespace), {"n": number}, id=f"{1_000 + number}-0")
    expire_keys(client, namespace, keep_s=100, is_current=lambda _: True, now=lambda: 101.4)
    assert client.xlen(events_key(namespace)) < 500
    expire_keys(client, namespace, keep_s=100, is_current=lambda _: True, now=lambda: 99.0)


def test_redis_away_stops_nothing(fleet: Fleet, namespace: str) -> None:
    import redis  # noqa: PLC0415

    away = redis.Redis(host="127.0.0.1", port=1, socket_connect_timeout=0.1)
    expire_keys(away, namespace, keep_s=1, is_current=lambda _: True)
    forget_run(away, namespace, 1)
