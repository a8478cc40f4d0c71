"""Drafts that were only opened and saved in the platform's interface."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

import msgspec
import sqlalchemy as sa

from worker.core.workflow.interface import compare
from worker.db import drafts
from worker.db.drafts import DraftRow
from worker.steps.batch.decide import Converted

AT_A_TIME: Final = 20
"""Drafts read at a time: with every one at its limit, 320 MiB at most."""


def look_at_saved(
    connection: sa.Connection, ready: Iterable[Converted], found: Mapping[str, DraftRow]
) -> dict[str, DraftRow]:
    """The same drafts; of those that no run wrote, `saved` says what became of them.

    A draft is held against what its bot gets now. One that was saved before its workflow changed, or
    before another version of the converter, counts as edited: what a run had written is not known.
    """
    looked_at = dict(found)
    others = iter([one for one in ready if one.bot_id in found and found[one.bot_id].may_be_saved])
    while some := list(islice(others, AT_A_TIME)):
        there = drafts.graphs(connection, [one.bot_id for one in some])
        for one in some:
            if (graph := there.get(one.bot_id)) is not None:
                saved = compare(one.graph, graph)
                looked_at[one.bot_id] = msgspec.structs.replace(found[one.bot_id], saved=saved)
    return looked_at
