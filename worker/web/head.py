"""HEAD, answered as GET is but without content (RFC 9110, 9.3.2)."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

_TEMPLATE: Final = "path_template"


class HeadAsGet:
    """An ASGI application around another, which sees GET instead of HEAD.

    What it answers has the status and the headers of GET. Of a stream nothing but the first piece is
    made: as soon as the headers are out, the application hears that the client is gone.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != ScopeType.HTTP or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        asked: Any = {**scope, "method": "GET"}
        await self._app(asked, receive, _without_content(send))
        _tell_route(asked, scope)


def _tell_route(asked: MutableMapping[str, Any], scope: Scope) -> None:
    """What counts requests around this finds the route in the scope that it knows."""
    outer: Any = scope
    if _TEMPLATE in asked:
        outer[_TEMPLATE] = asked[_TEMPLATE]


def _without_content(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            # Then the answer is whole: the server says so to what still waits for the client.
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return wrapped
