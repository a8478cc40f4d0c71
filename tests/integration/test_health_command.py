"""`flowshift health`, and what `status` says of it."""

from __future__ import annotations

import json
import socket

import pytest

from tests.fleet import Fleet
from tests.integration.conftest import Run
from tests.integration.test_heartbeats import begin, grow_old, somebody
from worker.core.policy.processes import ProcessKind
from worker.db.heartbeats import Sign

HERE = socket.gethostname()
NOW = Sign(0.0, "seen")


def test_health_is_0_if_one_of_each_kind_works_and_says_so(flowshift: Run, fleet: Fleet) -> None:
    begin(fleet, somebody("worker"), NOW)
    assert flowshift("health")[0] == 1, "there is no beat"
    assert flowshift("health", "worker")[:2] == (0, "worker on here (pid 7) works: seen\n")
    begin(fleet, somebody("beat"), NOW)
    code, out, err = flowshift("health")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "worker on here (pid 7) works: seen",
        "beat on here (pid 7) works: seen",
    ]
    assert flowshift("health", "flower")[0] == 1, "asked for by name it has to be there"


def test_a_process_that_lives_without_working_is_not_healthy_though_another_works(
    flowshift: Run, fleet: Fleet
) -> None:
    begin(fleet, somebody("worker"), NOW)
    begin(fleet, somebody("worker", "b"), Sign(400.0, "seen", "it is not connected to the queue"))
    code, out, _ = flowshift("health", "worker")
    assert code == 1
    assert (
        "worker on b (pid 7) does not work: it lives, and has not worked for 7 min: "
        "it is not connected to the queue"
    ) in out
    assert flowshift("health", "worker", "--max-age-s", "500")[0] == 0


def test_here_asks_for_what_runs_on_this_host(flowshift: Run, fleet: Fleet) -> None:
    begin(fleet, somebody("worker", "elsewhere"), NOW)
    assert flowshift("health", "worker")[0] == 0
    code, out, _ = flowshift("health", "worker", "--here")
    assert (code, out) == (1, "no worker works, and none was seen within a day\n")
    gone = begin(fleet, somebody("worker", HERE), NOW)
    grow_old(fleet, gone, 100)
    assert flowshift("health", "worker", "--here")[0] == 1
    begin(fleet, somebody("worker", HERE), NOW)
    assert flowshift("health", "worker", "--here")[0] == 0


def test_flower_is_asked_for_where_it_was_seen(flowshift: Run, fleet: Fleet) -> None:
    begin(fleet, somebody("worker"), NOW)
    begin(fleet, somebody("beat"), NOW)
    flower = begin(fleet, somebody("flower"), NOW)
    assert flowshift("health")[0] == 0
    grow_old(fleet, flower, 100)
    code, out, _ = flowshift("health")
    assert code == 1
    assert (
        "no flower works: flower on here (pid 7) is gone: its last heartbeat was 100 s ago" in out
    )


def test_json_has_every_process_with_its_condition(flowshift: Run, fleet: Fleet) -> None:
    begin(fleet, somebody("worker"), NOW)
    code, out, _ = flowshift("health", "--json")
    told = json.loads(out)
    assert (code, told["healthy"], told["max_age_s"]) == (1, False, 60.0)
    (one,) = told["processes"]
    assert (one["kind"], one["host"], one["pid"]) == ("worker", "here", 7)
    assert (one["condition"], one["evidence"], one["problem"]) == ("works", "seen", None)


def test_a_database_that_is_away_is_said_and_excused_if_wanted(
    flowshift: Run, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.steps.processes.TIMEOUT_S", 2)
    fleet.engine.dispose()

    def ask(*more: str) -> tuple[int, str, str]:
        monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", "postgresql://me:secret@127.0.0.1:1/x")
        return flowshift("health", "worker", *more)

    code, _, err = ask()
    assert code == 3
    assert "secret" not in err
    code, _, err = ask("--unreachable-ok")
    assert code == 0
    assert err.startswith("unknown, reported as healthy (--unreachable-ok): ")


def test_status_says_what_works(flowshift: Run, fleet: Fleet) -> None:
    nothing = "no {0} works, and none was seen within a day"
    expected = f"{nothing.format('worker')} · {nothing.format('beat')}"
    assert expected in flowshift("status")[1].splitlines()
    for kind in KINDS_SEEN:
        begin(fleet, somebody(kind), NOW)
    assert "2 workers, 1 beat, Flower" in flowshift("status")[1].splitlines()
    told = json.loads(flowshift("status", "--json")[1])
    assert {one["condition"] for one in told["processes"]} == {"works"}


KINDS_SEEN: tuple[ProcessKind, ...] = ("worker", "worker", "beat", "flower")


def test_serve_is_asked_for_where_it_was_seen_or_by_its_name(flowshift: Run, fleet: Fleet) -> None:
    assert flowshift("health", "serve")[0] == 1
    for kind in ("worker", "beat"):
        begin(fleet, somebody(kind), NOW)
    assert flowshift("health")[0] == 0, "it need not be there"
    serve = begin(fleet, somebody("serve"), NOW)
    assert flowshift("health", "serve")[0] == 0
    assert "2 workers" not in flowshift("status")[1]
    assert "1 worker, 1 beat, pages" in flowshift("status")[1]
    grow_old(fleet, serve, 100)
    code, out, _ = flowshift("health")
    assert (code, "no serve works: serve on here" in out) == (1, True)
