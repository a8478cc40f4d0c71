"""HTTP on one connection: uvicorn's, which does not wait for ever for a client that is slow.

uvicorn waits without an end for the head of a request, once a byte of it came or where none came yet,
and for a client that does not read its answer.
"""

from __future__ import annotations

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S: Final = 10.0
"""So long the head of a request may take to arrive."""

READ_S: Final = 30.0
"""So long a client may take to read what waits for it (64 KiB at most)."""


class Protocol(H11Protocol):
    """uvicorn's protocol with two more time-outs."""

    head_s = HEAD_S
    read_s = READ_S
    _head: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the head of a request."""
        super().connection_made(transport)
        self._head = self.loop.call_later(self.head_s, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Take what came; the head of a request has as long from its first byte on."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._forget_head()
        elif self._head is None and not self.transport.is_closing():
            self._head = self.loop.call_later(self.head_s, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._forget_head()
        self._forget_unread()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """More waits for the client than it reads."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.read_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It has read enough of it."""
        super().resume_writing()
        self._forget_unread()

    def timeout_keep_alive_handler(self) -> None:
        """No other request came: close, and do not wait until the client has read the last answer."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(self.read_s, self.transport.abort)

    def _forget_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
