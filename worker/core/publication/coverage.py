"""Coverage canaries: few bots in which every kind of workflow of a publication appears."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

MANY: Final = 5
"""So many searches or LLMs and more are one kind: a fleet may hold thousands of counts."""


ENOUGH: Final = 70.0
"""So many executions a day let a bot pass within the longest soak, at the default rate; more is not better:
the loudest bot of all should not be the first."""


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A bot that is to be published.

    `kinds` says what its workflow holds (`kinds_of`); `traffic` is how many executions a day it may
    expect, 0 where that is not known. Bots of one kind may share one set.
    """

    bot_id: str
    kinds: frozenset[str] = frozenset()
    traffic: float = 0.0


def kinds_of(node_types: Mapping[str, int], warnings: Iterable[str]) -> frozenset[str]:
    """What a workflow holds, from how often each node type is in its draft and its warnings.

    >>> sorted(kinds_of({"start": 1, "llm": 2, "knowledge-retrieval": 7}, ["join_node"]))
    ['knowledge-retrieval', 'llm', 'llms:2', 'searches:5+', 'start', 'warning:join_node']
    """
    counts = {
        "searches": node_types.get("knowledge-retrieval", 0),
        "llms": node_types.get("llm", 0),
    }
    return frozenset(
        [name for name, count in node_types.items() if count > 0]
        + [f"{name}:{count if count < MANY else f'{MANY}+'}" for name, count in counts.items()]
        + [f"warning:{code}" for code in warnings]
    )


def canaries(candidates: Sequence[Candidate], covered: Iterable[str] = ()) -> list[str]:
    """Bots that together hold every kind that is among `candidates` and not yet `covered`.

    Greedy set cover: always the bot with the most kinds that no bot before it holds; among equals
    the first of `candidates`. Bots with enough traffic to be judged within a day (`ENOUGH`) cover what
    they can, then those with some, and then those without any, which show nothing. At most
    ln(kinds) + 1 times the smallest such set, each time.

    >>> canaries([Candidate("a", frozenset("xy")), Candidate("b", frozenset("y"), traffic=9.0)])
    ['b', 'a']
    >>> canaries([Candidate("few", frozenset("x"), 9.0), Candidate("many", frozenset("x"), 70.0)])
    ['many']
    """
    seen = set(covered)
    chosen: list[str] = []
    for tier in (2, 1, 0):
        chosen += _cover([one for one in candidates if _tier(one) == tier], seen)
    return chosen


def _tier(one: Candidate) -> int:
    return 2 if one.traffic >= ENOUGH else int(one.traffic > 0)


def _cover(candidates: Sequence[Candidate], seen: set[str]) -> list[str]:
    """Cover what these hold, adding it to `seen`.

    How much a bot adds only shrinks, so that one that is still ahead of the rest after it was
    recounted is the best: each bot is counted at most once for each of its kinds.
    """
    first: dict[frozenset[str], int] = {}
    for place, one in enumerate(candidates):
        first.setdefault(one.kinds, place)  # the others of the same kinds add nothing after it
    ahead = [(-len(kinds - seen), place) for kinds, place in first.items()]
    heapq.heapify(ahead)
    chosen: list[str] = []
    while ahead:
        gain, place = heapq.heappop(ahead)
        new = candidates[place].kinds - seen
        if not new:
            continue
        if -gain != len(new):
            heapq.heappush(ahead, (-len(new), place))
            continue
        chosen.append(candidates[place].bot_id)
        seen |= new
    return chosen
