"""The beat's own sender, for when no worker sends: that none works is what people must be told of.

Workers come first: what has been due for `OVERDUE_S` is sent from here, under the same leases, so that
nothing is sent by both.
"""

from __future__ import annotations

from typing import Final

from worker.log import get_logger
from worker.processes.watch import Watch
from worker.runtime import Runtime
from worker.steps.notify.due import is_sending_due
from worker.steps.notify.send import give_up, know_channels, send_due

log = get_logger(__name__)

OVERDUE_S: Final = 20.0
"""So long a worker has to begin sending: one that is free takes the message in a moment."""

EVERY_S: Final = 5.0


def notifier(current: Runtime, *, overdue_s: float = OVERDUE_S) -> Watch:
    """What sends, on connections of its own, what no worker has sent."""
    own = Runtime(current.settings, current.servers)
    known = False

    def look() -> None:
        nonlocal known
        if not known:  # before there is something to send: what happens from now on is for them
            know_channels(own)
            known = True
        give_up(own)  # also for channels that are in no file any more
        if is_sending_due(own, waited_s=overdue_s):
            log.info("notification.sent_by_beat", result=str(send_due(own)))

    return Watch("notifier", look, every_s=EVERY_S, close=own.close)
