"""The outermost layer: every request passes it, whatever its path, and every answer gets its headers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar.concurrency import sync_to_thread
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from worker.log import get_logger
from worker.web.doors.credentials import Entry
from worker.web.doors.origin import why_foreign
from worker.web.doors.people import Person
from worker.web.doors.rate import Rate
from worker.web.problems import MEDIA_TYPE, Problem

log = get_logger(__name__)

BODY_S: Final = 30.0
"""So long the whole body of a request may take to arrive."""

REFUSED_COST: Final = 25.0
"""So many requests a wrong password counts as."""

PUBLIC: Final = frozenset({"/health/live", "/health/ready"})
"""What probes ask, without credentials: it says nothing but that it works."""

HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer a browser hides its Origin from our own forms
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""On every answer; a handler's own win."""

_ENCODED: Final = tuple((name.encode(), value.encode()) for name, value in HEADERS.items())

Headers = dict[str, str]


class Gatekeeper:
    """An ASGI application in front of another: it lets in those who may, and says who they are.

    Behind it `scope["user"]` is a `Person`.
    """

    def __init__(
        self,
        app: ASGIApp,
        entry: Entry,
        hosts: frozenset[str],
        rate: Rate,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._entry = entry
        self._hosts = hosts
        self._rate = rate
        self._clock = clock
        self._computing = asyncio.Semaphore(2)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        send = _with_headers(send)
        headers = _read(scope)
        refused = self._refuse(scope, headers) or await self._let_in(scope, headers)
        if refused is not None:
            await _answer(send, *refused)
            return
        await self._app(scope, _in_time(receive), send)

    def _refuse(self, scope: Scope, headers: Headers) -> Refusal | None:
        wait_s = self._rate.wait_s(_peer(scope), self._clock())
        if wait_s:
            said = f"too many requests: ask again in {wait_s} s"
            return _refusal(HTTPStatus.TOO_MANY_REQUESTS, said, ("retry-after", str(wait_s)))
        if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
            said = "the path or the query holds a NUL, which no column can hold"
            return _refusal(HTTPStatus.BAD_REQUEST, said, code="invalid_request")
        why = why_foreign(str(scope.get("method")), headers, self._hosts)
        return _refusal(HTTPStatus.FORBIDDEN, why) if why else None

    async def _let_in(self, scope: Scope, headers: Headers) -> Refusal | None:
        person = await self._who(scope, headers)
        if person is not None or scope["path"] in PUBLIC:
            scope["user"] = person or Person("nobody", "viewer")
            scope["auth"] = None
            return None
        if "authorization" in headers:
            self._rate.charge(_peer(scope), self._clock(), REFUSED_COST)
            log.warning("entry.refused", peer=_peer(scope))
        said = "say who you are: a name and a password, or a token"
        asks = ("www-authenticate", 'Basic realm="flowshift", charset="UTF-8"')
        return _refusal(HTTPStatus.UNAUTHORIZED, said, asks)

    async def _who(self, scope: Scope, headers: Headers) -> Person | None:
        person = self._entry.at_once(headers, _peer(scope), self._clock())
        if person is not None or not self._entry.has_password(headers):
            return person
        async with self._computing:
            return await sync_to_thread(self._entry.by_password, headers, self._clock())


Refusal = tuple[Problem, tuple[tuple[str, str], ...]]


def _refusal(
    status: HTTPStatus, detail: str, *headers: tuple[str, str], code: str | None = None
) -> Refusal:
    said = Problem(
        type="about:blank",
        title=status.phrase,
        status=status,
        detail=detail,
        code=code or status.name.lower(),
    )
    return said, headers


async def _answer(send: Send, said: Problem, headers: tuple[tuple[str, str], ...]) -> None:
    body = msgspec.json.encode(said)
    ours = (("content-type", MEDIA_TYPE), ("content-length", str(len(body))), *headers)
    # The body of what is refused is not read: the connection ends.
    encoded = [(name.encode(), value.encode()) for name, value in (*ours, ("connection", "close"))]
    start: Any = {"type": "http.response.start", "status": said.status, "headers": encoded}
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _read(scope: Scope) -> Headers:
    """The headers of a request; of several of one name the last counts, of Host and Origin none."""
    found: Headers = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        twice = name in found and name in ("host", "origin", "authorization")
        found[name] = "" if twice else value
    return found


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message["headers"]}
            missing = [pair for pair in _ENCODED if pair[0] not in there]
            message["headers"] = [*message["headers"], *missing]
        await send(message)

    return wrapped


def _in_time(receive: Receive) -> Receive:
    """The body of a request, for which a client that sends slowly is not waited for long.

    Once it is whole, what comes is only that the client is gone: an answer may take as long as it takes.
    """
    until: float | None = None
    whole = False

    async def wrapped() -> Any:
        nonlocal until, whole
        if whole:
            return await receive()
        now = asyncio.get_running_loop().time()
        until = now + BODY_S if until is None else until
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError:
            raise HTTPException(
                status_code=HTTPStatus.REQUEST_TIMEOUT,
                detail=f"the body did not arrive within {BODY_S:.0f} s",
                headers={"connection": "close"},
            ) from None
        whole = not message.get("more_body", False)
        return message

    return wrapped
