"""The tables of publications: they hold every legal state, and refuse what cannot be."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa

from migrations import upgrade as schema
from tests.integration.test_migrations import an_engine, rows, run
from worker.core.publication.states import (
    BOT_STATES,
    HELD_BECAUSE,
    OVER,
    PUBLICATION_STATES,
    WAVE_STATES,
)
from worker.errors import UsageError

WENT_OUT = (
    "version_id = gen_random_uuid(), version = 'v1.0', content_hash = 1, workflow_hash = 2,"
    " published_at = now()"
)


@pytest.fixture
def engine(database: str) -> Iterator[sa.Engine]:
    """A database with a publication of one wave and one bot."""
    with an_engine(database) as engine:
        run(
            engine,
            "INSERT INTO flowshift.publications (publication_id, request_id, requested_by)"
            " VALUES (1, 'r', 'me')",
        )
        run(
            engine,
            "INSERT INTO flowshift.waves (publication_id, number, label, bot_count)"
            " VALUES (1, 1, '1', 1)",
        )
        run(
            engine,
            "INSERT INTO flowshift.publication_bots (bot_id, publication_id, wave)"
            " VALUES ('b', 1, 1)",
        )
        yield engine


def test_every_state_of_a_publication_fits_with_what_belongs_to_it(engine: sa.Engine) -> None:
    for state in PUBLICATION_STATES:
        for because in HELD_BECAUSE if state == "held" else (None,):
            run(
                engine,
                "UPDATE flowshift.publications SET state = :state, held_because = :because,"
                " held_from = :held_from, finished_at = CASE WHEN :is_over THEN now() END",
                state=state,
                because=because,
                held_from="watching" if state == "held" else None,
                is_over=state in OVER,
            )


def test_every_state_of_a_wave_fits_with_what_belongs_to_it(engine: sa.Engine) -> None:
    for state in WAVE_STATES:
        accepted = state == "accepted"
        run(
            engine,
            "UPDATE flowshift.waves SET state = :state, watched_from = now(),"
            " accepted_by = :who, accepted_reason = :why",
            state=state,
            who="me" if accepted else None,
            why="enough" if accepted else None,
        )


def test_every_state_of_a_bot_fits_with_what_belongs_to_it(engine: sa.Engine) -> None:
    for state in BOT_STATES:
        code = "'busy'" if state in {"skipped", "failed"} else "NULL"
        out = "" if state in {"pending", "skipped", "failed"} else f", {WENT_OUT}"
        run(engine, f"UPDATE flowshift.publication_bots SET state = '{state}', code = {code}{out}")
        run(
            engine,
            "UPDATE flowshift.publication_bots SET state = 'pending', code = NULL, version_id = NULL,"
            " version = NULL, content_hash = NULL, workflow_hash = NULL, published_at = NULL",
        )


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE flowshift.publications SET state = 'running'",
        "UPDATE flowshift.publications SET state = 'completed'",
        "UPDATE flowshift.publications SET finished_at = now()",
        "UPDATE flowshift.publications SET state = 'held'",
        "UPDATE flowshift.publications SET state = 'held', held_from = 'planned'",
        (
            "UPDATE flowshift.publications SET state = 'held', held_from = 'completed',"
            " held_because = 'person'"
        ),
        (
            "UPDATE flowshift.publications SET state = 'held', held_from = 'planned',"
            " held_because = 'rain'"
        ),
        "UPDATE flowshift.publications SET held_because = 'person'",
        "UPDATE flowshift.publications SET gate = 'open'",
        "UPDATE flowshift.waves SET state = 'held'",
        "UPDATE flowshift.waves SET state = 'passed'",
        "UPDATE flowshift.waves SET state = 'accepted', watched_from = now()",
        "UPDATE flowshift.waves SET accepted_by = 'me'",
        "UPDATE flowshift.waves SET number = 0",
        "UPDATE flowshift.waves SET bot_count = 0",
        "UPDATE flowshift.publication_bots SET state = 'live'",
        "UPDATE flowshift.publication_bots SET state = 'published'",
        "UPDATE flowshift.publication_bots SET state = 'skipped'",
        "UPDATE flowshift.publication_bots SET code = 'busy'",
        f"UPDATE flowshift.publication_bots SET {WENT_OUT}",
        f"UPDATE flowshift.publication_bots SET state = 'rolled_back', {WENT_OUT}, version = NULL",
        (
            "INSERT INTO flowshift.gate_readings (publication_id, wave, outcome, sentence, reading)"
            " VALUES (1, 1, 'well', '', '{}')"
        ),
    ],
)
def test_what_cannot_be_is_refused(engine: sa.Engine, sql: str) -> None:
    if sql.endswith("version = NULL"):
        sql = sql.replace("version = 'v1.0', ", "")

    with pytest.raises(sa.exc.IntegrityError) as caught:
        run(engine, sql)

    assert isinstance(caught.value.orig, psycopg.errors.CheckViolation)


def test_the_way_down_stops_while_bots_answer_with_a_published_version(engine: sa.Engine) -> None:
    run(engine, f"UPDATE flowshift.publication_bots SET state = 'published', {WENT_OUT}")

    with pytest.raises(UsageError, match="1 bot answers with a published version"):
        schema.downgrade(engine, "0010")
    assert rows(engine, "SELECT count(*) FROM flowshift.publication_bots") == [(1,)]

    run(engine, "UPDATE flowshift.publication_bots SET state = 'rolled_back'")
    schema.downgrade(engine, "0010")
    assert rows(engine, "SELECT to_regclass('flowshift.proofs') IS NULL") == [(True,)]
    schema.upgrade(engine)


def test_finding_the_pending_and_the_live_of_a_wave_needs_no_other_rows(engine: sa.Engine) -> None:
    run(
        engine,
        "INSERT INTO flowshift.publication_bots (bot_id, publication_id, wave)"
        " SELECT 'bot-' || n, 2 + n % 50, 1 + n % 7 FROM generate_series(1, 20000) AS n",
    )
    run(engine, "ANALYZE flowshift.publication_bots")

    for states, index in (
        ("state = 'pending'", "publication_bots_pending"),
        ("state IN ('published', 'confirmed')", "publication_bots_live"),
    ):
        plan = rows(
            engine,
            "EXPLAIN SELECT bot_id FROM flowshift.publication_bots"
            f" WHERE publication_id = 7 AND wave = 3 AND {states} ORDER BY bot_id LIMIT 200",
        )
        assert index in str(plan)
        assert "Seq Scan" not in str(plan)
