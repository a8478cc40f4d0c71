"""Canaries: every kind of workflow appears in few bots, those with traffic first."""

from __future__ import annotations

import heapq
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.core.publication import coverage
from worker.core.publication.coverage import Candidate, canaries, kinds_of


def a_bot(bot_id: str, kinds: str, traffic: float = 0.0) -> Candidate:
    return Candidate(bot_id, frozenset(kinds), traffic)


def test_the_bot_with_the_most_new_kinds_comes_first() -> None:
    bots = [a_bot("a", "xy"), a_bot("b", "wxyz"), a_bot("c", "v")]

    assert canaries(bots) == ["b", "c"]


def test_among_equals_the_first_counts() -> None:
    assert canaries([a_bot("b", "x"), a_bot("a", "x")]) == ["b"]
    assert canaries([a_bot("a", "xy"), a_bot("b", "yz"), a_bot("c", "x")]) == ["a", "b"]


def test_a_bot_with_traffic_covers_what_it_can_before_any_without() -> None:
    bots = [a_bot("still", "wxyz"), a_bot("busy", "wx", traffic=1.0)]

    assert canaries(bots) == ["busy", "still"]
    assert canaries([a_bot("still", "wx"), a_bot("busy", "wx", traffic=1.0)]) == ["busy"]


def test_what_is_covered_needs_no_canary() -> None:
    assert canaries([a_bot("a", "x"), a_bot("b", "y")], covered={"x"}) == ["b"]
    assert canaries([a_bot("a", "")]) == []
    assert canaries([]) == []


KINDS = st.frozensets(st.sampled_from("abcdefgh"), max_size=5)
BOTS = st.lists(st.tuples(KINDS, st.sampled_from([0.0, 3.0])), max_size=12).map(
    lambda rows: [Candidate(f"b{n}", kinds, traffic) for n, (kinds, traffic) in enumerate(rows)]
)


@examples(300)
@given(BOTS)
def test_every_kind_appears_and_no_canary_is_one_too_many(bots: list[Candidate]) -> None:
    chosen = canaries(bots)
    by_id = {one.bot_id: one for one in bots}

    seen = set[str]()
    for bot_id in chosen:
        assert by_id[bot_id].kinds - seen  # each adds something to those before it
        seen |= by_id[bot_id].kinds
    assert seen == set().union(*(one.kinds for one in bots))


@examples(200)
@given(BOTS)
def test_each_canary_is_the_one_that_a_plain_search_finds(bots: list[Candidate]) -> None:
    expected, seen = list[str](), set[str]()
    for busy in (True, False):
        some = [one for one in bots if (one.traffic > 0) is busy]
        while some and (best := max(some, key=lambda one: len(one.kinds - seen))).kinds - seen:
            expected.append(best.bot_id)
            seen |= best.kinds

    assert canaries(bots) == expected


def test_each_bot_is_counted_anew_at_most_once_for_each_of_its_kinds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pushed = 0

    def push(heap: list[Any], item: Any) -> None:
        nonlocal pushed
        pushed += 1
        heapq.heappush(heap, item)

    class Counting:
        heapify, heappop, heappush = heapq.heapify, heapq.heappop, push

    monkeypatch.setattr(coverage, "heapq", Counting)
    bots = [
        Candidate(f"b{n}", frozenset(f"k{(n * step) % 997}" for step in (1, 7, 31, 101, 499)))
        for n in range(20_000)
    ]

    canaries(bots)

    assert 0 < pushed <= 5 * len(bots)


def test_the_kinds_of_a_workflow_are_its_node_types_counts_and_warnings() -> None:
    assert kinds_of({"start": 1, "my-type": 2, "llm": 0}, ["no_llm"]) == {
        "start",
        "my-type",
        "llms:0",
        "searches:0",
        "warning:no_llm",
    }
    many = kinds_of({"llm": 700, "knowledge-retrieval": 5}, [])
    assert many == kinds_of({"llm": 701, "knowledge-retrieval": 6}, [])
    assert many != kinds_of({"llm": 4, "knowledge-retrieval": 5}, [])
