"""The fleets that are measured: the sample fleet, one of bots all built differently, one of like bots."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations, pairwise, permutations
from typing import Any, Final, TypeVar

import msgspec

from worker.sample import (
    Fleet,
    SampleBot,
    a_node,
    a_search,
    an_edge,
    an_llm,
    sample_bots,
    spoil,
)

SEARCHES: Final = 3
INNER: Final = 5
"""Nodes between the start and the end: three searches and two LLMs."""

MOST_SHORTCUTS: Final = 2

TYPICAL: Final = 77_777
"""The number whose way of building all bots of the fleet `alike` have: two shortcuts, as most."""

_T = TypeVar("_T")


def distinct_bots(count: int, first: int = 0) -> Iterator[SampleBot]:
    """The bots of the sample fleet, each built in a way that no other bot is.

    A chain through seven nodes. The number of a bot says, each digit in a base of its own, which
    shortcuts beside the chain there are, where in it the searches are, in which order the nodes are
    listed, and whose context the first LLM asks for. So two bots differ in their nodes' types by
    position, in their edges or in `use_context_from`, and no cache that is keyed by what a
    workflow is built of hits.

    As in the sample fleet 1 % have no workflow, 1 % are on V2 and 6 % are broken.

    Raises:
        ValueError: a number of more digits than there are.
    """
    for bot, number in _numbered(count, first):
        yield bot if bot.workflow is None else _built(bot, number, like=number)


def alike_bots(count: int, first: int = 0) -> Iterator[SampleBot]:
    """Bots as large as those of `distinct_bots`, with the same configs, all built in one way."""
    for bot, number in _numbered(count, first):
        yield bot if bot.workflow is None else _built(bot, number, like=TYPICAL)


def _numbered(count: int, first: int) -> Iterator[tuple[SampleBot, int]]:
    return ((bot, first + place) for place, bot in enumerate(sample_bots(count, first)))


def _built(bot: SampleBot, number: int, *, like: int) -> SampleBot:
    workflow = msgspec.json.encode(_workflow(number, like))
    return msgspec.structs.replace(bot, workflow=workflow)


def _workflow(number: int, like: int) -> dict[str, Any]:
    rest, shortcuts = _digit(like, _shortcuts())
    rest, places = _digit(rest, _places())
    rest, order = _digit(rest, _orders())
    rest, asked = _digit(rest, _asked())
    if rest:
        raise ValueError(f"there are not as many ways to build a bot: {like:,}")
    chance = random.Random(number)
    inner = _inner(chance, places)
    first_llm = next(node for node in inner if node["type"] == "llm")
    if asked is not None:
        first_llm["data"]["use_context_from"] = [f"knowledge-{one}" for one in asked]
    start = a_node("start-1", "start", 0, {"title": "시작"})
    end = a_node("end-1", "end", 9, {"title": "끝"})
    chain = [start, *inner, end]
    ids = [node["id"] for node in chain]
    pairs = [*pairwise(ids), *((ids[one], ids[other]) for one, other in shortcuts)]
    workflow = {
        "nodes": [start, *(inner[place] for place in order), end],
        "edges": [an_edge(*pair) for pair in pairs],
        "viewport": {"x": 0, "y": 0, "zoom": 0.85},
    }
    if number % 100 >= 90:
        spoil(workflow, number % 100)
    return workflow


def _inner(chance: random.Random, places: tuple[int, ...]) -> list[dict[str, Any]]:
    """The nodes between the start and the end, in the order of the chain."""
    searches = (a_search(chance, number) for number in range(1, SEARCHES + 1))
    llms = (an_llm(chance, number) for number in range(1, INNER - SEARCHES + 1))
    return [next(searches if place in places else llms) for place in range(INNER)]


def _digit(number: int, values: Sequence[_T]) -> tuple[int, _T]:
    """The number without its last digit in the base of these values, and that digit's value."""
    rest, digit = divmod(number, len(values))
    return rest, values[digit]


@cache
def _shortcuts() -> list[tuple[tuple[int, int], ...]]:
    """Every choice of at most `MOST_SHORTCUTS` edges that pass over nodes of the chain."""
    last = INNER + 1
    pairs = [
        (one, other)
        for one, other in combinations(range(last + 1), 2)
        if other > one + 1 and (one, other) != (0, last)
    ]
    return [some for size in range(MOST_SHORTCUTS + 1) for some in combinations(pairs, size)]


@cache
def _places() -> list[tuple[int, ...]]:
    """Where in the chain the searches are."""
    return list(combinations(range(INNER), SEARCHES))


@cache
def _orders() -> list[tuple[int, ...]]:
    """The orders in which the nodes between the start and the end are listed."""
    return list(permutations(range(INNER)))


@cache
def _asked() -> list[tuple[int, ...] | None]:
    """What an LLM may say of its context: nothing, or searches in any order."""
    searches = range(1, SEARCHES + 1)
    return [
        None,
        *(some for size in range(1, SEARCHES + 1) for some in permutations(searches, size)),
    ]


FLEETS: Final[Mapping[str, Fleet]] = {
    "sample": sample_bots,
    "distinct": distinct_bots,
    "alike": alike_bots,
}
"""By the name that `--fleet` takes."""
