"""The types of arguments: numbers, numbers of runs, ages, and texts that the database can store."""

from __future__ import annotations

import re
from typing import Any, Final

import click

from worker.core.policy.prune import parse_age
from worker.core.storable import INT8_MAX, unstorable

MOST: Final = 1_000_000_000
"""The largest number that an option takes if it names none: columns and clocks hold it."""

_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")
_DECIMAL: Final = re.compile(r"-?([0-9]{1,18}\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]{1,3})?", re.IGNORECASE)


class StorableText(click.ParamType):  # type: ignore[type-arg]
    """A text that a column can hold."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if why := unstorable(str(value)):
            self.fail(f"{value!r} cannot be used: {why}", param, ctx)
        return str(value)


class Whole(click.IntRange):
    """A whole number from `least` to `most`, written in the digits 0 to 9."""

    def __init__(self, least: int, most: int | None = None) -> None:
        super().__init__(least, most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text, most = str(value).strip(), MOST if self.max is None else self.max
        if _WHOLE.fullmatch(text) and (self.min or 0) <= int(text) <= most:
            return int(text)
        return self.fail(f"{value!r} is not a whole number {_range(self.min, most)}", param, ctx)


class Number(click.FloatRange):
    """A number from `least` to `most`, written in the digits 0 to 9, with or without decimals."""

    def __init__(self, least: float, most: float) -> None:
        super().__init__(least, most)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        text, most = str(value).strip(), MOST if self.max is None else self.max
        if _DECIMAL.fullmatch(text) and (self.min or 0) <= float(text) <= most:
            return float(text)
        return self.fail(f"{value!r} is not a number {_range(self.min, most)}", param, ctx)


def _range(least: float | None, most: float) -> str:
    """A range in words.

    >>> _range(0.01, 1_000_000.0), _range(None, 1.0)
    ('from 0.01 to 1,000,000', 'from 0 to 1')
    """
    return " to ".join((f"from {least or 0:,.15g}", f"{most:,.15g}"))


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
