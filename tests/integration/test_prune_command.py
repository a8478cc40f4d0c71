"""`flowshift prune` and the beat's prune: what people, scripts and schedules see."""

from __future__ import annotations

import datetime as dt
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import msgspec
import pytest

import tasks.prunes
from tests.executions import Executions
from tests.fleet import Fleet
from tests.integration.conftest import Run
from worker import runtime
from worker.app import app, configuration
from worker.core.policy.health import Verdict
from worker.db.prune import executions as table
from worker.runtime import Runtime
from worker.servers.connect import Servers
from worker.settings import Settings
from worker.steps.prune import schedule
from worker.steps.prune.tally import Moved

MOMENT = dt.datetime(2026, 3, 31, 3, 30, 5, tzinfo=dt.UTC)
SLOT = dt.datetime(2026, 3, 31, 3, 30, tzinfo=dt.UTC)


@pytest.fixture
def fleet(settings: Settings) -> Iterator[Fleet]:
    """A fleet whose runtime does not get in the way of the commands'."""
    current = runtime.Runtime(settings, Servers(settings.database_url, settings.redis_url))
    yield Fleet(current)
    current.close()


@pytest.fixture
def executions(fleet: Fleet) -> Executions:
    return Executions(fleet)


def test_prune_prints_rows_and_bytes_and_exits_with_0(
    flowshift: Run,
    executions: Executions,
) -> None:
    executions.add(count=3)
    kept = executions.add("29 days")
    code, out, _ = flowshift("prune")
    assert code == 0
    assert out.startswith("pruned in ")
    assert "3  execution runs" in out
    assert "6  node executions" in out
    assert "KB  bytes of both" in out
    assert executions.runs() == set(kept)


def test_a_dry_run_prints_the_same_as_json_and_deletes_nothing(
    flowshift: Run,
    executions: Executions,
) -> None:
    executions.add(count=3)
    code, out, _ = flowshift("prune", "--dry-run", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["dry_run"] is True
    assert len(executions.runs()) == 3
    done = json.loads(flowshift("prune", "--json")[1])
    assert done["gone"] == told["gone"]
    assert (done["gone"]["runs"], done["gone"]["nodes"]) == (3, 6)
    assert done["state"] == "done"
    assert set(done) == set(told)
    assert "would be deleted" in flowshift("prune", "--dry-run")[1]


def test_older_than_says_otherwise(flowshift: Run, executions: Executions) -> None:
    executions.add("8 days")
    kept = executions.add("6 days")
    assert flowshift("prune", "--older-than", "1w")[0] == 0
    assert executions.runs() == set(kept)
    code, _, err = flowshift("prune", "--older-than", "soon")
    assert code == 2
    assert "'soon' is no age" in err
    assert executions.runs() == set(kept)


def test_the_setting_says_how_long_executions_are_kept(
    flowshift: Run,
    executions: Executions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLOWSHIFT_KEEP_EXECUTIONS_DAYS", "60")
    executions.add("59 days")
    executions.add("61 days")
    assert json.loads(flowshift("prune", "--json")[1])["gone"]["runs"] == 1


def test_what_has_to_stay_makes_the_exit_code_1(
    flowshift: Run,
    executions: Executions,
) -> None:
    ids = executions.add(count=2)
    with executions.fleet.connect() as platform:
        platform.execute("SELECT FROM workflow_execution_runs WHERE id = %s FOR UPDATE", (ids[0],))
        code, out, _ = flowshift("prune")
    assert code == 1
    assert "1  execution runs that stay" in out


def test_a_second_prune_at_the_same_time_is_refused_with_1(
    flowshift: Run,
    executions: Executions,
) -> None:
    executions.add()
    with executions.engine.connect() as other:
        from worker.db.prune import record  # noqa: PLC0415

        assert record.lock(other)
        code, _, err = flowshift("prune")
    assert code == 1
    assert "another prune is under way" in err
    assert len(executions.runs()) == 1


def test_a_health_check_that_says_stop_makes_it_1_with_the_reason(
    flowshift: Run,
    executions: Executions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    executions.add()
    monkeypatch.setattr(
        schedule, "check_of", lambda _: lambda: Verdict("stop", "hours", "it is 09:00")
    )
    code, out, _ = flowshift("prune")
    assert code == 1
    assert "stopped (it is 09:00)" in out
    assert "continues from there" in out


def test_a_line_tells_how_far_it_is_and_what_it_waits_for() -> None:
    module: Any = import_module("worker.cli.views.prune")
    said: list[str] = []
    now = iter([0.0, 0.5, 2.0, 2.0, 3.0, 4.0, 5.0])
    lines = module._Lines(lambda text, **_: said.append(text), clock=lambda: next(now))
    moved = Moved(runs=10, nodes=40, octets=1, total=100, rate=5.0, eta_s=18.0)
    waiting = msgspec.structs.replace(moved, waiting=Verdict("wait", "lag", "12 s behind"))
    for one in (moved, moved, waiting, waiting, moved):
        lines(one)
    assert said == [
        "prune: 10 of about 100 runs, 5 runs/s, 18.0 s left",
        "waiting: lag: 12 s behind",
    ]


SLOW = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_sleep(0.01); RETURN OLD; END';
    CREATE TRIGGER slow BEFORE DELETE ON workflow_execution_runs FOR EACH ROW
        EXECUTE FUNCTION slow();
"""


def test_ctrl_c_on_a_terminal_ends_it_with_a_summary_and_130(
    executions: Executions, environment: dict[str, str]
) -> None:
    executions.add(count=2_000, nodes=0)
    executions.fleet.execute(SLOW)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "prune"],
        env={**environment, "TERM": "xterm", "COLUMNS": "100"},
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        shown = _read_until(ours, b"runs/s")
        while not executions.fleet.rows("SELECT FROM flowshift.prunes WHERE gone <> '{}'"):
            shown += _read_until(ours, b"runs/s")
        os.kill(process.pid, signal.SIGINT)
        assert process.stdout is not None
        out = process.stdout.read().decode()
        assert process.wait(30) == 130, out
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        assert process.stdout is not None
        process.stdout.close()
    assert b"prune" in shown
    assert "stopped (interrupted)" in out
    (row,) = executions.fleet.rows("SELECT state, reason, gone FROM flowshift.prunes")
    assert (row.state, row.reason) == ("stopped", "interrupted")
    left = len(executions.runs())
    assert 0 < left < 2_000
    assert row.gone["runs"] == 2_000 - left
    assert f"{2_000 - left:,}  execution runs" in out


def _read_until(terminal: int, wanted: bytes) -> bytes:
    shown, deadline = b"", time.monotonic() + 60
    while wanted not in shown:
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 4096)
    return shown


# -- the beat --------------------------------------------------------------------------------------


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the database's clock, as far as prunes ask it."""

    def set_to(moment: dt.datetime) -> None:
        monkeypatch.setattr(table, "now", lambda _: moment)

    set_to(MOMENT)
    return set_to


def test_a_prune_is_due_from_its_time_on_for_an_hour_and_until_it_is_done(
    current: Runtime, at: Any
) -> None:
    here = Executions(Fleet(current))
    assert schedule.due(current) == SLOT
    at(SLOT - dt.timedelta(seconds=1))
    assert schedule.due(current) is None
    at(SLOT + dt.timedelta(hours=1))
    assert schedule.due(current) is None

    at(MOMENT)
    here.prune(slot=SLOT, patient=False, check=lambda: Verdict("wait"))
    at(SLOT + dt.timedelta(hours=20))
    assert schedule.due(current) == SLOT
    here.prune(slot=SLOT)
    assert schedule.due(current) is None


def test_never_is_never(current: Runtime, at: Any) -> None:
    never = Runtime(msgspec.structs.replace(current.settings, prune_at="never"), current.servers)
    assert schedule.due(never) is None
    never.close()


def test_every_task_that_the_beat_sends_is_there(current: Runtime) -> None:
    entries = configuration(current)["beat_schedule"].values()
    assert {entry["task"] for entry in entries} <= set(app.tasks)
    assert "flowshift.prune" in app.tasks


def test_two_beats_and_a_late_message_prune_once(current: Runtime, at: Any) -> None:
    here = Executions(Fleet(current))
    at(dt.datetime.now(dt.UTC).replace(hour=3, minute=30, second=9))
    slot = schedule.due(current)
    assert slot is not None
    here.add("40 days", count=2)

    said = [tasks.prunes.prune.apply(kwargs={"slot": slot.isoformat()}).get() for _ in range(3)]

    assert said[0].startswith("done: 2 execution runs and 4 node executions")
    assert said[1:] == ["nothing is due"] * 2
    assert here.runs() == set()
    assert len(here.audit("prune.done")) == 1


def test_a_tick_sends_the_slice_that_is_due_and_nothing_else(
    current: Runtime, at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(app, "send_task", lambda name, **options: sent.append({name: options}))
    assert tasks.prunes.tick_prune() == "2026-03-31 03:30 is due"
    at(SLOT - dt.timedelta(minutes=5))
    assert tasks.prunes.tick_prune() == "nothing is due"
    (message,) = sent
    assert message["flowshift.prune"]["kwargs"] == {"slot": SLOT.isoformat()}


def test_a_slice_that_runs_out_of_time_sends_the_next_at_once(
    current: Runtime, at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(app, "send_task", lambda name, **_: sent.append(name))
    monkeypatch.setattr(tasks.prunes, "SLICE_S", 0.0)
    said = tasks.prunes.prune.apply(kwargs={"slot": SLOT.isoformat()}).get()
    assert said.startswith("unfinished (its time slice is over)")
    assert sent == ["flowshift.prune"]
    monkeypatch.setattr(schedule, "check_of", lambda _: lambda: Verdict("wait", "lag", "12 s"))
    monkeypatch.setattr(tasks.prunes, "SLICE_S", 60.0)
    assert "unfinished (12 s)" in tasks.prunes.prune.apply(kwargs={"slot": SLOT.isoformat()}).get()
    assert sent == ["flowshift.prune"]
