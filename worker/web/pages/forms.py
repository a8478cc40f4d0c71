"""What forms of pages send: texts, since a browser sends nothing else; and the number that is typed."""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from worker.core.counted import counted
from worker.errors import UsageError
from worker.steps.tuning import Tuning

Short: TypeAlias = Annotated[str, Meta(max_length=200)]
Reason: TypeAlias = Annotated[str, Meta(max_length=2_000)]

_NONE: Final = "none"


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """Something to do, with the reason for the audit trail; `typed` is the number of bots at stake."""

    csrf_token: str = ""
    reason: Reason = ""
    typed: Short = ""

    @property
    def why(self) -> str | None:
        """The reason, None if none was given."""
        return self.reason.strip() or None


class Tune(Act, frozen=True, kw_only=True):
    """New limits: an empty text leaves one as it is, `none` removes it."""

    max_rate: Short = ""
    concurrency: Short = ""
    batch_size: Short = ""
    max_failures: Short = ""

    def tuning(self) -> Tuning:
        """The limits as numbers.

        Raises:
            UsageError: one is no number, or is removed that cannot be.
        """
        batch_size = _whole("batch size", self.batch_size)
        max_failures = _number("max failures", self.max_failures)
        if batch_size is None or max_failures is None:
            raise UsageError("batch size and max failures cannot be removed: give a number")
        return Tuning(
            max_rate=_number("max rate", self.max_rate),
            concurrency=_whole("concurrency", self.concurrency),
            batch_size=batch_size,
            max_failures=max_failures,
        )


class Retry(Act, frozen=True, kw_only=True):
    """Which failed bots are taken again: all of them, those of a code, or those that are named."""

    code: Short = ""
    bot: list[str] | str = ""

    @property
    def bot_ids(self) -> tuple[str, ...] | None:
        """The bots that were chosen, None if none were."""
        chosen = [self.bot] if isinstance(self.bot, str) else self.bot
        return tuple(one for one in chosen if one) or None

    def request_id(self, run_id: int) -> str:
        """The same for the same form of the same page: sent twice, it starts one run."""
        said = "\n".join((self.csrf_token, str(run_id), self.code, *(self.bot_ids or ())))
        return f"page-{hashlib.sha256(said.encode('utf-8', 'replace')).hexdigest()[:24]}"


class Accept(Act, frozen=True, kw_only=True):
    """The wave that is accepted."""

    wave: Short

    @property
    def wave_number(self) -> int:
        """The wave.

        Raises:
            UsageError: it is no number.
        """
        wave = _whole("wave", self.wave)
        if not isinstance(wave, int):
            raise UsageError("name the wave that is accepted")
        return wave


class RollBack(Act, frozen=True, kw_only=True):
    """A rollback as its preview was: of a wave, or of all that is out."""

    plan: Short = ""
    wave: Short = ""

    @property
    def wave_number(self) -> int | None:
        """The wave, None for all of them.

        Raises:
            UsageError: it is no number.
        """
        wave = _whole("wave", self.wave)
        return wave if isinstance(wave, int) else None


def need_typed(act: Act, bots: int) -> None:
    """Hold what was typed against the number of bots at stake.

    Raises:
        UsageError: it is another number, or none.
    """
    typed = "".join(act.typed.split()).replace(",", "")
    if typed != str(bots):
        said = f"you typed {act.typed!r}" if act.typed else "the number of bots was not typed"
        at_stake = counted(bots, "bot is", "bots are")
        raise UsageError(f"{said}, and {at_stake} at stake: nothing was changed")


def _number(name: str, text: str) -> float | UnsetType | None:
    text = text.strip().lower()
    if not text:
        return UNSET
    if text == _NONE:
        return None
    try:
        return float(text.replace(",", ""))
    except ValueError as error:
        raise UsageError(f"{name}: {text!r} is no number, nor `none`") from error


def _whole(name: str, text: str) -> int | UnsetType | None:
    value = _number(name, text)
    if value is None or value is UNSET:
        return value
    assert isinstance(value, float)  # noqa: S101  (for the type checker)
    if not value.is_integer():
        raise UsageError(f"{name}: {text!r} is no whole number")
    return int(value)
