"""Ask the platform's validator about the drafts that a batch is to publish, while nothing is locked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

import msgspec

from worker.core.parity.opinion import Inquiry, Opinion, inquiry
from worker.core.publication.eligibility import Heard, decide
from worker.db.publication import seen, waves
from worker.db.publication.seen import Graph
from worker.runtime import Runtime
from worker.steps.batch.opinions import hear
from worker.steps.publication.rules import rules_of
from worker.steps.publication.v1 import v1_problem

AT_A_TIME: Final = 50
"""Drafts in memory at a time: with every one at its limit, 200 MiB."""


def hear_platform(
    current: Runtime, publication_id: int, bot_ids: Sequence[str]
) -> dict[str, Heard] | None:
    """What the platform says of the drafts of these bots, by bot; None if it has no validator.

    Only drafts are asked about that could be published as they stand now. Whether they are the same
    later is decided under the lock, by the hash of what was asked.

    Raises:
        TransientError: the platform, or the database, cannot be asked now.
    """
    word = current.platform
    if word is None or not word.checks:
        return None
    with current.engine.connect() as connection:
        publication = waves.get(connection, publication_id)
        if publication is None:
            return {}
        rules = rules_of(current, publication.options)
        found = seen.read(connection, bot_ids, frozenset(bot_ids), v1_problem(current.defaults))
    ids = iter([one.seen.bot_id for one in found if decide(one.seen, rules) is None])
    heard: dict[str, Heard] = {}
    while some := list(islice(ids, AT_A_TIME)):
        with current.engine.connect() as connection:
            graphs = seen.graphs(connection, some)
        asked = (_Asked(one, inquiry(word, one.graph, None, None)) for one in graphs)
        for one in hear(word, asked, _inquiry, _answered):
            heard[one.graph.bot_id] = Heard(one.graph.content_hash, one.refusal)
    return heard


class _Asked(msgspec.Struct, frozen=True):
    """A draft, what is asked about it, and why the platform refuses it; "" if it does not."""

    graph: Graph
    inquiry: Inquiry
    refusal: str = ""


def _inquiry(one: _Asked) -> Inquiry:
    return one.inquiry


def _answered(one: _Asked, found: Opinion | None) -> _Asked:
    return one if found is None else msgspec.structs.replace(one, refusal=found.message)
