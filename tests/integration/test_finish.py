"""`flowshift finish` on real PostgreSQL: V1 is cleared only with a copy, and comes back to the byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
import sqlalchemy as sa

from tests.fleet import Fleet, a_workflow
from tests.integration.conftest import Run
from tests.live import eventually
from tests.publishing import Publishing
from tests.roles import Role
from worker.core.publication.finishing import Rules
from worker.db.publication import finishing, locks
from worker.errors import BotError, UsageError
from worker.settings import Settings
from worker.steps.finishing import finish as step
from worker.steps.finishing.finish import What

BOTS = [f"bot-0000{n}" for n in range(5)]


def back_up(fleet: Fleet, *, hours_ago: float = 1) -> None:
    """A backup on record, verified: taking real ones is tested elsewhere."""
    fleet.execute(
        "INSERT INTO flowshift.database_backups (backup_id, taken_at, taken_by, directory, snapshot,"
        " bots, verified_at, verified_by, duration_ms, differences)"
        " SELECT gen_random_uuid(), t.at, 'me', 'monday', '1:1:', 5, t.at, 'me', 5, 0"
        " FROM (SELECT now() - make_interval(secs => :s) AS at) t",
        s=hours_ago * 3600,
    )


def age(fleet: Fleet, days: float, *bot_ids: str) -> None:
    """Let bots have been published so long ago."""
    fleet.execute(
        "UPDATE flowshift.publication_bots SET published_at = now() - make_interval(secs => :s)"
        " WHERE bot_id = ANY(:ids)",
        s=days * 86_400,
        ids=list(bot_ids or BOTS),
    )


def executed(
    fleet: Fleet, *bot_ids: str, status: str = "succeeded", session: str | None = "s"
) -> None:
    """An execution of each bot's live version."""
    fleet.execute(
        "INSERT INTO workflow_execution_runs"
        " (id, bot_id, workflow_version_id, session_id, graph_snapshot, status)"
        " SELECT gen_random_uuid(), v.bot_id, v.id, :session, '{}', :status"
        " FROM bot_workflow_versions v WHERE v.status = 'published' AND v.bot_id = ANY(:ids)",
        ids=list(bot_ids or BOTS),
        status=status,
        session=session,
    )


@pytest.fixture
def publishing(fleet: Fleet) -> Publishing:
    """Five bots that have run V2 for 40 days, with executions and a verified backup."""
    fleet.add_many(4)
    fleet.add(BOTS[4], '{"nodes" : [ ], "x":1.10,  "text":"한국어 \\u00e9"}')
    fleet.change(BOTS[3], a_workflow("another {question}"))
    fleet.execute(
        "UPDATE bots SET workflow = CAST(:text AS json) WHERE bot_id = :id",
        id=BOTS[4],
        text=json.dumps(a_workflow(), indent=3) + "  ",
    )
    fleet.run()
    made = Publishing(fleet)
    made.prove()
    made.plan()
    assert set(made.publish().values()) == {"published"}
    age(fleet, 40)
    executed(fleet)
    back_up(fleet)
    return made


def v1(fleet: Fleet) -> dict[str, tuple[Any, ...]]:
    """All that there is of V1, by bot, as text."""
    rows = fleet.rows(
        "SELECT b.bot_id, b.workflow::text, b.legacy_workflow::text, k.workflow::text, k.backed_up_at,"
        " b.use_workflow_v2 FROM bots b LEFT JOIN flowshift.backups k USING (bot_id)"
    )
    return {row[0]: tuple(row[1:]) for row in rows}


def cleared(fleet: Fleet) -> list[str]:
    return sorted(bot_id for bot_id, found in v1(fleet).items() if found[:3] == (None, None, None))


def finished(fleet: Fleet) -> list[str]:
    return [
        row[0] for row in fleet.rows("SELECT bot_id FROM flowshift.finished_bots ORDER BY bot_id")
    ]


def run(flowshift: Run, *options: str, code: int = 0) -> dict[str, Any]:
    was, out, err = flowshift("finish", "--json", "--yes", *options)
    assert was == code, err
    found: dict[str, Any] = json.loads(out)
    return found


# -- there and back --------------------------------------------------------------------------------


@pytest.mark.parametrize("backup", ["column", "table"])
@pytest.mark.parametrize("kind", ["json", "jsonb"])
def test_v1_goes_with_its_backup_and_comes_back_to_the_byte(
    flowshift: Run, fleet: Fleet, backup: Any, kind: str
) -> None:
    for column in ("workflow", "legacy_workflow"):
        fleet.execute(f"ALTER TABLE bots ALTER {column} TYPE {kind}")
    fleet.backup = backup
    fleet.add_many(3)
    fleet.execute(
        f"UPDATE bots SET workflow = CAST(:text AS {kind}) WHERE bot_id = :id",
        id=BOTS[2],
        text=json.dumps(a_workflow("é 😀 {context}"), indent=3).replace("4000", "4.0e3") + "  ",
    )
    fleet.run()
    made = Publishing(fleet)
    made.prove()
    made.plan()
    assert set(made.publish().values()) == {"published"}
    fleet.change(BOTS[1], a_workflow("edited"))
    age(fleet, 40)
    executed(fleet)
    back_up(fleet)
    before = v1(fleet)
    assert all(found[1 if backup == "column" else 2] for found in before.values())

    assert run(flowshift, "--edited-v1")["result"]["bots"] == 3
    assert cleared(fleet) == finished(fleet) == BOTS[:3]
    assert fleet.rows("SELECT * FROM flowshift.backups") == []
    assert run(flowshift, "--edited-v1")["preview"]["left_out"] == {
        "finished": {"bots": 3, "examples": BOTS[:3]}
    }

    assert run(flowshift, "--undo")["result"]["bots"] == 3
    assert v1(fleet) == before
    assert finished(fleet) == []
    trail = fleet.rows(
        "SELECT action, detail FROM flowshift.audit WHERE action LIKE 'finish.%' ORDER BY id"
    )
    assert [(row.action, row.detail["bots"]) for row in trail] == [
        ("finish.begun", 3),
        ("finish.cleared", 3),
        ("finish.begun", 3),
        ("finish.undone", 3),
    ]


def test_one_bot_goes_and_comes_back_alone(flowshift: Run, publishing: Publishing) -> None:
    run(flowshift, "--bot-id", BOTS[1])
    assert cleared(publishing.fleet) == [BOTS[1]]
    run(flowshift)
    assert len(cleared(publishing.fleet)) == 5
    assert run(flowshift, "--undo", "--bot-id", BOTS[2], "--bot-id", "x")["preview"][
        "left_out"
    ] == {"not_finished": {"bots": 1, "examples": ["x"]}}
    assert BOTS[2] not in cleared(publishing.fleet)
    assert finished(publishing.fleet) == [BOTS[0], BOTS[1], *BOTS[3:]]


def test_show_and_status_say_where_the_v1_of_a_finished_bot_is(
    flowshift: Run, publishing: Publishing
) -> None:
    run(flowshift, "--bot-id", BOTS[1])

    assert "V1 cleared by flowshift finish, kept in flowshift" in flowshift("show", BOTS[1])[1]
    assert json.loads(flowshift("show", BOTS[1], "--json")[1])["has_backup"]
    assert "finish" not in flowshift("show", BOTS[2])[1]
    said = " ".join(flowshift("status")[1].split())
    assert (
        "fleet: 4 bots with a workflow, 4 backed up, 4 on V2, 0 drafts; besides 1 finished" in said
    )


def test_rollback_has_no_way_back_and_names_the_way_and_after_it_works(
    flowshift: Run, publishing: Publishing
) -> None:
    run(flowshift)
    code, out, _ = flowshift("rollback", "--all", "--yes")
    assert code == 1
    assert "5 bots: left alone, V1 is gone or does not run" in out
    assert "5 bots: V1 was cleared: `flowshift finish --undo` brings it back" in out
    assert all(publishing.is_live(bot_id) for bot_id in BOTS)

    run(flowshift, "--undo")
    assert flowshift("rollback", "--all", "--yes")[0] == 0
    assert not any(publishing.is_live(bot_id) for bot_id in BOTS)


# -- which bots ------------------------------------------------------------------------------------


def left_out(flowshift: Run, *options: str) -> dict[str, list[str]]:
    code, out, err = flowshift("finish", "--dry-run", "--json", *options)
    assert code == 0, err
    preview = json.loads(out)["preview"]
    return {why: group["examples"] for why, group in preview["left_out"].items()}


def test_a_dry_run_says_why_not_and_changes_nothing(flowshift: Run, publishing: Publishing) -> None:
    fleet = publishing.fleet
    age(fleet, 29.99, BOTS[0])
    age(fleet, 30.01, BOTS[1])
    fleet.execute("DELETE FROM workflow_execution_runs WHERE bot_id = :b", b=BOTS[2])
    fleet.change(BOTS[3], a_workflow("edited"))
    flowshift("rollback", "--bot-id", BOTS[4], "--yes")
    fleet.add("theirs", a_workflow(), uses_v2=True)
    before = v1(fleet)

    assert left_out(flowshift) == {
        "too_recent": [BOTS[0]],
        "no_execution": [BOTS[2]],
        "v1_edited": [BOTS[3]],
    }
    named = [word for bot_id in (BOTS[4], "theirs") for word in ("--bot-id", bot_id)]
    assert left_out(flowshift, *named) == {"uses_v1": [BOTS[4]], "not_published": ["theirs"]}
    assert left_out(flowshift, "--days", "31")["too_recent"] == BOTS[:2]
    assert left_out(flowshift, "--without-executions", "--edited-v1", "--days", "29") == {}
    _, out, _ = flowshift("finish", "--dry-run")
    assert "1 bot: V1 and its backup are cleared ('bot-00001')" in out
    assert "1 bot: left out: on V2 for too short a time ('bot-00000')" in out
    assert v1(fleet) == before


def test_executions_that_failed_or_are_ours_or_of_another_version_do_not_count(
    flowshift: Run, publishing: Publishing
) -> None:
    fleet = publishing.fleet
    fleet.execute("DELETE FROM workflow_execution_runs")
    executed(fleet, BOTS[0], status="failed")
    executed(fleet, BOTS[1], session="flowshift:1")
    executed(fleet, BOTS[2])
    fleet.execute(
        "UPDATE bot_workflow_versions SET status = 'archived' WHERE bot_id = :b", b=BOTS[2]
    )
    fleet.add_version(BOTS[2], "v9", "published")
    executed(fleet, BOTS[3], session=None)

    assert left_out(flowshift)["no_execution"] == BOTS[:3]


def test_a_version_that_a_person_published_counts_and_a_rollback_begins_the_time_anew(
    flowshift: Run, publishing: Publishing
) -> None:
    fleet = publishing.fleet
    for bot_id in BOTS[:2]:
        fleet.execute(
            "UPDATE bot_workflow_versions SET status = 'archived'"
            " WHERE bot_id = :b AND status = 'published'",
            b=bot_id,
        )
        fleet.add_version(bot_id, "v9", "published")
        executed(fleet, bot_id)
    fleet.execute(
        "INSERT INTO flowshift.publication_bots (bot_id, publication_id, wave, state, version_id, version,"
        " content_hash, workflow_hash, published_at, moved_at)"
        " SELECT bot_id, 7, 1, 'rolled_back', version_id, 'v0', 1, 1, now() - interval '60 days',"
        " now() - (CASE bot_id WHEN :two THEN 20 ELSE 50 END) * interval '1 day'"
        " FROM flowshift.publication_bots WHERE bot_id = ANY(:ids)",
        ids=[BOTS[2], BOTS[3]],
        two=BOTS[2],
    )

    # What was published before the last rollback does not count: since when it runs V2 is not known.
    assert left_out(flowshift) == {"not_published": [BOTS[2]]}


def test_v1_that_a_person_wrote_since_is_not_written_over(
    flowshift: Run, publishing: Publishing
) -> None:
    fleet = publishing.fleet
    run(flowshift)
    fleet.change(BOTS[0], a_workflow("mine"))
    fleet.execute("UPDATE bots SET legacy_workflow = '{}' WHERE bot_id = :b", b=BOTS[1])
    fleet.execute("UPDATE bots SET workflow = 'null' WHERE bot_id = :b", b=BOTS[2])
    fleet.execute("DELETE FROM bots WHERE bot_id = :b", b=BOTS[3])
    before = v1(fleet)

    assert left_out(flowshift)["written_since"] == BOTS[:2]
    found = run(flowshift, "--undo")
    assert {why: group["examples"] for why, group in found["preview"]["left_out"].items()} == {
        "written_since": BOTS[:2],
        "gone": [BOTS[3]],
    }
    after = v1(fleet)
    assert [after[bot_id] for bot_id in BOTS[:2]] == [before[bot_id] for bot_id in BOTS[:2]]
    assert after[BOTS[2]][0].startswith('{"nodes"')
    assert finished(fleet) == [BOTS[0], BOTS[1], BOTS[3]]


# -- what is asked and refused ---------------------------------------------------------------------


@pytest.mark.parametrize("hours_ago", [None, 25])
def test_without_a_recent_backup_nothing_is_cleared(
    flowshift: Run, publishing: Publishing, hours_ago: float | None
) -> None:
    publishing.fleet.execute("DELETE FROM flowshift.database_backups")
    if hours_ago is not None:
        back_up(publishing.fleet, hours_ago=hours_ago)

    code, _, err = flowshift("finish", "--yes")
    assert code == 2
    assert "V1 of 5 bots is to go: this needs a backup of the database" in err
    assert cleared(publishing.fleet) == []
    with pytest.raises(UsageError):
        step.finish(
            publishing.fleet.current, What(), actor="me", reason=None, total=5, show=lambda _: None
        )


def test_the_number_has_to_be_typed(
    flowshift: Run, publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = flowshift("finish")
    assert code == 2
    assert "There is no terminal to ask on: say --yes" in err
    assert cleared(publishing.fleet) == []


def test_a_platform_that_insists_on_a_workflow_is_refused(
    flowshift: Run, publishing: Publishing
) -> None:
    publishing.fleet.execute("ALTER TABLE bots ALTER workflow SET NOT NULL")
    code, _, err = flowshift("finish", "--yes")
    assert code == 2
    assert "bots.workflow may not be null on this platform" in err
    publishing.fleet.execute("ALTER TABLE bots ALTER workflow DROP NOT NULL")
    publishing.fleet.execute("ALTER TABLE bots ADD CHECK (workflow IS NOT NULL)")
    code, _, err = flowshift("finish", "--yes")
    assert code == 2
    assert "bots.workflow may not be null on this platform" in err
    assert cleared(publishing.fleet) == finished(publishing.fleet) == []


def test_only_the_owner_may(
    flowshift: Run, publishing: Publishing, role: Role, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", role.url(settings.database_url))
    for options in ((), ("--undo",)):
        code, _, err = flowshift("finish", "--yes", *options)
        assert code == 3
        assert f"the role {role.name} may not update bots.workflow" in err
        assert "as the tables' owner" in err
    assert cleared(publishing.fleet) == []


TRIGGERS = {
    "keeps V1": ("BEFORE UPDATE ON bots", "NEW.workflow := OLD.workflow; RETURN NEW"),
    "suppresses the update": ("BEFORE UPDATE ON bots", "RETURN NULL"),
    "suppresses the copy": ("BEFORE INSERT ON flowshift.finished_bots", "RETURN NULL"),
    "spoils the copy": (
        "BEFORE INSERT ON flowshift.finished_bots",
        "NEW.workflow := '{}'; RETURN NEW",
    ),
    "switches the flag": ("BEFORE UPDATE ON bots", "NEW.use_workflow_v2 := false; RETURN NEW"),
}


@pytest.mark.parametrize("kind", TRIGGERS)
def test_a_trigger_that_changes_what_is_written_stops_it_and_nothing_is_lost(
    publishing: Publishing, kind: str
) -> None:
    fleet, (when, body) = publishing.fleet, TRIGGERS[kind]
    fleet.execute(
        f"CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$"
    )
    fleet.execute(f"CREATE TRIGGER spoil {when} FOR EACH ROW EXECUTE FUNCTION spoil()")
    before = v1(fleet)

    with pytest.raises(BotError, match="nothing of them was changed"):
        step.finish(fleet.current, What(), actor="me", reason=None, total=5, show=lambda _: None)
    assert v1(fleet) == before
    assert finished(fleet) == []


def test_what_comes_back_otherwise_is_not_forgotten(publishing: Publishing, flowshift: Run) -> None:
    fleet = publishing.fleet
    run(flowshift)
    fleet.execute(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.workflow := '{}'; RETURN NEW; END $$"
    )
    fleet.execute(
        "CREATE TRIGGER spoil BEFORE UPDATE ON bots FOR EACH ROW EXECUTE FUNCTION spoil()"
    )

    with pytest.raises(BotError, match="came back the same"):
        step.finish(
            fleet.current, What(is_undo=True), actor="me", reason=None, total=5, show=lambda _: None
        )
    assert finished(fleet) == cleared(fleet) == BOTS


# -- at the same time ------------------------------------------------------------------------------


def test_a_bot_that_is_locked_is_not_waited_for_and_comes_again(publishing: Publishing) -> None:
    fleet, waits = publishing.fleet, []
    with fleet.connect() as platform:
        platform.execute("SELECT FROM bots WHERE bot_id = %s FOR UPDATE", [BOTS[2]])

        def sleep(_seconds: float) -> None:
            waits.append(cleared(fleet))
            if len(waits) == 2:
                platform.rollback()

        result = step.finish(
            fleet.current,
            What(),
            actor="me",
            reason=None,
            total=5,
            show=lambda _: None,
            sleep=sleep,
        )
    assert waits == [[*BOTS[:2], *BOTS[3:]]] * 2
    assert (result.bots, result.busy) == (5, 0)
    assert cleared(fleet) == BOTS


def test_what_was_committed_just_before_the_lock_counts(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollback and an edit between the look and the lock keep their bots out."""
    fleet, real = publishing.fleet, locks.lock_bots

    def later(connection: sa.Connection, bot_ids: Any) -> Any:
        fleet.execute("UPDATE bots SET use_workflow_v2 = false WHERE bot_id = :b", b=BOTS[0])
        fleet.change(BOTS[1], a_workflow("edited"))
        return real(connection, bot_ids)

    monkeypatch.setattr(step, "lock_bots", later)
    result = step.finish(
        fleet.current, What(), actor="me", reason=None, total=5, show=lambda _: None
    )
    assert cleared(fleet) == BOTS[2:]
    assert dict(result.left_out) == {"uses_v1": 1, "v1_edited": 1}


def test_two_at_once_finish_each_bot_once(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, real, calls = publishing.fleet, finishing.clear, list[int]()

    def second(connection: sa.Connection, bot_ids: Any, *, actor: str) -> None:
        real(connection, bot_ids, actor=actor)
        if not calls:
            calls.append(1)
            other = step.finish(
                fleet.current, What(), actor="other", reason=None, total=5,
                show=lambda _: None, sleep=lambda _: None,
            )  # fmt: skip
            assert (other.bots, other.busy) == (0, 5)

    monkeypatch.setattr(finishing, "clear", second)
    monkeypatch.setattr(step, "ROUNDS", 2)
    assert (
        step.finish(
            fleet.current, What(), actor="me", reason=None, total=5, show=lambda _: None
        ).bots
        == 5
    )
    assert {row[0] for row in fleet.rows("SELECT finished_by FROM flowshift.finished_bots")} == {
        "me"
    }


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("undo", [False, True])
def test_killed_in_the_middle_of_a_batch_no_bot_is_half_done_and_the_next_call_goes_on(
    flowshift: Run, publishing: Publishing, environment: dict[str, str], settings: Settings,
    kind: signal.Signals, undo: bool,
) -> None:  # fmt: skip
    fleet = publishing.fleet
    options = ["--undo"] if undo else []
    if undo:
        run(flowshift)
    before, copies = v1(fleet), finished(fleet)
    env = {**environment, "FLOWSHIFT_DATABASE_URL": settings.database_url}
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with fleet.connect() as platform:
        # It waits with V1 of all bots cleared (or back), in the middle of its transaction.
        platform.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN SET LOCAL lock_timeout = 0; PERFORM pg_advisory_xact_lock(42); RETURN NEW; END $$"
        )
        platform.execute(
            "CREATE TRIGGER slow AFTER UPDATE ON bots FOR EACH STATEMENT EXECUTE FUNCTION slow()"
        )
        platform.commit()
        platform.execute("SELECT pg_advisory_lock(42)")
        platform.commit()
        with subprocess.Popen(
            [sys.executable, "-m", "worker", "finish", "--yes", *options], env=env,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            eventually(lambda: fleet.rows(waiting)[0][0] == 1 or process.poll() is not None)
            os.kill(process.pid, kind)
            process.wait(60)
    assert process.returncode == (130 if kind == signal.SIGINT else -9)
    eventually(lambda: fleet.rows(waiting)[0][0] == 0)
    assert v1(fleet) == before
    assert finished(fleet) == copies
    fleet.execute("DROP TRIGGER slow ON bots")

    assert run(flowshift, *options)["result"]["bots"] == 5
    assert cleared(fleet) == finished(fleet) == ([] if undo else BOTS)


def test_two_thousand_bots_go_in_batches_and_come_back(flowshift: Run, fleet: Fleet) -> None:
    ids = fleet.add_many(2_000)
    fleet.execute(
        "INSERT INTO bot_workflow_versions (id, bot_id, version, status, graph, published_at)"
        " SELECT gen_random_uuid(), bot_id, 'v1.0', 'published', '{}', now() FROM bots"
    )
    fleet.execute(
        "INSERT INTO flowshift.publication_bots (bot_id, publication_id, wave, state, version_id, version,"
        " content_hash, workflow_hash, published_at)"
        " SELECT b.bot_id, 1, 1, 'confirmed', v.id, 'v1.0', 1,"
        " hashtextextended(b.workflow::text COLLATE \"C\", 0), now() - interval '31 days'"
        " FROM bots b JOIN bot_workflow_versions v USING (bot_id)"
    )
    fleet.execute("UPDATE bots SET use_workflow_v2 = true")
    back_up(fleet)
    before = v1(fleet)

    assert run(flowshift, "--without-executions")["result"]["bots"] == 2_000
    assert cleared(fleet) == ids
    assert run(flowshift, "--undo")["result"]["bots"] == 2_000
    assert v1(fleet) == before


def test_the_only_copy_of_v1_survives_the_way_down(flowshift: Run, publishing: Publishing) -> None:
    run(flowshift)
    code, _, err = flowshift("db", "downgrade", "0017", "--yes")
    assert code == 2
    assert "flowshift.finished_bots holds the only V1 of 5 bots" in err
    assert finished(publishing.fleet) == BOTS
    assert flowshift("db", "downgrade", "0017", "--yes", "--drop-backups")[0] == 0


def test_a_conversion_leaves_finished_bots_alone(flowshift: Run, publishing: Publishing) -> None:
    run(flowshift)
    progress = publishing.fleet.run()
    assert progress.counts.converted == 0
    assert finished(publishing.fleet) == cleared(publishing.fleet) == BOTS


def test_rules_are_read_from_options(publishing: Publishing) -> None:
    seen = step.look(publishing.fleet.current, What(rules=Rules(days=41)))
    assert seen.left_out["too_recent"].bots == 5
