"""Delete old executions by rows, the oldest first, in batches that each are a transaction."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from worker.db.prune import delete
from worker.db.prune import executions as table
from worker.db.prune.executions import Executions
from worker.db.prune.piece import Piece
from worker.log import get_logger
from worker.steps.prune.errors import StoppedError, TooMuchError
from worker.steps.prune.session import Session

log = get_logger(__name__)

REFUSALS: Final = 100
"""So many executions in a row that a constraint or a trigger keeps end a prune: there will be more."""


def delete_executions(session: Session, executions: Executions) -> int:
    """Delete until nothing more can be; returns how many old runs stayed.

    Once more after a pass that both deleted and kept: what was kept may have been referred to by what
    is gone now.
    """
    while True:
        gone, kept = _Pass(session, executions).run()
        if not (gone and kept and executions.references.where):
            return kept


class _Pass:
    """Once through the old runs. `_passed` are runs that are too much even for a batch of their own."""

    def __init__(self, session: Session, executions: Executions) -> None:
        self._session = session
        self._executions = executions
        self._since: str | None = None
        self._passed: list[str] = []
        self._stuck: tuple[str, ...] = ()
        self._refused = 0

    def run(self) -> tuple[int, int]:
        """How many runs are gone, and how many stayed."""
        self._session.begin_part()
        with self._session.reading() as connection:
            self._since = table.oldest(connection, self._executions)
        gone = kept = 0
        while self._since is not None:
            try:
                piece = self._delete(self._since)
            except TooMuchError as error:
                kept += self._pass_over(self._since, error)
                continue
            runs = piece.gone.get("runs", 0)
            gone, kept, self._refused = gone + runs, kept + piece.seen - runs, 0
            same_time = self._stuck if piece.mark == self._since else ()
            self._since, self._stuck = piece.mark, (*same_time, *piece.stuck)
        return gone, kept

    def _delete(self, since: str) -> Piece:
        stuck = (*self._passed, *self._stuck)
        return self._session.batch(
            lambda connection, size: delete.delete_batch(
                connection, self._executions, since=since, stuck=stuck, size=size
            )
        )

    def _pass_over(self, since: str, error: TooMuchError) -> int:
        """Deal with a run that is too much for a batch of its own; 1 if it has to stay, else 0.

        Where it has too many nodes they are deleted in batches of their own; where it or its nodes
        are locked, or may not be deleted, it is passed over.
        """
        stuck = (*self._passed, *self._stuck)
        with self._session.reading() as connection:
            run_id = table.first_run(connection, self._executions, since=since, stuck=stuck)
        self._refused += error.is_refused
        is_fixed = error.is_locked or error.is_refused
        stays = run_id is not None and (is_fixed or not self._delete_nodes(run_id))
        if run_id is not None and stays:
            self._passed.append(run_id)
            log.warning("execution.kept", execution_id=run_id, reason=str(error))
        if self._refused >= REFUSALS:
            raise StoppedError(f"{self._refused} executions in a row cannot go: {error}") from error
        return int(stays)

    def _delete_nodes(self, run_id: str) -> bool:
        """Delete the nodes of a run in batches; False if none could be."""
        before = self._session.tally.gone["nodes"]

        def some(connection: sa.Connection, size: int) -> Piece:
            return delete.delete_nodes(connection, self._executions, run_id, size=size)

        try:
            while self._session.batch(some).seen:
                pass
        except TooMuchError:
            return False
        return self._session.tally.gone["nodes"] > before
