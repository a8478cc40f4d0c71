"""A model of many workers on one database: a closed network of queues, solved exactly. No I/O.

A worker's process has one bot at a time, which asks one resource after another (a *station*) for its
service time there, measured in microseconds a bot; then comes the next bot. That is a closed network
with as many customers as there are processes, and mean value analysis gives its rate: a customer that
arrives sees the queue that there would be without it (Reiser and Lavenberg, 1980). A station with
several servers counts as one server that is as many times faster, and a delay for the rest of the
service time (Seidmann, 1987). The rate's bounds are those of operational analysis (Denning and Buzen,
1978): no more than a server of the busiest station can do, no more than all processes could without
queues.

What the model leaves out: bots come in batches, locks within PostgreSQL, caches that are too small,
checkpoints, and everything that other programs do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

US: Final = 1_000_000


class Station(msgspec.Struct, frozen=True):
    """A resource: the service time of a bot there, in microseconds, and how many it serves at once.

    With None servers nobody waits there, such as for a network, or for a processor of one's own.
    """

    name: str
    demand_us: float
    servers: float | None = 1

    @property
    def most_bots_per_s(self) -> float:
        """What it can do, however many ask."""
        if self.servers is None or not self.demand_us:
            return float("inf")
        return self.servers * US / self.demand_us


class Predicted(msgspec.Struct, frozen=True):
    """What a network does with a number of processes; `busiest` is the station that is used most."""

    processes: int
    bots_per_s: float
    most_bots_per_s: float
    utilisation: dict[str, float]

    @property
    def busiest(self) -> str:
        """The station with the least to spare."""
        return max(self.utilisation, key=lambda name: self.utilisation[name], default="")


def predict(stations: Sequence[Station], processes: int) -> Predicted:
    """The rate of so many processes.

    >>> predict([Station("a", 500.0), Station("b", 500.0, None)], 1).bots_per_s
    1000.0

    Raises:
        ValueError: no process, or no station takes any time.
    """
    if processes < 1 or not any(one.demand_us for one in stations):
        raise ValueError("a rate needs a process, and a station that takes time")
    queued = [one for one in stations if one.servers is not None]
    shares = [one.demand_us / (one.servers or 1.0) for one in queued]
    delay_us = sum(one.demand_us for one in stations if one.servers is None) + sum(
        max(0.0, one.demand_us - share) for one, share in zip(queued, shares, strict=True)
    )
    lengths = [0.0] * len(queued)
    rate = 0.0
    for count in range(1, processes + 1):
        times = [share * (1 + length) for share, length in zip(shares, lengths, strict=True)]
        rate = count / (delay_us + sum(times))
        lengths = [rate * time for time in times]
    return Predicted(
        processes=processes,
        bots_per_s=rate * US,
        most_bots_per_s=bound(stations, processes),
        utilisation={one.name: rate * US / one.most_bots_per_s for one in queued},
    )


def bound(stations: Sequence[Station], processes: int) -> float:
    """No network does more bots a second: the busiest station's limit, or all processes without queues."""
    alone = processes * US / sum(one.demand_us for one in stations)
    return min(alone, *(one.most_bots_per_s for one in stations))


# -- what a bot asks for ---------------------------------------------------------------------------


class Demands(msgspec.Struct, frozen=True, kw_only=True):
    """What one bot takes, as measured.

    Processor times in microseconds a bot. `disk_us` is the time to write a bot's WAL and its share of a
    batch's commit; `plan_us` that of the planner, which works before all others. `claim_us` is a
    bot's share of a claim, which runs with `--max-rate` or `--concurrency` do one after another.
    `progress_row_us` is what one batch adds to each reading of a run's progress, `polls_per_s` how
    often a process reads it, unless that takes more than `poll_share` of its time.
    """

    worker_us: float
    database_us: float
    redis_us: float
    disk_us: float
    plan_us: float
    claim_us: float
    progress_row_us: float
    polls_per_s: float
    poll_share: float
    wal_bytes: float


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Where it is done.

    `worker_cores` are those of all worker machines (None: each process has its own); None
    `database_cores` share the workers'. `disk_times` is how much faster the disk of the WAL is than the
    measured one, `network_us` what a bot waits for the network.
    """

    database_cores: float | None
    worker_cores: float | None = None
    disk_times: float = 1.0
    network_us: float = 0.0
    batch_size: int = 500
    is_limited: bool = False


def stations_of(demands: Demands, site: Site) -> list[Station]:
    """The network of a site."""
    stations = [Station("WAL", demands.disk_us / site.disk_times)]
    if site.is_limited:
        stations.append(Station("row of the run", demands.claim_us))
    if site.network_us:
        stations.append(Station("network", site.network_us, None))
    if site.database_cores is None:
        together_us = demands.worker_us + demands.database_us + demands.redis_us
        return [*stations, Station("processors", together_us, site.worker_cores)]
    return [
        *stations,
        Station("workers", demands.worker_us, site.worker_cores),
        Station("database", demands.database_us, site.database_cores),
        Station("Redis", demands.redis_us),
    ]


def fleet(demands: Demands, site: Site, processes: int, bots: int) -> tuple[Predicted, float]:
    """The rate of a site while it does a fleet, and the seconds from request to end.

    While a run goes on each process reads its progress, over all its batches: that takes processors
    of the database, more of them the larger the fleet is, up to a share of the processes' time.
    """
    reading_s = demands.progress_row_us * bots / site.batch_size / US
    polled = processes * min(demands.poll_share, demands.polls_per_s * reading_s)
    if site.database_cores is not None:
        left = max(site.database_cores - polled, 0.05 * site.database_cores)
        site = msgspec.structs.replace(site, database_cores=left)
    predicted = predict(stations_of(demands, site), processes)
    return predicted, bots * demands.plan_us / US + bots / predicted.bots_per_s
