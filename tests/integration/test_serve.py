"""`flowshift serve`: it listens, answers from what is committed, and stops in order."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx2 as httpx
import pytest
import sqlalchemy as sa

from tests.fleet import Fleet
from tests.integration.conftest import Run
from tests.live import eventually
from tests.web import serving
from worker.db import heartbeats
from worker.db.engine import map_database_errors
from worker.errors import TransientError
from worker.runtime import Runtime
from worker.web.app import THREADS
from worker.web.reading import reading_engine


@pytest.fixture
def client(current: Runtime) -> Iterator[httpx.Client]:
    with serving(current) as client:
        yield client


def test_it_lives_and_is_ready_while_the_database_answers(client: httpx.Client) -> None:
    for path in ("/health/live", "/health/ready"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_without_the_database_it_lives_and_says_that_it_is_not_ready(
    settings: object, current: Runtime, admin: sa.Engine
) -> None:
    name = sa.make_url(current.servers.database_url).database
    with serving(current) as client:
        with admin.connect() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            connection.exec_driver_sql(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
        answer = client.get("/health/ready")
        lives = client.get("/health/live")
        with admin.connect() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        again = client.get("/health/ready")

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "5"
    assert (lives.status_code, again.status_code) == (200, 200)


def test_the_first_page_shows_the_runs(fleet: Fleet, client: httpx.Client) -> None:
    assert "No run and no publication goes on." in client.get("/").text
    fleet.add_many(2)
    fleet.run()

    page = client.get("/")

    assert page.headers["content-type"].startswith("text/html")
    assert ">run 1</a>" in page.text


def test_what_only_reads_cannot_write_and_is_cut_off_by_its_own_time_out(current: Runtime) -> None:
    engine = reading_engine(current)
    with engine.connect() as connection:
        timeout = connection.scalar(sa.text("SHOW statement_timeout"))
        with pytest.raises(TransientError, match="25006"), map_database_errors():
            connection.execute(sa.text("DELETE FROM flowshift.audit"))
    engine.dispose()

    assert timeout == "5s"


def test_every_request_at_work_and_the_count_of_the_fleet_have_a_connection(
    current: Runtime,
) -> None:
    engine = reading_engine(current)
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        for _ in range(THREADS + 1):  # one too many waits for half a minute, and fails
            stack.enter_context(engine.connect())


def test_an_unknown_path_and_a_wrong_method_are_problems(client: httpx.Client) -> None:
    answer = client.get("/nowhere")
    assert answer.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "Not Found",
        "code": "not_found",
    }
    assert client.delete("/health/live").json()["code"] == "method_not_allowed"


def test_a_port_that_is_taken_and_an_address_beyond_loopback_are_refused(flowshift: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, err = flowshift("serve", "--port", port)
    assert code == 3
    assert f"FLOWSHIFT_WEB_PORT: flowshift serve cannot listen on 127.0.0.1:{port}" in err

    code, _, err = flowshift("serve", "--host", "0.0.0.0", "--port", "0")
    assert code == 3
    assert "FLOWSHIFT_WEB_ADDRESS" in err


@contextmanager
def served(environment: dict[str, str]) -> Iterator[str]:
    """The command at an address; asked to stop, it ends with 0 and says nothing more."""
    with subprocess.Popen(
        [sys.executable, "-m", "worker", "serve"],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        try:
            yield line.partition('"url": "')[2].partition('"')[0]
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                _, err = process.communicate(timeout=45)
            finally:
                process.kill()
    assert (process.returncode, err) == (0, "")


def test_the_command_serves_shows_that_it_works_and_ends_with_0_on_sigterm(
    fleet: Fleet, environment: dict[str, str]
) -> None:
    environment["FLOWSHIFT_HEARTBEAT_S"] = "1"

    def works() -> bool:
        with fleet.engine.connect() as connection:
            found = heartbeats.processes(connection)
        return [(one.kind, one.evidence) for one in found] == [
            ("serve", "it answers, and reads the database")
        ]

    with served(environment) as url:
        eventually(works)
        with urllib.request.urlopen(url) as page:
            assert page.status == 200
    with fleet.engine.connect() as connection:
        assert [one.stopped for one in heartbeats.processes(connection)] == [True]


def test_the_command_ends_on_sigterm_while_it_still_counts_the_fleet(
    fleet: Fleet, environment: dict[str, str]
) -> None:
    environment["FLOWSHIFT_LOCK_TIMEOUT_MS"] = "60000"
    environment["FLOWSHIFT_WEB_STATEMENT_TIMEOUT_MS"] = "60000"
    with fleet.engine.begin() as other:
        other.exec_driver_sql("LOCK TABLE bot_workflow_versions IN ACCESS EXCLUSIVE MODE")
        with served(environment) as url, urllib.request.urlopen(url) as page:
            assert "The fleet is being counted." in page.read().decode()
