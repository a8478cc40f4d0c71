"""A standard stream whose lines become lines of the log."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Callable
from typing import Any, Final, TextIO

from worker.log.credentials import hide_credentials

LONGEST: Final = 16_384
"""Bytes of one log line; what prints more without a line feed gets several."""


class Lines(io.RawIOBase):
    """What is written becomes calls of `emit`, a line each; blank lines are left out.

    Each thread has its own unfinished line, so no lock exists that a forked child could inherit
    taken. What `emit` itself prints, because it fails, goes to the file `fd` as a line of JSON.
    """

    def __init__(self, emit: Callable[[str], None], fd: int) -> None:
        super().__init__()
        self._emit = emit
        self._fd = fd
        self._local = threading.local()

    @property
    def name(self) -> str:
        """For those who ask a file for its name."""
        return "<log>"

    def writable(self) -> bool:
        """Yes."""
        return True

    def fileno(self) -> int:
        """The file itself, for what is started with it."""
        return self._fd

    def write(self, data: Any, /) -> int:
        """Take bytes; returns how many, which is all of them."""
        taken = bytes(data)
        *lines, rest = (self._unfinished() + taken).split(b"\n")
        while len(rest) > LONGEST:
            lines.append(rest[:LONGEST])
            rest = rest[LONGEST:]
        self._local.unfinished = rest
        for line in lines:
            self._say(line)
        return len(taken)

    def flush(self) -> None:
        """Emit the unfinished line too: a program that flushes it wants it seen."""
        rest, self._local.unfinished = self._unfinished(), b""
        self._say(rest)

    def _unfinished(self) -> bytes:
        found: bytes = getattr(self._local, "unfinished", b"")
        return found

    def _say(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if not text:
            return
        if getattr(self._local, "is_busy", False):
            self._say_it_plainly(text)
            return
        self._local.is_busy = True
        try:
            self._emit(text)
        finally:
            self._local.is_busy = False

    def _say_it_plainly(self, text: str) -> None:
        line = json.dumps({"event": hide_credentials(text), "level": "error"})
        os.write(self._fd, f"{line}\n".encode())


class Captured(io.TextIOWrapper):
    """A stream for `sys.stdout` or `sys.stderr` in place of `real`."""

    def __init__(self, real: TextIO, emit: Callable[[str], None]) -> None:
        lines = Lines(emit, real.fileno())
        super().__init__(lines, encoding="utf-8", errors="backslashreplace", write_through=True)
        self.real = real


def underlying(stream: TextIO) -> TextIO:
    """The stream that a captured one stands for; any other is its own."""
    return stream.real if isinstance(stream, Captured) else stream
