"""The CSV of a run's failures comes a page at a time."""

from __future__ import annotations

from collections.abc import Iterator

from worker.db.outcomes import Found
from worker.web.pages.runs import blocks


def test_a_page_of_failures_is_one_piece_and_the_next_page_is_not_read_before_it_is_asked_for() -> (
    None
):
    read: list[str] = []

    def pages() -> Iterator[tuple[Found, ...]]:
        for name in ("a", "b"):
            read.append(name)
            yield tuple(Found(f"{name}{n}", 1, "cycle", "why", None) for n in range(3))

    pieces = blocks(pages())

    assert next(pieces) == b"bot_id,code,run_id,node,message,next\r\n"
    assert read == []
    first = next(pieces).decode()
    assert [line.split(",")[0] for line in first.splitlines()] == ["a0", "a1", "a2"]
    assert read == ["a"]
