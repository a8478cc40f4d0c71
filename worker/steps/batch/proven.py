"""Note which drafts did what V1 did: publication takes no other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from worker.db.ledger import LedgerRow
from worker.db.publication import proofs
from worker.db.publication.proofs import Agreed

_DISPROVED: Final = ("execution_failed", "parity_mismatch")


def note_proofs(
    connection: sa.Connection,
    run_id: int,
    outcomes: Sequence[LedgerRow],
    executed: Sequence[Agreed],
) -> None:
    """Note the proofs of bots that agreed, and withdraw those of bots that did not.

    In the transaction of the batch; `executed` is what was executed of each bot.
    """
    agreed = {row.bot_id for row in outcomes if row.agreed and row.outcome != "failed"}
    proofs.record(connection, run_id, [one for one in executed if one.bot_id in agreed])
    disproved = [row.bot_id for row in outcomes if row.code in _DISPROVED]
    proofs.withdraw(connection, run_id, disproved)
