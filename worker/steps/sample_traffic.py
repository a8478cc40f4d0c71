"""Traffic for the sample fleet: messages as users send them, answered as the platform answers them.

The flag and the live version decide what answers. V1 leaves no execution, V2 leaves one, by itself
or with the error that it failed with. Nothing here knows of publications.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from worker.core.engine import v1 as v1_engine
from worker.core.engine import v2 as v2_engine
from worker.core.parity.messages import BUILT_IN
from worker.core.parity.recording import ExecutionRow, as_row
from worker.core.parity.side_by_side import refused
from worker.core.parity.trial import Executed
from worker.core.targets.target import Target
from worker.core.workflow import v1
from worker.core.workflow.calls import Providers, Trace
from worker.db import sample_traffic as database
from worker.db.engine import map_database_errors
from worker.db.sample_traffic import Served
from worker.errors import BotError
from worker.providers.echo import Echo
from worker.runtime import Runtime

SICK: Final = "HTTP 403: this bot has no key for the models of V2"
"""Why the models answer no sick bot on V2: no trial on echo, which calls no model, can see that."""


class Answers(msgspec.Struct, frozen=True):
    """How many messages were answered by V1, answered by V2, and failed."""

    v1: int = 0
    v2: int = 0
    failed: int = 0


class _NoKey(Echo):
    """Searches as echo does, and answers no prompt."""

    def generate(self, *_: object, **__: object) -> tuple[str, int]:
        raise PermissionError(SICK)


class SampleTraffic:
    """Users of sample bots. The bots in `sick` fail on V2, and are well on V1."""

    def __init__(self, current: Runtime, target: Target, sick: Collection[str] = ()) -> None:
        self.sick = frozenset(sick)
        self._current = current
        self._target = target
        self._rounds = 0
        self._well, self._no_key = Echo(), _NoKey()

    def send(self, bot_ids: Sequence[str]) -> Answers:
        """Send one message to each of these bots, and record what V2 did, in one transaction.

        Raises:
            TransientError: the database was unavailable; nothing was recorded.
        """
        self._rounds += 1
        message = BUILT_IN[self._rounds % len(BUILT_IN)]
        with map_database_errors(), self._current.engine.connect() as connection:
            found = database.served(connection, bot_ids)
        counts = {"v1": 0, "v2": 0, "failed": 0}
        rows = []
        for one in found:
            trace, began = self._execute(one, message)
            counts["failed" if trace.error else "v2" if one.uses_v2 else "v1"] += 1
            if one.version_id is not None:
                rows.append((one.version_id, self._row(one.bot_id, message, trace, began)))
        with map_database_errors(), self._current.engine.begin() as connection:
            database.record(connection, rows, now=time.perf_counter())
        return Answers(**counts)

    def _execute(self, one: Served, message: str) -> tuple[Trace, float]:
        began = time.perf_counter()
        if one.graph is not None:
            program = self._target.decode(one.graph, self._current.registry_of(self._target))
            providers: Providers = self._no_key if one.bot_id in self.sick else self._well
            trace = v2_engine.execute(program, message, providers, clock=time.perf_counter)
            return trace, began
        if one.uses_v2 or one.workflow is None:
            return Trace(answer=None, calls=(), error="nothing is there that could answer"), began
        try:
            workflow = v1.decode(one.workflow, self._current.defaults)
        except BotError as error:
            return refused(error), began
        old = v1_engine.prepare(workflow)
        return v1_engine.execute(old, message, self._well, clock=time.perf_counter), began

    def _row(self, bot_id: str, message: str, trace: Trace, began: float) -> ExecutionRow:
        session = f"sample-visitor-{self._rounds}"
        return as_row(
            bot_id, Executed(self._rounds, message, session, began, trace), self._target.recording
        )
