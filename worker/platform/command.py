"""What is run to ask the platform, and with which environment."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from worker.core.printable import escape
from worker.errors import ConfigError
from worker.settings.platform import ENTRY_POINT, program

PASSED_ON: Final = re.compile(
    r"PATH|HOME|USER|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|PYTHONPATH|VIRTUAL_ENV"
)
"""The variables that every program gets; no setting of flowshift's is one, and no password."""


class Command(msgspec.Struct, frozen=True):
    """A program, its arguments and its whole environment. No shell reads them."""

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return escape(shlex.join(self.argv))


def command(
    value: str, *, setting: str, passed_on: Collection[str], environ: Mapping[str, str]
) -> Command:
    """The command that the value of a setting names, as it is run here.

    `passed_on` are variables that the program gets beside those that every program gets.

    Raises:
        ConfigError: there is no such program, or it may not be run.
    """
    argv = program(value)
    if argv[0].startswith(ENTRY_POINT):
        name = argv[0].removeprefix(ENTRY_POINT)
        argv = (sys.executable, "-m", "worker.platform.host", name)
    found = shutil.which(argv[0], path=environ.get("PATH"))
    if found is None:
        message = f"there is no program {argv[0]!r} that can be run here"
        raise ConfigError(message, setting=setting)
    kept = {
        name: value
        for name, value in environ.items()
        if name in passed_on or PASSED_ON.fullmatch(name)
    }
    return Command((found, *argv[1:]), tuple(sorted(kept.items())))
