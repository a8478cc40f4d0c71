"""Run pg_dump or pg_restore: watched, stopped with us, and what it complains of kept."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from worker.db.database_backups.client import Client
from worker.log import hide_credentials
from worker.steps.backup import attached

_LOOK_EVERY_S: Final = 0.25
_END_S: Final = 5.0
_LINES: Final = 200


class Ended(msgspec.Struct, frozen=True):
    """How a program ended: its exit code (negative: by that signal) and its lines on standard error."""

    code: int
    lines: tuple[str, ...]

    def problems(self) -> tuple[str, ...]:
        """The lines that say that something went wrong, without the program's name."""
        marks = ("error: ", "warning: ", "fatal: ", "detail: ")
        found = [
            line.partition(mark)[2]
            for line in self.lines
            for mark in marks
            if line.startswith(("pg_dump: ", "pg_restore: ")) and mark in line
        ]
        return tuple(found) or self.lines

    @property
    def reason(self) -> str:
        """In one line why it failed."""
        if self.code < 0:
            return f"it was ended by signal {-self.code}"
        return (self.problems() or (f"it ended with {self.code} and said nothing",))[0]


def run(
    program: Path,
    arguments: Sequence[str],
    client: Client,
    tick: Callable[[], None] = lambda: None,
) -> Ended:
    """Run a program to its end; `tick` is called several times a second meanwhile.

    The password goes by the environment, messages come in English. Whatever ends us, Ctrl-C too,
    ends the program first; if that is SIGKILL, Linux ends it after us.
    """
    environment = {**os.environ, **client.environment, "LC_ALL": "C"}
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [*_ends_with_us(program), *arguments, f"--dbname={client.conninfo}", "--no-password"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            env=environment,
            umask=0o077,
        )
        try:
            while not _has_ended(process):
                tick()
        except BaseException:
            _end(process)
            raise
        complaints.seek(0)
        text = hide_credentials(complaints.read().decode(errors="replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return Ended(process.returncode, tuple(lines[:_LINES]))


def _ends_with_us(program: Path) -> list[str]:
    return [sys.executable, "-I", "-S", attached.__file__, str(os.getpid()), str(program)]


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_LOOK_EVERY_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
