"""Several real processes of `flowshift serve`: they share forms and totals, and notice other users."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx2 as httpx
import pytest

from tests.fleet import Fleet
from tests.html import Page
from tests.live import eventually
from worker.cli import serve as serve_command
from worker.processes.ports import listen
from worker.runtime import Runtime
from worker.web.app import create_guarded
from worker.web.doors.people import hash_password, hash_token

SECRET = "s" * 40


@contextmanager
def serve(environment: dict[str, str], log: Path) -> Iterator[httpx.Client]:
    """A process of its own on a free port, and a client for it; both end with the block."""
    with (
        log.open("w") as written,
        subprocess.Popen(
            [sys.executable, "-m", "worker", "serve", "--port", "0"],
            env=environment,
            stderr=written,
        ) as process,
    ):
        try:
            eventually(lambda: "serve.ready" in log.read_text())
            url = log.read_text().partition('"url": "')[2].partition('"')[0]
            with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
                yield client
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


@contextmanager
def two(environment: dict[str, str], logs: Path) -> Iterator[list[httpx.Client]]:
    with ExitStack() as stack:
        yield [stack.enter_context(serve(environment, logs / f"log-{n}")) for n in range(2)]


def form_of_the_other(clients: list[httpx.Client]) -> int:
    """Look at a run at one process, and send what its form says to the other."""
    page = Page(clients[0].get("/runs/1", headers={"Accept": "text/html"}).text)
    data = {"csrf_token": page.fields("csrf_token")[0], "reason": "lunch"}
    return clients[1].post("/runs/1/pause", data=data).status_code


@pytest.mark.parametrize("shared", ["no", "value", "file"])
def test_processes_with_one_secret_take_each_others_forms(
    fleet: Fleet, environment: dict[str, str], tmp_path: Path, shared: str
) -> None:
    fleet.add_many(2)
    fleet.planned()
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    given = {
        "no": {},
        "value": {"FLOWSHIFT_WEB_SECRET": SECRET},
        "file": {"FLOWSHIFT_WEB_SECRET_FILE": str(tmp_path / "secret")},
    }
    with two({**environment, **given[shared]}, tmp_path) as clients:
        status = form_of_the_other(clients)

    paused = {"no": (403, "running")}.get(shared, (303, "paused"))
    assert (status, fleet.get(1).state) == paused


def test_the_file_of_users_counts_as_it_is_now_and_one_that_does_not_fit_changes_nobody(
    environment: dict[str, str], tmp_path: Path
) -> None:
    users = tmp_path / "users"
    ann = f"ann operator {hash_password('earl grey')}\n"
    users.write_text(ann)

    def replace(text: str) -> None:
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").replace(users)

    def asks(client: httpx.Client, token: str) -> int:
        return client.get("/audit", headers={"Authorization": f"Bearer {token}"}).status_code

    environment |= {"FLOWSHIFT_WEB_USERS": str(users), "FLOWSHIFT_WEB_RATE": "0"}
    log = tmp_path / "log"
    with serve(environment, log) as client:
        assert client.get("/audit", auth=("ann", "earl grey")).status_code == 200
        replace(ann + f"ci viewer {hash_token('t1')}\n")
        eventually(lambda: asks(client, "t1") == 200)

        replace("ann operator nonsense\n")
        with users.open("a") as file:
            file.write(f"ci viewer {hash_token('t2')}\n")
        eventually(lambda: asks(client, "t1") == 200 and "users.unread" in log.read_text())
        assert (asks(client, "t1"), asks(client, "t2")) == (200, 401)
        assert client.get("/audit", auth=("ann", "earl grey")).status_code == 200

        replace(f"ci viewer {hash_token('t3')}\n")
        eventually(lambda: asks(client, "t3") == 200)
        assert asks(client, "t1") == 401
        assert client.get("/audit", auth=("ann", "earl grey")).status_code == 401


def test_any_process_says_what_all_of_them_answered(
    environment: dict[str, str], tmp_path: Path
) -> None:
    def answered(client: httpx.Client) -> float:
        text = client.get("/metrics").text
        wanted = 'flowshift_http_request_duration_seconds_count{method="GET",route="/audit",status="2xx"}'
        lines = (line.rpartition(" ") for line in text.splitlines())
        return sum(float(value) for name, _, value in lines if name == wanted)

    with two(environment, tmp_path) as clients:
        for client in (clients[0], clients[0], clients[1]):
            assert client.get("/audit").status_code == 200
        eventually(lambda: [answered(one) for one in clients] == [3, 3])


def test_a_process_that_says_it_is_ready_takes_connections(
    current: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def ready(event: str, **_: object) -> None:
        asked.append(event)
        socket.create_connection(bound.getsockname(), timeout=10).close()

    monkeypatch.setattr(serve_command.log, "info", ready)
    stopped = SimpleNamespace(run=lambda sockets: None)
    monkeypatch.setattr(serve_command, "make_server", lambda _: stopped)
    beats = SimpleNamespace(start=lambda: None)
    monkeypatch.setattr(serve_command, "Heartbeat", lambda *_: beats)
    with listen("127.0.0.1", 0, who="the test", setting="") as bound:
        serve_command._serve(current, create_guarded(current, "127.0.0.1"), bound, "")
    assert asked == ["serve.ready"]
