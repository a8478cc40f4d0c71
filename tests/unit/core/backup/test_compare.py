"""Comparing: every bot that differs is found, in one pass, and nothing else."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.core.backup.asks import asks_for_backup
from worker.core.backup.compare import (
    EXAMPLES,
    BotDifference,
    BotHash,
    Counted,
    collect,
    differing_bots,
    differing_tables,
)
from worker.core.backup.manifest import (
    Column,
    FileEntry,
    Manifest,
    TableEntry,
    decode,
    encode,
)
from worker.core.backup.tools import Tools, fitting, major_of

BOTS = st.dictionaries(st.text(max_size=3), st.sampled_from("ab"), max_size=8)


def sorted_hashes(bots: dict[str, str]) -> list[BotHash]:
    return [BotHash(bot_id, digest) for bot_id, digest in sorted(bots.items())]


@examples(200)
@given(BOTS, BOTS)
def test_every_bot_that_differs_is_found_once(was: dict[str, str], now: dict[str, str]) -> None:
    found = list(differing_bots(sorted_hashes(was), sorted_hashes(now)))

    assert {one.bot_id: one.what for one in found} == {
        bot_id: "missing" if bot_id not in now else "extra" if bot_id not in was else "changed"
        for bot_id in {*was, *now}
        if was.get(bot_id) != now.get(bot_id)
    }
    assert len({one.bot_id for one in found}) == len(found)


@examples(100)
@given(st.lists(st.text(max_size=4), unique=True))
def test_the_order_of_python_is_that_of_utf_8(ids: list[str]) -> None:
    """PostgreSQL sorts by bytes (COLLATE "C"), and the comparison relies on that order."""
    storable = [one for one in ids if one.isprintable()]
    assert sorted(storable) == sorted(storable, key=str.encode)


def test_all_are_counted_and_the_first_are_named() -> None:
    found = collect(BotDifference(str(n), "changed") for n in range(25))
    assert found.bots == 25
    assert [one.bot_id for one in found.examples] == [str(n) for n in range(EXAMPLES)]


def a_table(name: str, rows: int, digest: str, **other: bool) -> TableEntry:
    columns = (Column("bot_id", "text"),)
    return TableEntry(schema="s", name=name, columns=columns, rows=rows, hash=digest, **other)


def test_a_table_differs_by_rows_by_hash_or_by_not_being_there() -> None:
    tables = [a_table(name, 2, "x") for name in ("same", "rows", "hash", "none", "gone")]
    found = {
        "s.same": Counted(2, "x"),
        "s.rows": Counted(3, "x"),
        "s.hash": Counted(2, "y"),
        "s.none": None,
    }
    differing = differing_tables(tables, found)
    assert [one.table for one in differing] == ["s.rows", "s.hash", "s.none", "s.gone"]


def test_a_table_that_was_left_out_does_not_count() -> None:
    assert differing_tables([a_table("t", 0, "", is_left_out=True)], {}) == []


def a_manifest() -> Manifest:
    return Manifest(
        backup_id="01234567-89ab-cdef-0123-456789abcdef",
        taken_at="2026-11-29T09:00:00+00:00",
        taken_by="me@here",
        flowshift="0.1.0",
        revision="0014",
        server_version=160004,
        tools_version=16,
        snapshot="1:1:",
        with_executions=True,
        tables=(a_table("bots", 1, "x", per_bot=True),),
        bots=1,
        bots_file=FileEntry("bots.jsonl", 1, "a"),
        dump_file=FileEntry("database.dump", 1, "b"),
    )


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert decode(encode(a_manifest())) == a_manifest()


@pytest.mark.parametrize(
    "change",
    [{"backup_id": "x"}, {"bots": "many"}, {"tables": None}, {"format": 0}, {"kind": "photos"}],
)
def test_a_manifest_with_a_wrong_value_is_none(change: dict[str, object]) -> None:
    values = {**msgspec.to_builtins(a_manifest()), **change}
    with pytest.raises(ValueError, match=r"is damaged|has the format 0|is not one of"):
        decode(msgspec.json.encode(values))


@pytest.mark.parametrize(
    ("wave", "all_bots", "asks"),
    [(1, 1, False), (1, 5, False), (2, 20, True), (2, 21, False), (10, 100, True), (9, 100, False)],
)
def test_waves_of_ten_percent_and_more_ask(wave: int, all_bots: int, asks: bool) -> None:
    assert asks_for_backup(wave, all_bots) == asks


def test_the_oldest_tools_that_are_new_enough_are_taken() -> None:
    found = [Tools("/a", 18), Tools("/b", 16), Tools("/c", 16), Tools("/d", 15)]
    assert fitting(found, 15) == Tools("/d", 15)
    assert fitting(found, 16) == Tools("/b", 16)
    assert fitting(found, 17) == Tools("/a", 18)
    assert fitting(found, 19) is None
    assert major_of("pg_restore (PostgreSQL) 17beta1") == 17
