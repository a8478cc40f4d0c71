"""Rows sent a column at a time arrive as they were given."""

from __future__ import annotations

import struct
import uuid

import pytest
import sqlalchemy as sa
from psycopg import sql

from tests.fleet import Fleet
from worker.db.bulk import driver, integers, jsons, rows, texts, uuids

IDS = [uuid.UUID(int=number) for number in (0, 7, 2**128 - 1)]
TEXTS = ["", "환불 🙂 \\ ' \" {} %b %s", None]
NUMBERS = [-(2**63), None, 2**63 - 1]
JSON = [b'{"a": [1.10, null, "\xed\x99\x98"]}', None, b"123456789012345678901234567890"]
CHOSEN = "SELECT n.id, n.said, n.number, n.json::text FROM {}"
SAME_JSON = ['{"a": [1.10, null, "환"]}', None, "123456789012345678901234567890"]


def selected(connection: sa.Connection, **columns: object) -> list[tuple[object, ...]]:
    given = rows("n", **columns)  # type: ignore[arg-type]
    with driver(connection).cursor() as cursor:
        return cursor.execute(sql.SQL(CHOSEN).format(given.source), given.parameters).fetchall()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_rows_arrive_as_they_were_given_and_in_order(fleet: Fleet, count: int) -> None:
    with fleet.current.engine.connect() as connection:
        found = selected(
            connection,
            id=uuids([one.bytes for one in IDS[:count]]),
            said=texts(TEXTS[:count]),
            number=integers(NUMBERS[:count]),
            json=jsons(JSON[:count]),
        )

    given = zip(IDS, TEXTS, NUMBERS, SAME_JSON, strict=True)
    assert found == list(given)[:count]


@pytest.mark.parametrize("place", range(3))
def test_a_value_that_every_row_has_is_sent_once_and_arrives_in_each(
    fleet: Fleet, place: int
) -> None:
    columns = {
        "id": uuids([one.bytes for one in IDS]),
        "said": texts([TEXTS[place]] * 3),
        "number": integers([NUMBERS[place]] * 3),
        "json": jsons([JSON[place]] * 3),
    }
    given = rows("n", **columns)

    assert len(given.parameters) == 1 + sum(
        values[place] is not None for values in (TEXTS, NUMBERS, JSON)
    )
    with fleet.current.engine.connect() as connection:
        found = selected(connection, **columns)
    assert found == [(one, TEXTS[place], NUMBERS[place], SAME_JSON[place]) for one in IDS]


def test_rows_that_are_alike_are_as_many_as_were_given(fleet: Fleet) -> None:
    same = {"id": uuids([IDS[1].bytes] * 5), "said": texts(["x"] * 5)}
    with fleet.current.engine.connect() as connection:
        found = selected(connection, **same, number=integers([1] * 5), json=jsons([b"[]"] * 5))
    assert found == [(IDS[1], "x", 1, "[]")] * 5


def test_what_takes_more_than_8_bytes_is_refused_before_it_is_sent() -> None:
    with pytest.raises(struct.error):
        integers([2**63])
