"""One request of a channel over HTTP: a status or the kind of error back, in a bounded time."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

from worker import __version__
from worker.core.notify.retry import Answer, read_status
from worker.providers.loop import LoopThread
from worker.providers.retry import retry_after_s

if TYPE_CHECKING:
    import ssl

    import httpx2

TIMEOUT_S: Final = 15.0
"""All that one message may take, however slowly the other side answers."""

CONNECT_S: Final = 5.0

BEGINNING_BYTES: Final = 1_024
"""What is read of an answer: no channel says more that counts."""

# At `info` these write addresses, which are secrets here.
_CHATTY_LOGGERS: Final = ("httpx2", "httpcore2")


def post(
    loop: LoopThread,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    expects: bytes | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """Send `body` to exactly this address; no redirect is followed. Never raises for what comes back.

    With `expects` an answer counts as success only if it begins so: a proxy's page of greetings does not.
    """
    try:
        return loop.run(_post(url, body, headers, expects), timeout_s)
    except TimeoutError:
        return Answer("failed", f"no answer within {timeout_s:g} s")


async def _post(url: str, body: bytes, headers: Mapping[str, str], expects: bytes | None) -> Answer:
    try:
        async with (
            _client() as client,
            client.stream("POST", url, content=body, headers=dict(headers)) as response,
        ):
            answer = _read(response)
            if answer.result != "sent" or expects is None:
                return answer
            if (await _beginning(response)).strip().startswith(expects):
                return answer
            return Answer("failed", f"{answer.said}, but not what such a channel answers")
    except Exception as error:  # noqa: BLE001 - whatever comes: a name of ours, never its text
        return Answer("failed", _kind(error))


def _client() -> httpx2.AsyncClient:
    import httpx2  # noqa: PLC0415 - a tenth of a second that few processes need

    for name in _CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    return httpx2.AsyncClient(
        verify=_tls(),
        timeout=httpx2.Timeout(TIMEOUT_S, connect=CONNECT_S),
        follow_redirects=False,
        headers={"user-agent": f"flowshift/{__version__}"},
    )


@cache
def _tls() -> ssl.SSLContext:
    """How servers are verified; reading the certificates takes a while, so once a process."""
    import httpx2  # noqa: PLC0415

    return httpx2.create_ssl_context()


def _read(response: httpx2.Response) -> Answer:
    after_s = retry_after_s(response.headers.get("retry-after"), dt.datetime.now(dt.UTC))
    return read_status(response.status_code, after_s)


async def _beginning(response: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) >= BEGINNING_BYTES:
            break
    return bytes(body)


def _kind(error: Exception) -> str:
    """What went wrong in words of ours: the error's own may hold the address.

    >>> _kind(type("ConnectTimeout", (Exception,), {})("https://hooks.example/secret"))
    'no connection: ConnectTimeout'
    """
    name = type(error).__name__
    return f"no connection: {name}" if name.startswith("Connect") else f"no answer: {name}"
