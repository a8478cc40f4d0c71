"""`status` on the whole fleet: what is live, exactly while it is small, from a sample once it is big."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from tests.fleet import Fleet, a_broken_workflow
from tests.integration.conftest import Run
from tests.publishing import Publishing
from worker.core.policy.estimate import Sample, Size, sample_of
from worker.db import fleet as executions
from worker.db import outcomes, overview
from worker.db.overview import Overview

BOT = "bot-00000"


@pytest.fixture
def publishing(fleet: Fleet) -> Publishing:
    """Seven bots with proven drafts, in one wave of a publication that is publishing."""
    fleet.add_many(7)
    fleet.run(validate="sample:1")
    made = Publishing(fleet)
    made.plan()
    fleet.execute(
        "INSERT INTO flowshift.waves (publication_id, number, label, bot_count, state)"
        " VALUES (1, 1, 'all', 7, 'publishing')"
    )
    return made


def counted(fleet: Fleet) -> Overview:
    with fleet.engine.connect() as connection:
        return overview.overview(connection)


def a_mixed_fleet(publishing: Publishing) -> None:
    """Of seven five were published: one replaced by a person's, one rolled back, one quarantined."""
    fleet = publishing.fleet
    publishing.publish(*(f"bot-{n:05d}" for n in range(5)))
    fleet.add_version("bot-00001", "v1.1", "published")  # null: the platform takes it
    fleet.execute(
        "UPDATE flowshift.publication_bots SET state = 'rolled_back' WHERE bot_id = 'bot-00002'"
    )
    fleet.execute("UPDATE bots SET use_workflow_v2 = false WHERE bot_id = 'bot-00002'")
    fleet.execute(
        "UPDATE flowshift.publication_bots SET state = 'quarantined' WHERE bot_id = 'bot-00003'"
    )
    fleet.execute("UPDATE bots SET use_workflow_v2 = false WHERE bot_id = 'bot-00003'")
    fleet.execute("UPDATE bots SET use_workflow_v2 = true WHERE bot_id = 'bot-00005'")
    fleet.execute("DELETE FROM flowshift.proofs WHERE bot_id = 'bot-00006'")


def test_what_is_live_is_counted(publishing: Publishing) -> None:
    a_mixed_fleet(publishing)
    assert counted(publishing.fleet) == Overview(
        total_bots=7,
        v1_bots=3,
        v2_bots=4,
        v2_unpublished=1,
        migrated_bots=7,
        drafts=2,
        proven=6,
        published_by_flowshift=2,
        published_by_person=1,
        rolled_back=1,
        quarantined=1,
        finished=0,
        published_twice=1,
        published_twice_bots=("bot-00001",),
        without_id=0,
        is_estimate=False,
    )


def test_a_bot_that_was_published_again_does_not_count_as_taken_back(
    publishing: Publishing,
) -> None:
    a_mixed_fleet(publishing)
    publishing.plan("bot-00002", publication_id=2)
    publishing.fleet.execute(
        "UPDATE flowshift.publication_bots n SET state = 'published', version_id = o.version_id,"
        " version = o.version, content_hash = o.content_hash, workflow_hash = o.workflow_hash,"
        " published_at = o.published_at FROM flowshift.publication_bots o"
        " WHERE n.publication_id = 2 AND o.publication_id = 1 AND o.bot_id = n.bot_id"
    )
    found = counted(publishing.fleet)
    assert (found.rolled_back, found.quarantined) == (0, 1)


def test_a_sample_of_everything_says_what_a_count_says(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_mixed_fleet(publishing)
    publishing.fleet.execute("ANALYZE bots")
    # A person's version in the place of ours is not yet in our records: there it is ours.
    publishing.fleet.execute(
        "UPDATE flowshift.publication_bots SET state = 'superseded' WHERE bot_id = 'bot-00001'"
    )
    exact = counted(publishing.fleet)
    monkeypatch.setattr(overview, "sample_of", lambda _: Sample(100.0, 1))
    sampled = counted(publishing.fleet)
    assert sampled.is_estimate
    assert {**as_dict(sampled), "is_estimate": False} == as_dict(exact)


def as_dict(found: Overview) -> dict[str, Any]:
    return {name: getattr(found, name) for name in found.__struct_fields__}


def test_a_sample_of_a_part_is_scaled_to_the_fleet(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(4_000, workflow={"nodes": [], "pad": "x" * 300})
    fleet.execute(
        "UPDATE bots SET use_workflow_v2 = true WHERE right(bot_id, 1) IN ('1', '2', '3')"
    )
    fleet.execute("ANALYZE bots")
    monkeypatch.setattr(overview, "sample_of", lambda _: Sample(50.0, 2))
    found = counted(fleet)
    assert 3_900 <= found.total_bots <= 4_100
    assert 900 <= found.v2_unpublished <= 1_500
    assert found.v1_bots == pytest.approx(found.total_bots - found.v2_bots, abs=10)
    assert found == counted(fleet)  # the same pages each time: numbers do not jump


def test_an_estimate_does_not_grow_with_the_pages_that_updates_add(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.execute("ALTER TABLE bots SET (autovacuum_enabled = false)")
    fleet.add_many(2_000, workflow={"nodes": [], "pad": "x" * 900})
    fleet.execute("ANALYZE bots")
    monkeypatch.setattr(overview, "sample_of", lambda _: Sample(50.0, 1))
    assert counted(fleet).total_bots == 2_000
    for _ in range(2):
        fleet.execute("UPDATE bots SET updated_at = now()")
    assert 1_700 <= counted(fleet).total_bots <= 2_300
    fleet.execute("DELETE FROM bots WHERE right(bot_id, 1) IN ('1', '3', '5', '7', '9')")
    assert 850 <= counted(fleet).total_bots <= 1_150


def test_an_estimate_grows_with_rows_that_were_added_since_the_server_looked(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.execute("ALTER TABLE bots SET (autovacuum_enabled = false)")
    fleet.add_many(1_000, workflow={"nodes": [], "pad": "x" * 900})
    fleet.execute("ANALYZE bots")
    fleet.execute(
        "INSERT INTO bots (bot_id, name, workflow) SELECT 'more-' || bot_id, name, workflow FROM bots"
    )
    monkeypatch.setattr(overview, "sample_of", lambda _: Sample(50.0, 1))
    assert 1_700 <= counted(fleet).total_bots <= 2_300


def test_an_estimate_is_never_below_what_is_known_to_be_live(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(publishing.publish().values()) == {"published"}
    publishing.fleet.execute("ANALYZE bots")
    monkeypatch.setattr(overview, "sample_of", lambda _: Sample(100.0, 1_000_000))
    found = counted(publishing.fleet)
    assert found.published_by_flowshift > 0
    assert found.total_bots == found.published_by_flowshift


@pytest.mark.parametrize(
    ("size", "is_sampled"),
    [
        (Size(10, 200), False),
        (Size(16_384, 100_000), False),
        (Size(16_385, 100_000), True),
        (Size(10, 100_001), True),
        (Size(20_000, -1), True),
        (Size(0, -1), False),
    ],
)
def test_only_a_big_table_is_sampled(size: Size, is_sampled: bool) -> None:
    sample = sample_of(size)
    assert (sample is not None) == is_sampled
    assert sample is None or (0 < sample.percent <= 100 and sample.one_in >= 1)


def test_the_sampled_statement_reads_no_table_whole(publishing: Publishing) -> None:
    with publishing.fleet.engine.connect() as connection:
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(
            connection.execute(
                sa.text(f"EXPLAIN {overview._statement(Sample(1.0, 2))}"),
                {"percent": 1.0, "one_in": 2},
            ).scalars()
        )
    assert "Sample Scan on bots" in plan
    assert "Hash" not in plan  # which would read the other side whole
    assert "Seq Scan" not in plan


# -- executions and failures -------------------------------------------------------------------------


def test_only_the_newest_executions_are_added_up_and_since_when_is_said(fleet: Fleet) -> None:
    fleet.add_many(1)
    fleet.execute(
        "INSERT INTO workflow_execution_runs (id, bot_id, graph_snapshot, status, elapsed_time, created_at)"
        " SELECT gen_random_uuid(), 'bot-00000', '{}', CASE WHEN n < 3 THEN 'failed' ELSE 'succeeded' END,"
        " 10, now() - n * interval '1 minute' FROM generate_series(1, 9) n"
    )
    with fleet.engine.connect() as connection:
        some, whole = (executions.executed(connection, most=most) for most in (4, 10))
    assert (some.all.count, some.all.success_rate) == (4, 0.5)
    assert (whole.all.count, whole.since) == (9, None)
    newest = fleet.rows("SELECT created_at FROM workflow_execution_runs ORDER BY 1 DESC LIMIT 4")
    assert some.since == newest[-1].created_at


def test_many_failures_are_estimated_from_a_share_of_them(fleet: Fleet) -> None:
    fleet.add_many(400, workflow=a_broken_workflow())
    fleet.run()
    with fleet.engine.connect() as connection:
        exact, estimated = (outcomes.counts(connection, most=most) for most in (400, 100))
    assert (exact.by_code, exact.is_estimate) == ({"invalid_config": 400}, False)
    assert estimated.is_estimate
    assert 250 <= estimated.by_code["invalid_config"] <= 550


# -- the command -------------------------------------------------------------------------------------


def test_status_says_what_is_live_and_which_publications_go_on(
    publishing: Publishing, flowshift: Run
) -> None:
    assert "live:" not in flowshift("status")[1]
    a_mixed_fleet(publishing)
    publishing.fleet.execute(
        "UPDATE flowshift.waves SET state = 'watching', published = 5, quarantined = 1, rolled_back = 1,"
        " watched_from = now(), sentence = 'all is well so far'"
    )
    publishing.fleet.execute(
        "UPDATE flowshift.publications SET state = 'held', held_from = 'watching',"
        " held_because = 'inconclusive', state_reason = '고객 불만', bot_count = 7,"
        " moved_at = now() - interval '2 hours'"
    )
    publishing.fleet.execute(
        "UPDATE flowshift.publications SET looked_at = now() - interval '40 seconds'"
    )
    said = " ".join(flowshift("status")[1].split())
    assert (
        "live: 3 bots on V1, 2 on a version of flowshift, 1 on one of a person, 1 rolled back,"
        " 1 quarantined, 6 proven"
    ) in said
    assert "1 bot has several published versions ('bot-00001'): the platform serves" in said
    assert "publication 1: held (inconclusive) for 2 h 0 min: 고객 불만" in said
    assert (
        "wave 1 of 1 (all) watching, 5 of 7 bots published, 2 taken back; the gate looked 40"
        in said
    )

    told = json.loads(flowshift("status", "--json")[1])
    assert told["fleet"]["published_by_flowshift"] == 2
    [one] = told["publications"]
    assert (one["state"], one["held_because"], one["wave"], one["taken_back"]) == (
        "held",
        "inconclusive",
        1,
        2,
    )
    publishing.fleet.execute(
        "UPDATE flowshift.publications SET state = 'stopped', held_from = NULL, held_because = NULL,"
        " finished_at = now()"
    )
    assert json.loads(flowshift("status", "--json")[1])["publications"] == []
