"""An event that people are told of, and the catalogue of its kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

import msgspec

Level = Literal["info", "warning", "error"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)
"""From what may be read tomorrow to what wakes a person."""

KINDS: Final[Mapping[str, str]] = {
    "run.completed": "a run ended, and no bot of it failed",
    "run.completed_with_failures": "a run ended, and bots or batches of it failed",
    "run.failed": "a run could not be planned: nothing was done",
    "run.cancelled": "a person ended a run",
    "run.paused": "a run paused itself: too many failures, or a health check said stop",
    "run.waiting": "a run has waited for a health check for long, or goes on again",
    "worker.missing": "no worker answers while a run waits for one, or one answers again",
    "wave.failed": "the gate saw a wave fail",
    "wave.inconclusive": "the gate saw too little of a wave in the time allowed",
    "publication.held": "a publication waits for a person, for its health, or for its run",
    "publication.completed": "every wave of a publication is out, and passed or was accepted",
    "publication.stopped": "a person stopped a publication for good",
    "publication.rolling_back": "a rollback began",
    "publication.rolled_back": "a rollback ended: what became of the publication",
    "bots.quarantined": "the gate gave single sick bots back to V1",
    "prune.stopped": "a prune ended before it was done",
    "prune.missed": "the prune of a day did not begin, or is done again",
    "alert.firing": "a rule of FLOWSHIFT_ALERTS holds",
    "alert.resolved": "and holds no longer",
    "test": "`flowshift notify test` sent this",
}
"""Every kind of event, which a channel names in `events`, and what happened. Also a webhook's `type`."""

QUIET_S: Final = 300.0
"""Of one cause two messages go at once; the next waits until the first is so old, and says the last."""

TITLE_MAX: Final = 200
REASON_MAX: Final = 2_000


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What happened, to what, and what to do next.

    `key` names the cause: of one cause few messages are sent, see `QUIET_S`. `next_step` is a command,
    `page` the path of its page below FLOWSHIFT_WEB_URL. `detail` holds ids for programs.
    """

    kind: str
    level: Level
    key: str
    title: str
    reason: str | None = None
    next_step: str | None = None
    page: str = "/"
    detail: Mapping[str, int | str | None] = {}


def is_wanted(level: Level, least: Level) -> bool:
    """Whether an event is at least as grave as a channel asks for.

    >>> is_wanted("error", "warning"), is_wanted("info", "warning")
    (True, False)
    """
    return LEVELS.index(level) >= LEVELS.index(least)
