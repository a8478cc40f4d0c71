"""The arithmetic of the model, against what is known of such networks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bench.model import Demands, Site, Station, bound, fleet, predict, stations_of
from tests.strategies import examples

DEMANDS = Demands(
    worker_us=300.0,
    database_us=400.0,
    redis_us=5.0,
    disk_us=50.0,
    plan_us=2.0,
    claim_us=10.0,
    progress_row_us=0.5,
    polls_per_s=4.0,
    poll_share=0.02,
    wal_bytes=8_000.0,
)


@st.composite
def networks(draw: st.DrawFn) -> list[Station]:
    some = st.floats(1.0, 1_000.0)
    servers = st.one_of(st.none(), st.integers(1, 32), st.floats(0.1, 8.0))
    return [Station(str(n), draw(some), draw(servers)) for n in range(draw(st.integers(1, 5)))]


def test_balanced_stations_have_the_rate_that_the_books_give() -> None:
    """With K equal stations of demand D and N customers the rate is N / (D (N + K - 1))."""
    stations = [Station(name, 100.0) for name in "abc"]

    for count in (1, 2, 5, 40):
        assert predict(stations, count).bots_per_s == pytest.approx(count / (100e-6 * (count + 2)))


def test_two_stations_of_different_speed_by_hand() -> None:
    """D = 1 and 2 ms. N = 1: 1/3 per ms; queues 1/3 and 2/3. N = 2: 2 / (1*4/3 + 2*5/3) = 3/7."""
    stations = [Station("a", 1_000.0), Station("b", 2_000.0)]

    assert predict(stations, 1).bots_per_s == pytest.approx(1_000 / 3)
    assert predict(stations, 2).bots_per_s == pytest.approx(3_000 / 7)
    assert predict(stations, 2).utilisation["b"] == pytest.approx(6 / 7)
    assert predict(stations, 2).busiest == "b"


@given(networks(), st.integers(1, 60))
@examples(100)
def test_no_rate_is_above_its_bound_and_more_processes_never_do_less(
    stations: list[Station], count: int
) -> None:
    one, more = predict(stations, count), predict(stations, count + 1)

    assert one.bots_per_s <= bound(stations, count) * (1 + 1e-9)
    assert more.bots_per_s >= one.bots_per_s * (1 - 1e-9)
    assert all(used <= 1 + 1e-9 for used in one.utilisation.values())


def test_one_process_never_waits() -> None:
    stations = [Station("a", 100.0, 4), Station("b", 50.0), Station("c", 850.0, None)]

    assert predict(stations, 1).bots_per_s == pytest.approx(1_000)


def test_a_station_of_which_others_take_a_part_is_slower_for_us() -> None:
    assert predict([Station("a", 100.0, 0.5)], 1).bots_per_s == pytest.approx(5_000)
    assert predict([Station("a", 100.0, 0.5)], 9).utilisation["a"] == pytest.approx(1)


def test_many_processes_reach_the_limit_of_the_busiest_station() -> None:
    stations = [Station("a", 100.0, 4), Station("b", 50.0), Station("c", 900.0, None)]

    assert predict(stations, 500).bots_per_s == pytest.approx(20_000, rel=0.01)
    assert predict(stations, 500).busiest == "b"


def test_a_network_without_a_process_or_without_time_has_no_rate() -> None:
    with pytest.raises(ValueError, match="needs a process"):
        predict([Station("a", 1.0)], 0)
    with pytest.raises(ValueError, match="takes time"):
        predict([Station("a", 0.0)], 1)


def test_on_one_machine_workers_and_servers_share_the_processors() -> None:
    [wal, processors] = stations_of(DEMANDS, Site(database_cores=None, worker_cores=2))

    assert (wal.demand_us, processors.demand_us, processors.servers) == (50.0, 705.0, 2)


def test_a_fleet_takes_its_planning_and_then_its_bots() -> None:
    predicted, seconds = fleet(DEMANDS, Site(database_cores=None, worker_cores=2), 2, 1_000)

    assert seconds == pytest.approx(1_000 * 2e-6 + 1_000 / predicted.bots_per_s)


def test_reading_the_progress_of_a_larger_fleet_leaves_less_of_the_database() -> None:
    site = Site(database_cores=1, disk_times=100)
    rates = [fleet(DEMANDS, site, 8, bots)[0].bots_per_s for bots in (10**4, 10**6, 10**8, 10**9)]

    assert rates[0] > rates[1] > rates[2]
    assert rates[3] == rates[2], "not more than a share of the processes' time"
    assert rates[2] == pytest.approx((1 - 8 * 0.02) * 1e6 / 400, rel=0.01)


def test_a_faster_disk_moves_the_bottleneck_and_a_limit_adds_the_row_of_the_run() -> None:
    site = Site(database_cores=64)
    assert predict(stations_of(DEMANDS, site), 128).busiest == "WAL"
    assert predict(stations_of(DEMANDS, replace(site, disk_times=20)), 128).busiest != "WAL"
    names = [one.name for one in stations_of(DEMANDS, replace(site, is_limited=True))]
    assert "row of the run" in names
