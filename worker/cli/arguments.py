"""The types of arguments: numbers of runs, ages, and texts that the database can store."""

from __future__ import annotations

from typing import Any, Final

import click

from worker.core.policy.prune import parse_age
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
            f"{value!r} is not the number of a run: `flowshift runs` lists them", param, ctx
        )


class Age(click.ParamType):  # type: ignore[type-arg]
    """A time such as 30d, in seconds."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_age(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


AGE: Final = Age()
TEXT: Final = StorableText()
RUN: Final = RunNumber()
