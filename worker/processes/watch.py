"""What the beat looks at every few seconds: each in a thread, so that one that hangs holds up no other."""

from __future__ import annotations

import threading
from collections.abc import Callable

from worker.errors import FlowshiftError
from worker.log import get_logger

log = get_logger(__name__)


class Watch:
    """Calls `look` every `every_s` seconds from `start` until `stop`, whatever comes of it.

    `close` ends its connections.
    """

    def __init__(
        self,
        name: str,
        look: Callable[[], None],
        *,
        every_s: float,
        close: Callable[[], None],
    ) -> None:
        self._look = look
        self._every_s = every_s
        self._close = close
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End after the look at work."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._close()

    def once(self) -> None:
        """Look once; never raises."""
        try:
            self._look()
        except FlowshiftError as error:
            log.warning("watch.postponed", watch=self._thread.name, error=str(error))
        except Exception:
            log.exception("watch.failed", watch=self._thread.name)

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            self.once()
