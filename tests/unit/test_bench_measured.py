"""What the bench says of a run: rates by part, what a fleet lost over time, Markdown."""

from __future__ import annotations

from bench.measured import Measured, TableSize, decay, report, slice_rates


def measured(**changed: object) -> Measured:
    fields: dict[str, object] = {
        "bots": 1_000,
        "fleet": "sample",
        "validate": "none",
        "large_floor_bots_per_s": 2_000.0,
        "small_floor_bots_per_s": 4_000.0,
        "flowshift_bots_per_s": 3_000.0,
        "again_bots_per_s": 5_000.0,
        "peer_bots_per_s": 800.0,
        "slice_rates": [100.0] * 10,
        "again_slice_rates": [110.0] * 10,
        "peak_mb": {"worker": 28.4},
        "tables": [TableSize("public.bots", 1_000, 2**20, 0, {"bots_pkey": 2**19})],
        "wal_bytes_per_bot": 6_500.0,
        "parts_us_per_bot": {"read": 45.6},
    }
    return Measured(**{**fields, **changed})  # type: ignore[arg-type]


def test_a_steady_run_has_one_rate_in_every_part() -> None:
    ended = [(100.0 + n, 500) for n in range(1, 101)]

    assert slice_rates(100.0, ended, 10) == [500.0] * 10
    assert decay(slice_rates(100.0, ended, 10)) == 0


def test_batches_count_in_the_order_in_which_they_ended() -> None:
    ended = [(1.0, 10), (8.0, 10)]

    assert slice_rates(0.0, ended[::-1], 2) == slice_rates(0.0, ended, 2) == [10.0, 10 / 7]


def test_a_batch_that_reaches_over_the_end_of_a_part_is_counted_in_that_part_alone() -> None:
    ended = [(1.0, 10), (2.0, 30), (3.0, 10), (6.0, 30)]

    assert slice_rates(0.0, ended, 2) == [20.0, 10.0]


def test_a_run_whose_batches_take_ever_longer_is_said_to_decay() -> None:
    ended = [(float(n * n), 500) for n in range(1, 101)]

    assert decay(slice_rates(0.0, ended, 10)) > 0.5


def test_a_run_of_few_batches_has_fewer_parts_and_no_decay_is_said() -> None:
    rates = slice_rates(0.0, [(1.0, 500), (2.0, 500)], 10)

    assert rates == [500.0, 500.0]
    assert report([measured(slice_rates=rates)]).count("| – |") >= 1


def test_the_report_has_a_row_for_each_fleet_with_every_ratio_and_the_peers() -> None:
    lines = report([measured(), measured(validate="sample:1", peer_bots_per_s=None)]).splitlines()

    assert (
        "| sample | 1,000 | none | 4,000/s | 3,000/s | 0.75 | 5,000/s | 1.25 | 800/s | 0.20 "
        "| 4,000/s | 0.75 | 2,000/s | 1.50 | 6.5 KB |" in lines
    )
    assert any("| sample:1 | 4,000/s |" in line and "| – | – |" in line for line in lines)


def test_the_floor_is_the_faster_of_its_two_sizes_of_statement() -> None:
    slow_memory = measured(large_floor_bots_per_s=2_000.0, small_floor_bots_per_s=4_000.0)
    fast_memory = measured(large_floor_bots_per_s=6_000.0, small_floor_bots_per_s=4_000.0)

    assert (slow_memory.floor_bots_per_s, slow_memory.ratio) == (4_000.0, 0.75)
    assert (fast_memory.floor_bots_per_s, fast_memory.ratio) == (6_000.0, 0.5)


def test_a_table_s_bytes_are_told_by_bot_with_every_index() -> None:
    lines = report([measured()]).splitlines()

    assert "| `public.bots` | 1,000 | 1.0 MB | 0.0 MB |  | 1,573 |" in lines
    assert "| – `bots_pkey` |  |  |  | 0.5 MB | 524 |" in lines


def test_of_each_fleet_the_sizes_of_the_largest_are_shown() -> None:
    said = report([measured(bots=1_000), measured(bots=9_000)])

    assert "sample, 9,000 bots, none" in said
    assert "sample, 1,000 bots, none" not in said
