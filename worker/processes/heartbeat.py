"""A process's heartbeat: a thread that writes, now and then, that it lives and what it does works.

On a connection of its own, opened for each beat and closed again. With the database unavailable nothing is
written and nothing fails: the process waits for it as before.
"""

from __future__ import annotations

import atexit
import os
import socket
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Final

import sqlalchemy as sa

from worker import __version__
from worker.core.policy.processes import ProcessKind
from worker.core.policy.run_kinds import QueueName
from worker.db import heartbeats
from worker.db.engine import create_engine, database_url, map_database_errors
from worker.db.heartbeats import Identity, Sign
from worker.errors import FlowshiftError
from worker.log import get_logger
from worker.processes.usage import UsageMeter
from worker.runtime import Runtime

log = get_logger(__name__)

TIMEOUT_S: Final = 5
"""How long one beat may wait for the database, for each of: the connection, a lock, the answer."""

FIRST_S: Final = 2
"""So soon after its start a process is asked whether it works."""

Work = Callable[[], Sign]

# A fork copies every lock as it is, and libpq's and the resolver's are not ours to repair: no process
# is forked while a beat is at work.
_at_work = threading.Lock()
_held_for_fork = False


def _before_fork() -> None:
    global _held_for_fork  # noqa: PLW0603  (a process forks once at a time)
    _held_for_fork = _at_work.acquire(timeout=2 * TIMEOUT_S)


def _after_fork() -> None:
    if _held_for_fork:
        _at_work.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


class Heartbeat:
    """Writes the heartbeat of this process from `start` until `stop`, or until the process ends."""

    def __init__(
        self,
        current: Runtime,
        kind: ProcessKind,
        name: str,
        work: Work,
        *,
        instance_id: uuid.UUID | None = None,
        queues: Sequence[QueueName] = (),
    ) -> None:
        """`work` is asked at each beat, in the thread: it may take a moment, and may not raise.

        `instance_id` is the one by which the process is known elsewhere, if it is. `queues` are
        those that it takes messages from.
        """
        self.identity = Identity(
            instance_id or uuid.uuid4(),
            kind,
            name,
            socket.gethostname(),
            os.getpid(),
            __version__,
            tuple(queues),
        )
        self._work = work
        self._usage = UsageMeter()
        self._every_s = current.settings.heartbeat_s
        self._engine = _engine(current.servers.database_url)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._was_written = True

    def start(self) -> None:
        """Begin; returns at once."""
        atexit.register(self.stop)
        self._thread.start()

    def stop(self) -> None:
        """Write that the process stops as asked. In a forked child this does nothing."""
        if self._over.is_set() or os.getpid() != self.identity.pid:
            return
        self._over.set()
        self._thread.join(TIMEOUT_S)
        self._write(lambda connection: heartbeats.stop(connection, self.identity))

    def beat(self) -> None:
        """Write once; never raises."""
        sign, usage = self._work(), self._usage.look()
        self._write(
            lambda connection: heartbeats.beat(
                connection, self.identity, sign, every_s=self._every_s, usage=usage
            )
        )

    def _run(self) -> None:
        self._write(lambda connection: heartbeats.begin(connection, self.identity))
        pause_s = min(FIRST_S, self._every_s)
        while not self._over.wait(pause_s):
            self.beat()
            pause_s = self._every_s

    def _write(self, what: Callable[[sa.Connection], None]) -> None:
        try:
            with _at_work, map_database_errors():
                try:
                    with self._engine.begin() as connection:
                        what(connection)
                finally:
                    self._engine.dispose()
        except (FlowshiftError, sa.exc.SQLAlchemyError) as error:
            # Once, not at every beat: the work itself says when a server is unavailable.
            if self._was_written:
                log.warning("heartbeat.unwritten", error=heartbeats.why_unusable(error))
            self._was_written = False
        else:
            self._was_written = True


def _engine(url: str) -> sa.Engine:
    """An engine that gives up soon: a beat that is late is not worth waiting for."""
    given = database_url(url)
    impatient = {"connect_timeout": str(TIMEOUT_S), "tcp_user_timeout": str(TIMEOUT_S * 1000)}
    return create_engine(
        given.update_query_dict({k: v for k, v in impatient.items() if k not in given.query}),
        lock_timeout_ms=TIMEOUT_S * 1000,
        statement_timeout_ms=TIMEOUT_S * 1000,
        application_name="flowshift heartbeat",
    )
