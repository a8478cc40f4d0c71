"""Which bots are finished with V1, so that it can be cleared, and which V1 can come back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, get_args

import msgspec

from worker.core.publication.preview import Group

DAY_S: Final = 86_400

LeftOut = Literal[
    "gone",
    "not_published",
    "finished",
    "written_since",
    "nothing_to_clear",
    "uses_v1",
    "no_live_version",
    "too_recent",
    "v1_edited",
    "no_execution",
    "busy",
]
"""Why a bot is left out; where several apply, the first in this order."""

LEFT_OUT: Final[tuple[LeftOut, ...]] = get_args(LeftOut)

Stays = Literal["gone", "not_finished", "written_since", "busy"]
"""Why the V1 of a bot is not restored."""

_LEFT_OUT_SAID: Final[Mapping[str, str]] = {
    "gone": "deleted since",
    "not_published": "flowshift has not published them, so since when they run V2 is not known",
    "finished": "finished already",
    "written_since": "finished before, and a V1 was written since",
    "nothing_to_clear": "no V1 and no backup of it is there",
    "uses_v1": "V1 answers",
    "no_live_version": "no version of them is published",
    "too_recent": "on V2 for too short a time",
    "v1_edited": "V1 was edited since they were published; --edited-v1 takes them, too",
    "no_execution": "no execution of their live version succeeded; --without-executions takes them, too",
    "busy": "locked by another session: run it again",
}
_STAYS_SAID: Final[Mapping[str, str]] = {
    "gone": "deleted by the platform; their V1 stays in flowshift.finished_bots",
    "not_finished": "not finished: there is nothing to restore",
    "written_since": "a V1 was written since, which nothing is written over",
    "busy": "locked by another session: run it again",
}


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a person asked for: so many days on V2, and which bots besides."""

    days: int = 30
    without_executions: bool = False
    edited_v1: bool = False


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """A bot as it stands.

    `on_v2_s` are the seconds since flowshift first published it after its last rollback, None if it
    did not. `has_v1` and `has_backup`: the column holds a workflow, either place a backup. `is_edited`:
    V1 is not what it was when it was last published. `was_executed`: an execution of the live
    version succeeded that was not flowshift's own. `is_finished`: its V1 was cleared before.
    """

    bot_id: str
    exists: bool = True
    uses_v2: bool = True
    has_live: bool = True
    has_v1: bool = True
    has_backup: bool = True
    is_edited: bool = False
    is_finished: bool = False
    was_executed: bool = True
    on_v2_s: float | None = None


def left_out(fact: Fact, rules: Rules) -> LeftOut | None:
    """Why V1 of a bot is not cleared; None if it is.

    >>> month = Fact(bot_id="b", on_v2_s=30 * DAY_S)
    >>> left_out(month, Rules(days=30)), left_out(month, Rules(days=31))
    (None, 'too_recent')
    """
    has_any = fact.has_v1 or fact.has_backup
    applies: dict[LeftOut, bool] = {
        "gone": not fact.exists,
        "not_published": fact.on_v2_s is None and fact.uses_v2 and not fact.is_finished,
        "finished": fact.is_finished and not has_any,
        "written_since": fact.is_finished and has_any,
        "nothing_to_clear": not has_any,
        "uses_v1": not fact.uses_v2,
        "no_live_version": not fact.has_live,
        "too_recent": (fact.on_v2_s or 0) < rules.days * DAY_S,
        "v1_edited": fact.has_v1 and fact.is_edited and not rules.edited_v1,
        "no_execution": not fact.was_executed and not rules.without_executions,
    }
    return next((code for code in LEFT_OUT if applies.get(code)), None)


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """A bot whose V1 is to come back, as it stands; `is_empty`: no V1 and no backup was written since."""

    bot_id: str
    is_finished: bool = True
    exists: bool = True
    is_empty: bool = True


def stays(one: Archived) -> Stays | None:
    """Why the V1 of a bot is not restored; None if it is."""
    if not one.is_finished:
        return "not_finished"
    if not one.exists:
        return "gone"
    return None if one.is_empty else "written_since"


class Preview(msgspec.Struct, frozen=True):
    """The bots that go, and those that are left out by why."""

    going: Group = Group()
    left_out: Mapping[str, Group] = {}

    def lines(self, *, is_undo: bool = False) -> list[str]:
        """In words, a line for each sort."""
        going = "V1 and its backup are restored" if is_undo else "V1 and its backup are cleared"
        said = _STAYS_SAID if is_undo else _LEFT_OUT_SAID
        lines = [self.going.line(going)]
        return lines + [group.line(f"left out: {said[why]}") for why, group in self._sorted()]

    def _sorted(self) -> list[tuple[str, Group]]:
        order = (*LEFT_OUT, "not_finished")
        return sorted(self.left_out.items(), key=lambda one: order.index(one[0]))


def preview(bots: Iterable[tuple[str, str | None]]) -> Preview:
    """Bots, each with why it is left out, as a preview; in one pass.

    >>> preview([("a", None), ("b", "uses_v1")]).lines()
    ["1 bot: V1 and its backup are cleared ('a')", "1 bot: left out: V1 answers ('b')"]
    """
    going, out = Group(), dict[str, Group]()
    for bot_id, why in bots:
        if why is None:
            going = going.add(bot_id)
        else:
            out[why] = out.get(why, Group()).add(bot_id)
    return Preview(going, out)
