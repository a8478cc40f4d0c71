"""Delete flowshift's own old records: ledger, runs with their batches, audit, prunes, notifications …"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping

import sqlalchemy as sa

from worker.db.prune import own, publications
from worker.log import get_logger
from worker.steps.prune.session import Session

log = get_logger(__name__)


def delete_own(
    session: Session, cutoffs: Mapping[str, dt.datetime], forget_run: Callable[[int], None]
) -> None:
    """Delete what is older than the cut-offs; `forget_run` is called for each run that is deleted."""
    while (run_id := _next(session, own.run_to_thin, cutoffs["ledger"])) is not None:
        _thin_ledger(session, run_id)
    while (run_id := _next(session, own.run_to_delete, cutoffs["runs"])) is not None:
        _delete_run(session, run_id)
        forget_run(run_id)
    session.until_empty(lambda c, size: own.delete_audit(c, cutoffs["audit"], size=size))
    session.until_empty(lambda c, size: own.delete_prunes(c, cutoffs["audit"], size=size))
    session.until_empty(lambda c, size: own.delete_notifications(c, cutoffs["audit"], size=size))
    _delete_of_publications(session, cutoffs)


def _delete_of_publications(session: Session, cutoffs: Mapping[str, dt.datetime]) -> None:
    over = cutoffs["runs"]
    session.until_empty(lambda c, size: publications.delete_readings(c, over, size=size))
    session.until_empty(lambda c, size: publications.delete_counts(c, over, size=size))
    with session.reading() as connection:
        sees_bots = publications.sees_bots(connection)
    if not sees_bots:
        log.warning("proofs.kept", reason="the role may not read bots, so none is known to be gone")
        return
    for _ in session.pages(
        lambda c, after, size: publications.delete_proofs(
            c, cutoffs["ledger"], after=after, size=size
        )
    ):
        pass


def _thin_ledger(session: Session, run_id: int) -> None:
    for _ in session.pages(
        lambda c, after, size: own.thin_ledger(c, run_id, after=after, size=size)
    ):
        pass
    with session.reading() as connection:
        own.thinned(connection, run_id)


def _delete_run(session: Session, run_id: int) -> None:
    session.until_empty(lambda c, size: own.delete_batches(c, run_id, size=size))
    session.batch(lambda c, _: own.delete_run(c, run_id))


def _next(
    session: Session,
    find: Callable[[sa.Connection, dt.datetime], int | None],
    before: dt.datetime,
) -> int | None:
    with session.reading() as connection:
        return find(connection, before)
