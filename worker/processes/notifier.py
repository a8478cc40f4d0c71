"""The beat's own sender, for when no worker sends: that none works is what people must be told of.

A thread with connections of its own. Workers come first: what has been due for `OVERDUE_S` is sent from
here, under the same leases, so that nothing is sent by both.
"""

from __future__ import annotations

import threading
from typing import Final

from worker.errors import FlowshiftError
from worker.log import get_logger
from worker.runtime import Runtime
from worker.steps.notify.due import is_sending_due
from worker.steps.notify.send import send_due

log = get_logger(__name__)

OVERDUE_S: Final = 20.0
"""So long a worker has to begin sending: one that is free takes the message in a moment."""

EVERY_S: Final = 5.0


class Notifier:
    """Sends, in a thread until the process ends, what no worker has sent."""

    def __init__(self, current: Runtime, *, overdue_s: float = OVERDUE_S) -> None:
        self._current = Runtime(current.settings, current.servers)
        self._overdue_s = overdue_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End after the look at work."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._current.close()

    def look(self) -> None:
        """Look once; never raises."""
        try:
            if is_sending_due(self._current, waited_s=self._overdue_s):
                log.info("notification.sent_by_beat", result=str(send_due(self._current)))
        except FlowshiftError as error:
            log.warning("notification.postponed", error=str(error))
        except Exception:
            log.exception("notification.failed")

    def _run(self) -> None:
        while not self._over.wait(EVERY_S):
            self.look()
