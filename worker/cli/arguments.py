"""What is typed behind a command: numbers of runs, and texts that the database can look for."""

from __future__ import annotations

from typing import Any, Final

import click

from worker.core.storable import INT8_MAX, unstorable


class StorableText(click.ParamType):  # type: ignore[type-arg]
    """A text that a column can hold."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if why := unstorable(str(value)):
            self.fail(f"{value!r} cannot be used: {why}", param, ctx)
        return str(value)


class RunNumber(click.ParamType):  # type: ignore[type-arg]
    """The number of a run."""

    name = "run"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip()
        if text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) <= INT8_MAX:
            return int(text)
        return self.fail(
            f"{value!r} is no run: a run is a number from 1, see `flowshift runs`", param, ctx
        )


TEXT: Final = StorableText()
RUN: Final = RunNumber()
