"""Every metric that there is: its name, kind, unit, labels with their values, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from worker.core.codes import FAILURE_CODES, OUTCOMES, SKIP_CODES
from worker.core.metrics.model import Label, Metric
from worker.core.metrics.pruned import ROWS as PRUNED_ROWS
from worker.core.metrics.statements import OPERATIONS
from worker.core.policy.health_checks import CHECKS
from worker.core.policy.processes import KINDS as PROCESS_KINDS
from worker.core.policy.run_kinds import QUEUES
from worker.core.policy.states import OVER, RUN_KINDS, RUN_STATES
from worker.core.publication.baseline import METRICS
from worker.core.publication.gate import OUTCOMES as VERDICTS
from worker.core.publication.states import OVER as PUBLICATION_OVER
from worker.core.publication.states import PUBLICATION_STATES, WAVE_STATES

TRAFFIC_WINDOW_S: Final = 300.0
"""So far back real traffic is looked at."""

TRAFFIC_ROWS: Final = 20_000
"""So many executions, the newest, are looked at for it at most; trials among them."""

HTTP_WINDOW_S: Final = 300.0
"""So far back requests to `flowshift serve` are looked at."""

REQUESTS: Final = "flowshift_http_request_duration_seconds"
HTTP_STATUSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")

OPEN_BATCHES: Final = 20_000
"""So many open batches of a run are counted at most, those with the lowest numbers."""

QUANTILES: Final = (0.5, 0.9, 0.99)

PARTS: Final = (
    "totals",
    "queue",
    "processes",
    "prune",
    "publications",
    "notifications",
    "http",
    "throttle",
    "traffic",
)
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
        name="flowshift_processes_cpu_cores",
        kind="gauge",
        unit="cores",
        help="Cores that the processes of the kind that send heartbeats, and their children, use",
        labels=(_PROCESS,),
    ),
    Metric(
        name="flowshift_processes_memory_bytes",
        kind="gauge",
        unit="bytes",
        help="Memory of these processes and their children; what processes share counts once",
        labels=(_PROCESS,),
    ),
    Metric(
        name="flowshift_largest_process_memory_bytes",
        kind="gauge",
        unit="bytes",
        help="Memory of the one of them, with its children, that has the most",
        labels=(_PROCESS,),
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

_NOTIFICATION_METRICS: Final = (
    Metric(
        name="flowshift_unsent_notifications",
        kind="gauge",
        help="Notifications that are due and not given to any channel yet, and deliveries that wait for "
        "one; at most 10,000 of each are counted",
        labels=(Label("state", ("unspread", "waiting")),),
    ),
    Metric(
        name="flowshift_oldest_unsent_notification_age_seconds",
        kind="gauge",
        unit="seconds",
        help="Since the oldest of them was due; 0 if there is none",
    ),
    Metric(
        name="flowshift_failing_channels",
        kind="gauge",
        help="Channels that did not take what they were sent last",
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

_TRIAL_BOUNDS: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
_STATEMENT_BOUNDS: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
_HTTP_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCH_BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

# The bounds of a histogram stay as they are: totals that were added up by others would be mixed with
# them. One that needs others gets another name.
TOTALS: Final[tuple[Metric, ...]] = (
    Metric(
        name="flowshift_bots",
        kind="counter",
        help="Bots that batches were done with, by what came of them; dry runs do not count",
        labels=(
            _KIND,
            Label("outcome", OUTCOMES),
            Label("code", ("", *SKIP_CODES, *FAILURE_CODES)),
        ),
    ),
    Metric(
        name="flowshift_bots_validated",
        kind="counter",
        help="Bots whose draft was executed and did what V1 does; dry runs do not count",
        labels=(_KIND,),
    ),
    Metric(
        name="flowshift_draft_warnings",
        kind="counter",
        help="Places where drafts differ from what V1's picture suggested; dry runs do not count",
        labels=(_KIND,),
    ),
    Metric(
        name="flowshift_batch_duration_seconds",
        kind="histogram",
        unit="seconds",
        help="Batches that are done, and how long each took from its claim to its commit",
        labels=(_KIND,),
        bounds=_BATCH_BOUNDS,
    ),
    Metric(
        name="flowshift_batches_failed",
        kind="counter",
        help="Batches that failed as a whole: their bots have no outcome, and retry takes them",
    ),
    Metric(
        name="flowshift_batch_retries",
        kind="counter",
        help="Batches that a worker began again: lost, postponed or handed back before",
        labels=(_KIND,),
    ),
    Metric(
        name="flowshift_batches_postponed",
        kind="counter",
        help="Batches given back after they could not be done: for a fault of their own, or since a "
        "server was away or busy",
        labels=(Label("cause", ("fault", "server")),),
    ),
    Metric(
        name="flowshift_leases_lost",
        kind="counter",
        help="Batches whose worker was lost",
    ),
    Metric(
        name="flowshift_runs_ended",
        kind="counter",
        help="Runs that are over, by how they ended",
        labels=(_KIND, Label("state", tuple(state for state in RUN_STATES if state in OVER))),
    ),
    Metric(
        name="flowshift_gate_verdicts",
        kind="counter",
        help="Looks of the gate at waves, by what it said",
        labels=(Label("outcome", VERDICTS),),
    ),
    Metric(
        name="flowshift_pruned_rows",
        kind="counter",
        help="Rows that prunes deleted; those of partitions that were dropped whole are not counted",
        labels=(Label("table", tuple(PRUNED_ROWS.values())),),
    ),
    Metric(
        name="flowshift_pruned_bytes",
        kind="counter",
        unit="bytes",
        help="What the executions that prunes deleted took, partitions included",
    ),
    Metric(
        name="flowshift_trial_duration_seconds",
        kind="histogram",
        unit="seconds",
        help="Executions of workflows by V1 and of drafts by V2 in trials, and how long each took; of "
        "live trials V1's has the time of the models, V2 gets the same answers again",
        labels=(Label("engine", ("v1", "v2")),),
        bounds=_TRIAL_BOUNDS,
        guide="http.request.duration",
    ),
    Metric(
        name="flowshift_trials_failed",
        kind="counter",
        help="Those of them that gave no answer",
        labels=(Label("engine", ("v1", "v2")),),
    ),
    Metric(
        name="flowshift_plans_found",
        kind="counter",
        help="Drafts that were written by a plan that the process had kept: it was made for a workflow of "
        "the same structure",
        guide="cache.hit",
    ),
    Metric(
        name="flowshift_plans_made",
        kind="counter",
        help="Drafts whose plan had to be made",
        guide="cache.miss",
    ),
    Metric(
        name="flowshift_plans_forgotten",
        kind="counter",
        help="Plans that a process forgot to keep a newer one",
    ),
    Metric(
        name="flowshift_database_statement_duration_seconds",
        kind="histogram",
        unit="seconds",
        help="Statements of the processes that do batches, as long as these waited for each; commit is "
        "of the transactions that end batches",
        labels=(Label("operation", OPERATIONS),),
        bounds=_STATEMENT_BOUNDS,
    ),
    Metric(
        name=REQUESTS,
        kind="histogram",
        unit="seconds",
        help="Requests to all `flowshift serve`, and how long each took; each process adds its own every "
        "10 s",
        labels=(
            Label("method", says="the methods of HTTP, or other"),
            Label("route", says="the paths of the interface with their placeholders, or none"),
            Label("status", HTTP_STATUSES),
        ),
        bounds=_HTTP_BOUNDS,
        guide="http.request.duration",
    ),
)
"""Those that are added up with each change, and survive the pruning of its rows."""

_HTTP_METRICS: Final = (
    Metric(
        name="flowshift_http_recent_duration_seconds",
        kind="gauge",
        unit="seconds",
        help="Durations of the requests to all `flowshift serve` in the last 5 minutes, but for probes, "
        "scrapes and what no route answers: p50, p90 and p99; missing if there was none",
        labels=(Label("quantile", tuple(f"{one:g}" for one in QUANTILES)),),
    ),
    Metric(
        name="flowshift_http_recent_requests",
        kind="gauge",
        help="These requests, by class of status",
        labels=(Label("status", HTTP_STATUSES),),
    ),
)

GROUPS: Final[Mapping[str, tuple[Metric, ...]]] = {
    "The scrape itself": _SCRAPE,
    "Totals since the upgrade that began to count, which no prune takes away": TOTALS,
    "Runs and the queue": _QUEUE_METRICS,
    "Processes": _PROCESS_METRICS,
    "Prune": _PRUNE_METRICS,
    "Publications and the gate": _PUBLICATION_METRICS,
    "Notifications": _NOTIFICATION_METRICS,
    "Health checks": _THROTTLE_METRICS,
    "Real traffic": _TRAFFIC_METRICS,
    "HTTP": _HTTP_METRICS,
}
"""All metrics, by what they are about."""

CATALOGUE: Final[Mapping[str, Metric]] = {
    metric.name: metric for group in GROUPS.values() for metric in group
}
"""By name, in the order in which they are shown."""
