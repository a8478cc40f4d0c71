"""One running program of the platform: its pipes, read and written without ever waiting on one alone."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from worker.platform.command import Command
from worker.platform.protocol import MAX_LINE_BYTES

_GUARD: Final = Path(__file__).with_name("guard.py")
_CHUNK: Final = 256 * 1024
_ERROR_BYTES: Final = 4 * 1024
_END_S: Final = 5.0


class ProcessError(Exception):
    """The program ended, or wrote more than a line may have."""


class Process:
    """A program that is running, and its guard.

    It belongs to the process that started it: a fork may not use it.

    Raises:
        OSError: not even the guard could be started.
    """

    def __init__(self, command: Command) -> None:
        lifeline, self._lifeline = os.pipe()
        try:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", _GUARD, str(lifeline), *command.argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(command.environment),
                pass_fds=[lifeline],
                start_new_session=True,
                bufsize=0,
            )
        except OSError:
            os.close(self._lifeline)
            raise
        finally:
            os.close(lifeline)
        assert self._guard.stdin and self._guard.stdout and self._guard.stderr  # noqa: S101, PT018
        self._in, self._out, self._err = self._guard.stdin, self._guard.stdout, self._guard.stderr
        self._selector = selectors.DefaultSelector()
        for pipe in (self._in, self._out, self._err):
            os.set_blocking(pipe.fileno(), False)
        self._selector.register(self._out, selectors.EVENT_READ)
        self._selector.register(self._err, selectors.EVENT_READ)
        self._to_write: list[memoryview] = []
        self._read = bytearray()
        self._searched = 0
        self._said = b""

    @property
    def said(self) -> str:
        """The end of what it wrote to its standard error."""
        return self._said.decode("utf-8", "backslashreplace").strip()

    def send(self, line: bytes) -> None:
        """Write a line as soon as the program reads it."""
        if not self._to_write:
            self._selector.register(self._in, selectors.EVENT_WRITE)
        self._to_write.append(memoryview(line))

    def exchange(self, wait_s: float) -> list[bytes]:
        """Read and write what can be, within `wait_s` seconds; returns the lines that came.

        Raises:
            ProcessError: it ended, or a line is too long. What it wrote before counts no more.
        """
        for key, _ in self._selector.select(max(0.0, wait_s)):
            if key.fileobj is self._err:
                self._drain_errors()
            elif key.fileobj is self._in:
                self._write()
            else:
                self._read_more()
        return self._lines()

    def _drain_errors(self) -> None:
        data = os.read(self._err.fileno(), _CHUNK)
        if not data:
            self._selector.unregister(self._err)
        self._said = (self._said + data)[-_ERROR_BYTES:]

    def _write(self) -> None:
        first = self._to_write[0]
        try:
            written = os.write(self._in.fileno(), first[:_CHUNK])
        except BlockingIOError:
            return
        except BrokenPipeError:
            # How it ended, and what it wrote before, is read where it wrote.
            self._to_write.clear()
            self._selector.unregister(self._in)
            return
        if written < len(first):
            self._to_write[0] = first[written:]
            return
        del self._to_write[0]
        if not self._to_write:
            self._selector.unregister(self._in)

    def _read_more(self) -> None:
        data = os.read(self._out.fileno(), _CHUNK)
        if not data:
            raise ProcessError(self._how_it_ended())
        self._read += data

    def _lines(self) -> list[bytes]:
        if (end := self._read.rfind(b"\n", self._searched)) < 0:
            self._searched = len(self._read)
            if len(self._read) > MAX_LINE_BYTES:
                raise ProcessError(f"it wrote a line of over {MAX_LINE_BYTES:,} bytes")
            return []
        whole = bytes(self._read[:end])
        del self._read[: end + 1]
        self._searched = 0
        return whole.split(b"\n")

    def _how_it_ended(self) -> str:
        """In words, once its output is at its end."""
        half = f" after half a line of {len(self._read):,} bytes" if self._read else ""
        try:
            code = self._guard.wait(_END_S)
        except subprocess.TimeoutExpired:
            return f"it closed its output{half} and went on running"
        with contextlib.suppress(OSError, ValueError, KeyError):
            self._drain_errors()
        return f"{how_it_ended(code)}{half}"

    def stop(self) -> None:
        """End the program with its whole process group, and wait for that. Safe to repeat."""
        if self._lifeline < 0:
            return
        self.forget()
        try:
            self._guard.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()

    def forget(self) -> None:
        """Close our ends, which ends the program; in a fork, the fork's ends alone. Waits for nothing."""
        if self._lifeline < 0:
            return
        self._selector.close()
        for pipe in (self._in, self._out, self._err):
            with contextlib.suppress(OSError):
                pipe.close()
        os.close(self._lifeline)
        self._lifeline = -1


def how_it_ended(code: int) -> str:
    """An exit code of the guard's in words.

    >>> how_it_ended(3), how_it_ended(139)
    ('it exited with code 3', 'it was killed by signal 11 (SIGSEGV)')
    """
    number = code - 128
    if number <= 0:
        return f"it exited with code {code}"
    try:
        return f"it was killed by signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"it exited with code {code}"
