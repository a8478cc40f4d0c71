"""An alarm that stands: what it was, and what came since, of the wave and of the bots out before."""

from __future__ import annotations

from typing import Literal

import msgspec

from worker.core.publication.baseline import NOTHING, Count, Metric, Number, Sums

Kind = Literal["brake", "rate", "quarantine", "silence"]


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """Why a wave fails.

    `count` is what was seen of `metric`: executions; for `quarantine` bots, for `silence` none of
    the executions that were to come. `log_e` is the logarithm of its E-value, None if none
    decides. `control_too`: the bots that were out before alarm too, so that it is an outage.
    """

    kind: Kind
    count: Count
    metric: Metric | None = None
    bots: int = 0
    p0: float | None = None
    log_e: float | None = None
    control: Count = NOTHING
    control_too: bool = False


class Alarmed(msgspec.Struct, frozen=True, kw_only=True):
    """Since `at_s` something is wrong: with a wave, which is held for its `alarm`, or with single bots.

    `bots` are those that were sick then; without an `alarm` their wave goes on. Times are seconds since
    1970 by the database's clock.
    """

    at_s: float
    alarm: Alarm | None = None
    bots: tuple[str, ...] = ()


class Came(Sums, frozen=True):
    """Executions since an alarm; `running` are those of which it is not known yet what becomes of them.

    >>> Came(executions=3, failed=1).plus(Came(executions=2, running=4))
    Came(executions=5, failed=1, slow=0, costly=0, running=4)
    """

    running: Number = 0


NONE_CAME = Came()


class Later(msgspec.Struct, frozen=True, kw_only=True):
    """What came since an alarm.

    `sick` are the bots that were sick then, each by itself, `others` the rest of the wave together, and
    `control` the bots that were out before it.
    """

    sick: dict[str, Came] = {}
    others: Came = NONE_CAME
    control: Came = NONE_CAME

    @property
    def of_sick(self) -> Came:
        """The bots that were sick, together."""
        total = NONE_CAME
        for one in self.sick.values():
            total = total.plus(one)
        return total

    @property
    def wave(self) -> Came:
        """The whole wave."""
        return self.of_sick.plus(self.others)
