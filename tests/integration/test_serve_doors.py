"""Who may come in by HTTP: credentials, roles, hosts, forms, limits; on the real server."""

from __future__ import annotations

import asyncio
import base64
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import msgspec
import pytest
from litestar import get, post
from litestar.response import Stream

from tests.integration.conftest import Run
from tests.web import serving
from worker.errors import ConfigError
from worker.runtime import Runtime
from worker.settings import Settings
from worker.web import api, pages
from worker.web.doors.credentials import make_entry
from worker.web.doors.gatekeeper import HEADERS
from worker.web.doors.people import hash_password, hash_token, read_people
from worker.web.given import CsrfToken, Who
from worker.web.protocol import Protocol

PASSWORD = "earl grey tea"
TOKEN = "fs_token"


@get("/try/form")
async def form(csrf_token: CsrfToken) -> str:
    return csrf_token


@post("/try/form")
async def sent(who: Who) -> str:
    return who.name


@post("/try/api")
async def act(who: Who) -> str:
    return who.name


@get("/try/large")
async def large() -> bytes:
    return b"x" * (64 << 20)


@get("/try/slow")
async def slow() -> Stream:
    async def lines() -> AsyncIterator[bytes]:
        for _ in range(6):
            await asyncio.sleep(0.1)
            yield b"line\n"

    return Stream(lines())


@pytest.fixture(autouse=True)
def rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    """An action of the API and a form of a page, for the doors alone."""
    monkeypatch.setattr(api, "HANDLERS", (*api.HANDLERS, act, large, slow))
    monkeypatch.setattr(pages, "HANDLERS", (*pages.HANDLERS, form, sent))


@contextmanager
def with_settings(current: Runtime, **changed: object) -> Iterator[httpx.Client]:
    current.settings = msgspec.structs.replace(current.settings, **changed)
    with serving(current) as client:
        yield client


@pytest.fixture
def users(tmp_path: Path) -> str:
    path = tmp_path / "users"
    path.write_text(
        f"ann operator {hash_password(PASSWORD)}\n"
        f"bob viewer {hash_password(PASSWORD)}\n"
        f"ci operator {hash_token(TOKEN)}\n"
        "eve operator proxy\n"
    )
    return str(path)


def test_on_loopback_nobody_is_asked_and_every_answer_has_its_headers(current: Runtime) -> None:
    with with_settings(current) as client:
        answers = [client.get("/"), client.get("/nowhere"), client.post("/try/api")]
        missing = client.get("/", headers={"Host": "evil.example"})

    assert [one.status_code for one in answers] == [200, 404, 201]
    assert answers[2].text.startswith("http@")
    assert (missing.status_code, missing.json()["code"]) == (403, "forbidden")
    for one in (*answers, missing):
        assert {name: one.headers[name] for name in HEADERS} == HEADERS
        assert "server" not in one.headers


def test_with_users_only_they_come_in_and_probes(current: Runtime, users: str) -> None:
    with with_settings(current, web_users=users) as client:
        nobody = client.get("/")
        probe = client.get("/health/ready")
        wrong = [
            client.get("/", auth=("ann", "earl grey")),
            client.get("/", auth=("eve", PASSWORD)),
            client.get("/", headers={"Authorization": f"Bearer {TOKEN}x"}),
            client.get("/", headers={"Authorization": "Basic %%%"}),
        ]
        by_password = [client.post("/try/api", auth=("ann", PASSWORD)) for _ in range(2)]
        by_token = client.post("/try/api", headers={"Authorization": f"Bearer {TOKEN}"})

    assert (nobody.status_code, nobody.headers["www-authenticate"][:5]) == (401, "Basic")
    assert nobody.json()["code"] == "unauthorized"
    assert probe.status_code == 200
    assert [one.status_code for one in wrong] == [401] * 4
    assert [one.text for one in by_password] == ["ann", "ann"]
    assert by_token.text == "ci"


def test_a_viewer_looks_and_does_not_act(current: Runtime, users: str) -> None:
    with with_settings(current, web_users=users) as client:
        looked = client.get("/", auth=("bob", PASSWORD))
        acted = client.post("/try/api", auth=("bob", PASSWORD))

    assert looked.status_code == 200
    assert (acted.status_code, acted.json()["code"]) == (403, "forbidden")
    assert "bob is a viewer" in acted.json()["detail"]


def test_a_wrong_password_is_neither_logged_nor_tried_often(
    current: Runtime, users: str, caplog: pytest.LogCaptureFixture
) -> None:
    with with_settings(current, web_users=users, web_rate=1) as client:
        tried = [client.get("/", auth=("ann", f"s3cret-{n}")).status_code for n in range(2)]

    said = caplog.text
    assert tried == [401, 429]
    assert "entry.refused" in said
    assert "s3cret" not in said
    assert base64.b64encode(b"ann:s3cret-0").decode() not in said


def test_a_proxys_word_counts_from_its_own_address_alone(current: Runtime, users: str) -> None:
    ours = {"web_proxy_header": "X-Forwarded-User", "web_users": users}
    by = {name: {"X-Forwarded-User": name} for name in ("eve", "dan", "a:b")}
    with with_settings(current, **ours, web_proxy_peers="127.0.0.0/8") as client:
        known = client.post("/try/api", headers=by["eve"])
        stranger = [client.get("/", headers=by["dan"]), client.post("/try/api", headers=by["dan"])]
        unfit = client.get("/", headers=by["a:b"])
    with with_settings(current, **ours, web_proxy_peers="10.0.0.1") as client:
        forged = client.get("/", headers=by["eve"])
    with with_settings(
        current, **ours, web_proxy_peers="127.0.0.1", web_proxy_role="none"
    ) as client:
        unknown = client.get("/", headers=by["dan"])

    assert known.text == "eve"
    assert [one.status_code for one in stranger] == [200, 403]
    assert [one.status_code for one in (unfit, forged, unknown)] == [401, 401, 401]


def test_a_form_needs_its_token_and_a_page_of_another_site_is_refused(current: Runtime) -> None:
    with with_settings(current) as client:
        token = client.get("/try/form").text
        good = client.post("/try/form", data={"csrf_token": token})
        script = client.post("/try/form", headers={"X-CSRF-Token": token})
        without = client.post("/try/form", data={"csrf_token": token[:-1]})
        foreign = client.post("/try/api", headers={"Origin": "https://evil.example"})

    assert (good.status_code, script.status_code) == (201, 201)
    assert (without.status_code, "load its page again" in without.text) == (403, True)
    assert (foreign.status_code, "another site" in foreign.text) == (403, True)


def test_one_address_cannot_ask_without_end(current: Runtime) -> None:
    with with_settings(current, web_rate=1) as client:
        answers = [client.get("/health/live") for _ in range(6)]

    assert [one.status_code for one in answers][:4] == [200] * 4
    assert answers[-1].status_code == 429
    assert answers[-1].headers["retry-after"] == "1"


def test_a_body_that_is_too_large_is_refused_unread(current: Runtime) -> None:
    with with_settings(current) as client:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = client.post("/try/form", content=b"x" * (9 << 20), headers=kind)

    assert answer.status_code == 413
    assert answer.json()["code"] == "request_entity_too_large"


def ended(client: httpx.Client, *, first: bytes, then: bytes = b"") -> bytes:
    """What the server says until it ends the connection, to which `first` and slowly `then` came."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as raw:
        raw.sendall(first)
        raw.settimeout(0.1)
        said, sent = b"", False
        while True:
            try:
                part = raw.recv(4096)
            except TimeoutError:
                raw.sendall(then)
                sent = True
                continue
            except ConnectionError:
                return said
            if not part:
                return said
            said += part
            assert sent or not then or said


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n", b"X: y\r\n"),
        (b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\nG", b"E"),
    ],
    ids=["nothing", "head", "second"],
)
def test_a_client_that_sends_the_head_slowly_is_cut_off(
    current: Runtime, monkeypatch: pytest.MonkeyPatch, first: bytes, then: bytes
) -> None:
    monkeypatch.setattr(Protocol, "head_s", 0.5)
    with with_settings(current) as client:
        said = ended(client, first=first, then=then)

    assert said == b"" or said.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_client_that_sends_its_body_slowly_is_told_so_and_cut_off(
    current: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.web.doors.gatekeeper.BODY_S", 0.5)
    head = b"POST /try/form HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
    kind = b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    with with_settings(current) as client:
        said = ended(client, first=head + kind, then=b"a")

    assert said.startswith(b"HTTP/1.1 408 Request Timeout\r\n")


def test_an_answer_may_take_longer_than_a_body_may(
    current: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.web.doors.gatekeeper.BODY_S", 0.2)
    with with_settings(current) as client:
        assert client.get("/try/slow").text == "line\n" * 6


def test_a_client_that_does_not_read_its_answer_is_cut_off(
    current: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Protocol, "read_s", 0.5)
    monkeypatch.setattr("worker.web.server.KEEP_ALIVE_S", 3600)
    lost = threading.Event()
    inherited = Protocol.connection_lost

    def connection_lost(self: Protocol, exc: Exception | None) -> None:
        inherited(self, exc)
        lost.set()

    monkeypatch.setattr(Protocol, "connection_lost", connection_lost)
    with with_settings(current) as client:
        place = (client.base_url.host, client.base_url.port or 80)
        with socket.create_connection(place) as raw:
            raw.sendall(b"GET /try/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert lost.wait(60)


def test_beyond_loopback_it_listens_only_where_it_asks_who_comes(
    current: Runtime, users: str
) -> None:
    with pytest.raises(ConfigError, match="FLOWSHIFT_WEB_USERS"):
        make_entry(current.settings, "0.0.0.0")

    asks = msgspec.structs.replace(current.settings, web_users=users)
    assert not make_entry(asks, "0.0.0.0").is_open


def test_a_proxys_header_is_not_believed_without_saying_from_whom() -> None:
    with pytest.raises(ConfigError, match="FLOWSHIFT_WEB_PROXY_PEERS"):
        Settings(web_proxy_header="X-User")
    with pytest.raises(ConfigError, match="FLOWSHIFT_WEB_PROXY_HEADER"):
        Settings(web_proxy_peers="10.0.0.1")


def test_the_command_makes_lines_that_the_file_takes(flowshift: Run, tmp_path: Path) -> None:
    code, line, _ = flowshift("credential", "ann", "--role", "operator", stdin=b"earl grey tea\n")
    assert (code, line.split()[:2]) == (0, ["ann", "operator"])
    code, with_token, err = flowshift("credential", "ci", "--token")
    token = err.strip().rpartition(" ")[2]
    _, by_proxy, _ = flowshift("credential", "eve", "--proxy")
    assert flowshift("credential", "ann", stdin=b"short\n")[0] == 2
    assert flowshift("credential", "a:b", "--proxy")[0] == 2
    (tmp_path / "users").write_text(line + with_token + by_proxy)

    found = read_people(tmp_path / "users")
    assert found.with_password("ann", "earl grey tea") is not None
    assert found.with_token(token) is not None
    assert "earl" not in line
    assert token not in with_token
