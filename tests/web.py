"""`flowshift serve` in a thread of a test, on a free port of loopback, and a client for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import msgspec

from tests.live import eventually
from worker.processes.ports import listen
from worker.runtime import Runtime
from worker.web.app import create_guarded
from worker.web.doors.people import hash_token
from worker.web.server import make_server


@contextmanager
def serving(current: Runtime) -> Iterator[httpx.Client]:
    """The real server on `current`, and a client that knows its address; both end with the block."""
    with listen("127.0.0.1", 0, who="the test", setting="") as bound:
        server = make_server(create_guarded(current, "127.0.0.1"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        eventually(lambda: server.started)
        port = bound.getsockname()[1]
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60
            ) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(20)


@contextmanager
def serving_operator(current: Runtime, directory: Path) -> Iterator[httpx.Client]:
    """A client of the HTTP interface for ann, an operator; `v` is the token of vic, a viewer."""
    users = directory / "users"
    users.write_text(f"ann operator {hash_token('t')}\nvic viewer {hash_token('v')}\n")
    current.settings = msgspec.structs.replace(current.settings, web_users=str(users), web_rate=0)
    with serving(current) as client:
        client.base_url = client.base_url.join("/api/v1")
        client.headers["Authorization"] = "Bearer t"
        yield client


def said(answer: httpx.Response) -> tuple[int, str]:
    """The status and the code of a refusal."""
    return answer.status_code, answer.json()["code"]
