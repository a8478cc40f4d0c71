"""Every metric that there is: its name, kind, unit, labels with their values, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from worker.core.metrics.model import Label, Metric
from worker.core.policy.health_checks import CHECKS
from worker.core.policy.processes import KINDS as PROCESS_KINDS
from worker.core.policy.run_kinds import QUEUES
from worker.core.policy.states import OVER, RUN_KINDS, RUN_STATES
from worker.core.publication.baseline import METRICS
from worker.core.publication.states import OVER as PUBLICATION_OVER
from worker.core.publication.states import PUBLICATION_STATES, WAVE_STATES

TRAFFIC_WINDOW_S: Final = 300.0
"""So far back real traffic is looked at."""

TRAFFIC_ROWS: Final = 20_000
"""So many executions, the newest, are looked at for it at most; trials among them."""

OPEN_BATCHES: Final = 20_000
"""So many open batches of a run are counted at most, those with the lowest numbers."""

QUANTILES: Final = (0.5, 0.9, 0.99)

PARTS: Final = ("queue", "processes", "prune", "publications", "throttle", "traffic")
"""What is read, each part by itself: one that cannot be read leaves the others."""

CONDITIONS: Final = ("works", "starting", "stalled", "silent")
DECISIONS: Final = ("go", "wait", "stop")

_ACTIVE_STATES: Final = tuple(state for state in RUN_STATES if state not in OVER)
_OPEN_STATES: Final = tuple(one for one in PUBLICATION_STATES if one not in PUBLICATION_OVER)
_KIND: Final = Label("kind", RUN_KINDS)
_PROCESS: Final = Label("kind", PROCESS_KINDS)
_CHECK: Final = Label("check", tuple(CHECKS))
_QUEUE: Final = Label("queue", QUEUES)

_SCRAPE: Final = (
    Metric(
        name="flowshift_up",
        kind="gauge",
        help="1 if the database could be read, else 0; then no other number from its rows is here",
    ),
    Metric(
        name="flowshift_scrape_failed",
        kind="gauge",
        help="1 for each part that could not be read, and whose metrics are missing",
        labels=(Label("part", PARTS),),
    ),
    Metric(
        name="flowshift_scrape_duration_seconds",
        kind="gauge",
        unit="seconds",
        help="How long reading all of this took",
    ),
    Metric(
        name="flowshift_read_timestamp_seconds",
        kind="gauge",
        unit="seconds",
        help="When it was read, by the database's clock, in seconds since 1970",
    ),
)

_QUEUE_METRICS: Final = (
    Metric(
        name="flowshift_runs",
        kind="gauge",
        help="Runs that are not over",
        labels=(_KIND, Label("state", _ACTIVE_STATES)),
    ),
    Metric(
        name="flowshift_runs_parked",
        kind="gauge",
        help="Runs that wait, by the health check that lets no batch begin",
        labels=(_CHECK,),
    ),
    Metric(
        name="flowshift_runs_without_worker",
        kind="gauge",
        help="Runs that wait for a worker: none that lives takes messages of their queue",
        labels=(_QUEUE,),
    ),
    Metric(
        name="flowshift_open_batches",
        kind="gauge",
        help="Batches of active runs that are not done: planned, in the queue, or with a worker; "
        f"at most {OPEN_BATCHES:,} of a run are counted",
        labels=(_QUEUE, Label("state", ("planned", "enqueued", "running"))),
    ),
    Metric(
        name="flowshift_oldest_unclaimed_batch_age_seconds",
        kind="gauge",
        unit="seconds",
        help="How long the oldest batch in the queue has waited for a worker; 0 if none waits",
        labels=(_QUEUE,),
    ),
    Metric(
        name="flowshift_overdue_batches",
        kind="gauge",
        help="Batches with a worker whose lease ran out: the beat enqueues them again",
        labels=(_QUEUE,),
    ),
    Metric(
        name="flowshift_bots_per_second",
        kind="gauge",
        help="Bots that active runs were done with in the last 30 s, per second",
        labels=(_KIND,),
    ),
)

_PROCESS_METRICS: Final = (
    Metric(
        name="flowshift_processes",
        kind="gauge",
        help="Processes of the last day that were not stopped, by what their heartbeats say; "
        "a worker counts once, whatever its concurrency",
        labels=(_PROCESS, Label("condition", CONDITIONS)),
    ),
    Metric(
        name="flowshift_heartbeat_age_seconds",
        kind="gauge",
        unit="seconds",
        help="Since the last heartbeat of a process of the kind; missing if there was none for a day",
        labels=(_PROCESS,),
    ),
    Metric(
        name="flowshift_work_age_seconds",
        kind="gauge",
        unit="seconds",
        help="Since a process of the kind was last seen to do its work; missing if none was for a day",
        labels=(_PROCESS,),
    ),
)

_PRUNE_METRICS: Final = (
    Metric(
        name="flowshift_prune_running",
        kind="gauge",
        help="1 while a prune is under way",
    ),
    Metric(
        name="flowshift_prune_done_timestamp_seconds",
        kind="gauge",
        unit="seconds",
        help="When the last prune that did all it had to ended; missing if there was none",
    ),
    Metric(
        name="flowshift_prune_done_duration_seconds",
        kind="gauge",
        unit="seconds",
        help="How long that prune took from its beginning to its end",
    ),
    Metric(
        name="flowshift_prune_stopped",
        kind="gauge",
        help="1 if the last prune that ended was stopped before it was done",
    ),
    Metric(
        name="flowshift_prune_next_timestamp_seconds",
        kind="gauge",
        unit="seconds",
        help="When the beat prunes next; missing if it never does (FLOWSHIFT_PRUNE_AT)",
    ),
    Metric(
        name="flowshift_prune_missed",
        kind="gauge",
        help="1 if the last time of day for a prune passed without one",
    ),
)

_PUBLICATION_METRICS: Final = (
    Metric(
        name="flowshift_publications",
        kind="gauge",
        help="Publications that are not over",
        labels=(Label("state", _OPEN_STATES),),
    ),
    Metric(
        name="flowshift_waves",
        kind="gauge",
        help="Waves of publications that are not over",
        labels=(Label("state", WAVE_STATES),),
    ),
    Metric(
        name="flowshift_gate_look_age_seconds",
        kind="gauge",
        unit="seconds",
        help="Since the gate last looked at the watched wave that it looked at longest ago; 0 if none is",
    ),
    Metric(
        name="flowshift_gate_executions",
        kind="gauge",
        help="Executions that count in the last readings of the waves that are watched",
        labels=(Label("metric", METRICS),),
    ),
    Metric(
        name="flowshift_gate_bad_executions",
        kind="gauge",
        help="Those of them that failed, were slow, or costly",
        labels=(Label("metric", METRICS),),
    ),
)

_THROTTLE_METRICS: Final = (
    Metric(
        name="flowshift_throttle",
        kind="gauge",
        help="1 for what a health check says now, before the next batch: go, wait or stop; else 0. "
        "How long commits take only workers know",
        labels=(_CHECK, Label("decision", DECISIONS)),
    ),
)

_TRAFFIC_METRICS: Final = (
    Metric(
        name="flowshift_traffic_executions",
        kind="gauge",
        help="Executions of real traffic on the platform in the last 5 minutes, or in the part of them "
        "that flowshift_traffic_window_seconds says; trials do not count",
        labels=(Label("status", ("succeeded", "failed")),),
    ),
    Metric(
        name="flowshift_traffic_duration_seconds",
        kind="gauge",
        unit="seconds",
        help="Their durations: p50, p90 and p99; missing if none has a duration",
        labels=(Label("quantile", tuple(f"{one:g}" for one in QUANTILES)),),
        guide="http.request.duration",
    ),
    Metric(
        name="flowshift_traffic_window_seconds",
        kind="gauge",
        unit="seconds",
        help=f"How far back they were looked at: {TRAFFIC_WINDOW_S:g} s, less if there are more than "
        f"{TRAFFIC_ROWS:,} executions",
    ),
)

GROUPS: Final[Mapping[str, tuple[Metric, ...]]] = {
    "The scrape itself": _SCRAPE,
    "Runs and the queue": _QUEUE_METRICS,
    "Processes": _PROCESS_METRICS,
    "Prune": _PRUNE_METRICS,
    "Publications and the gate": _PUBLICATION_METRICS,
    "Health checks": _THROTTLE_METRICS,
    "Real traffic": _TRAFFIC_METRICS,
}
"""All metrics, by what they are about."""

CATALOGUE: Final[Mapping[str, Metric]] = {
    metric.name: metric for group in GROUPS.values() for metric in group
}
"""By name, in the order in which they are shown."""
