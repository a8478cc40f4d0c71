"""Ids of rows: the same on repeat, rising from batch to batch, never twice."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.db.row_ids import Source, node_row_ids

numbers = st.integers(min_value=0, max_value=2**24 - 1)


@given(st.text(), numbers, numbers, st.text(), st.integers(0, 50))
@examples(300)
def test_an_id_is_the_same_on_repeat_and_a_uuid_of_version_8(
    request_id: str, run_id: int, batch: int, bot_id: str, number: int
) -> None:
    first = Source(request_id, run_id, batch).row_id(bot_id, number)

    assert first == Source(request_id, run_id, batch).row_id(bot_id, number)
    assert (first.version, first.variant) == (8, uuid.RFC_4122)


@given(st.tuples(numbers, numbers), st.tuples(numbers, numbers), st.text(), st.text())
@examples(300)
def test_ids_rise_with_the_run_and_then_the_batch(
    one: tuple[int, int], other: tuple[int, int], bot: str, another: str
) -> None:
    first, second = Source("a", *one).row_id(bot), Source("b", *other).row_id(another)

    if one != other:
        assert (first < second) == (one < other)


@given(st.uuids(version=4), st.integers(1, 4_000))
@examples(300)
def test_nodes_come_right_after_their_execution(made: uuid.UUID, place: int) -> None:
    execution = Source(str(made), 7, 9).row_id("bot", 1)

    node = uuid.UUID(bytes=node_row_ids(execution, place)[-1])

    assert (node.version, node.variant) == (8, uuid.RFC_4122)
    assert node.int >> 64 == execution.int >> 64
    assert (node.int - execution.int) % 2**62 == place


def test_nodes_at_the_end_of_the_numbers_begin_again_and_stay_uuids() -> None:
    last = uuid.UUID("00000700-0009-8fff-bfff-ffffffffffff")

    assert node_row_ids(last, 1) == [uuid.UUID("00000700-0009-8fff-8000-000000000000").bytes]


def test_numbers_that_begin_again_give_other_ids() -> None:
    """A schema that was dropped and made again counts its runs from 1; the rows are still there."""
    bots = [f"bot-{number}" for number in range(500)]
    ids = {
        Source(request_id, 1, 1).row_id(bot_id, number)
        for request_id in ("before", "after")
        for bot_id in bots
        for number in (0, 1, 2)
    }

    assert len(ids) == 2 * 500 * 3


def test_a_number_beyond_its_bits_costs_order_alone() -> None:
    front, again = (Source("a", run_id, 1).row_id("b") for run_id in (1, 2**24 + 1))

    assert front.int >> 76 == again.int >> 76
    assert Source("b", 2**24 + 1, 1).row_id("b") != front
