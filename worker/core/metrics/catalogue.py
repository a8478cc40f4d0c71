"""Every metric that there is: its name, kind, unit, labels with their values, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
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

_gauge = partial(Metric, "gauge")
_counter = partial(Metric, "counter")
_histogram = partial(Metric, "histogram")

_HTTP_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STATEMENT_BOUNDS: Final = (0.0005, 0.001, 0.0025, *_HTTP_BOUNDS)
_TRIAL_BOUNDS: Final = (0.0001, 0.00025, *_STATEMENT_BOUNDS, 30.0, 60.0)
_BATCH_BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

# The bounds of a histogram stay as they are: totals that were added up by others would be mixed with
# them. One that needs others gets another name.
TOTALS: Final[tuple[Metric, ...]] = (
    _counter(
        "flowshift_bots",
        "Bots that batches were done with, by what came of them; dry runs do not count",
        (
            _KIND,
            Label("outcome", OUTCOMES),
            Label("code", ("", *SKIP_CODES, *FAILURE_CODES)),
        ),
    ),
    _counter(
        "flowshift_bots_validated",
        "Bots whose draft was executed and did what V1 does; dry runs do not count",
        (_KIND,),
    ),
    _counter(
        "flowshift_draft_warnings",
        "Places where drafts differ from what V1's picture suggested; dry runs do not count",
        (_KIND,),
    ),
    _histogram(
        "flowshift_batch_duration_seconds",
        "Batches that are done, and how long each took from its claim to its commit",
        (_KIND,),
        bounds=_BATCH_BOUNDS,
    ),
    _counter(
        "flowshift_batches_failed",
        "Batches that failed as a whole: their bots have no outcome, and retry takes them",
    ),
    _counter(
        "flowshift_batch_retries",
        "Batches that a worker began again: lost, postponed or handed back before",
        (_KIND,),
    ),
    _counter(
        "flowshift_batches_postponed",
        "Batches given back after they could not be done: for a fault of their own, or since a "
        "server was away or busy",
        (Label("cause", ("fault", "server")),),
    ),
    _counter("flowshift_leases_lost", "Batches whose worker was lost"),
    _counter(
        "flowshift_runs_ended",
        "Runs that are over, by how they ended",
        (_KIND, Label("state", tuple(state for state in RUN_STATES if state in OVER))),
    ),
    _counter(
        "flowshift_gate_verdicts",
        "Looks of the gate at waves, by what it said",
        (Label("outcome", VERDICTS),),
    ),
    _counter(
        "flowshift_pruned_rows",
        "Rows that prunes deleted; those of partitions that were dropped whole are not counted",
        (Label("table", tuple(PRUNED_ROWS.values())),),
    ),
    _counter(
        "flowshift_pruned_bytes",
        "What the executions that prunes deleted took, partitions included",
    ),
    _histogram(
        "flowshift_trial_duration_seconds",
        "Executions of workflows by V1 and of drafts by V2 in trials, and how long each took; of "
        "live trials V1's has the time of the models, V2 gets the same answers again",
        (Label("engine", ("v1", "v2")),),
        bounds=_TRIAL_BOUNDS,
        guide="http.request.duration",
    ),
    _counter(
        "flowshift_trials_failed",
        "Those of them that gave no answer",
        (Label("engine", ("v1", "v2")),),
    ),
    _counter(
        "flowshift_plans_found",
        "Drafts that were written by a plan that the process had kept: it was made for a workflow of "
        "the same structure",
        guide="cache.hit",
    ),
    _counter("flowshift_plans_made", "Drafts whose plan had to be made", guide="cache.miss"),
    _counter("flowshift_plans_forgotten", "Plans that a process forgot to keep a newer one"),
    _histogram(
        "flowshift_database_statement_duration_seconds",
        "Statements of the processes that do batches, as long as these waited for each; commit is "
        "of the transactions that end batches",
        (Label("operation", OPERATIONS),),
        bounds=_STATEMENT_BOUNDS,
    ),
    _histogram(
        REQUESTS,
        "Requests to all `flowshift serve`, and how long each took; each process adds its own every "
        "10 s",
        (
            Label("method", says="the methods of HTTP, or other"),
            Label("route", says="the paths of the interface with their placeholders, or none"),
            Label("status", HTTP_STATUSES),
        ),
        bounds=_HTTP_BOUNDS,
        guide="http.request.duration",
    ),
)
"""Those that are added up with each change, and survive the pruning of its rows."""

GROUPS: Final[Mapping[str, tuple[Metric, ...]]] = {
    "The scrape itself": (
        _gauge(
            "flowshift_up",
            "1 if the database could be read, else 0; then no other number from its rows is here",
        ),
        _gauge(
            "flowshift_scrape_failed",
            "1 for each part that could not be read, and whose metrics are missing",
            (Label("part", PARTS),),
        ),
        _gauge("flowshift_scrape_duration_seconds", "How long reading all of this took"),
        _gauge(
            "flowshift_read_timestamp_seconds",
            "When it was read, by the database's clock, in seconds since 1970",
        ),
    ),
    "Totals since the upgrade that began to count, which no prune takes away": TOTALS,
    "Runs and the queue": (
        _gauge("flowshift_runs", "Runs that are not over", (_KIND, Label("state", _ACTIVE_STATES))),
        _gauge(
            "flowshift_runs_parked",
            "Runs that wait, by the health check that lets no batch begin",
            (_CHECK,),
        ),
        _gauge(
            "flowshift_runs_without_worker",
            "Runs that wait for a worker: none that lives takes messages of their queue",
            (_QUEUE,),
        ),
        _gauge(
            "flowshift_open_batches",
            "Batches of active runs that are not done: planned, in the queue, or with a worker; "
            f"at most {OPEN_BATCHES:,} of a run are counted",
            (_QUEUE, Label("state", ("planned", "enqueued", "running"))),
        ),
        _gauge(
            "flowshift_oldest_unclaimed_batch_age_seconds",
            "How long the oldest batch in the queue has waited for a worker; 0 if none waits",
            (_QUEUE,),
        ),
        _gauge(
            "flowshift_overdue_batches",
            "Batches with a worker whose lease ran out: the beat enqueues them again",
            (_QUEUE,),
        ),
        _gauge(
            "flowshift_bots_per_second",
            "Bots that active runs were done with in the last 30 s, per second",
            (_KIND,),
        ),
    ),
    "Processes": (
        _gauge(
            "flowshift_processes",
            "Processes of the last day that were not stopped, by what their heartbeats say; "
            "a worker counts once, whatever its concurrency",
            (_PROCESS, Label("condition", CONDITIONS)),
        ),
        _gauge(
            "flowshift_processes_cpu_cores",
            "Cores that the processes of the kind that send heartbeats, and their children, use",
            (_PROCESS,),
        ),
        _gauge(
            "flowshift_processes_memory_bytes",
            "Memory of these processes and their children; what processes share counts once",
            (_PROCESS,),
        ),
        _gauge(
            "flowshift_largest_process_memory_bytes",
            "Memory of the one of them, with its children, that has the most",
            (_PROCESS,),
        ),
        _gauge(
            "flowshift_heartbeat_age_seconds",
            "Since the last heartbeat of a process of the kind; missing if there was none for a day",
            (_PROCESS,),
        ),
        _gauge(
            "flowshift_work_age_seconds",
            "Since a process of the kind was last seen to do its work; missing if none was for a day",
            (_PROCESS,),
        ),
    ),
    "Prune": (
        _gauge("flowshift_prune_running", "1 while a prune is under way"),
        _gauge(
            "flowshift_prune_done_timestamp_seconds",
            "When the last prune that did all it had to ended; missing if there was none",
        ),
        _gauge(
            "flowshift_prune_done_duration_seconds",
            "How long that prune took from its beginning to its end",
        ),
        _gauge(
            "flowshift_prune_stopped",
            "1 if the last prune that ended was stopped before it was done",
        ),
        _gauge(
            "flowshift_prune_next_timestamp_seconds",
            "When the beat prunes next; missing if it never does (FLOWSHIFT_PRUNE_AT)",
        ),
        _gauge(
            "flowshift_prune_missed", "1 if the last time of day for a prune passed without one"
        ),
    ),
    "Publications and the gate": (
        _gauge(
            "flowshift_publications",
            "Publications that are not over",
            (Label("state", _OPEN_STATES),),
        ),
        _gauge(
            "flowshift_waves",
            "Waves of publications that are not over",
            (Label("state", WAVE_STATES),),
        ),
        _gauge(
            "flowshift_gate_look_age_seconds",
            "Since the gate last looked at the watched wave that it looked at longest ago; 0 if none is",
        ),
        _gauge(
            "flowshift_gate_executions",
            "Executions that count in the last readings of the waves that are watched",
            (Label("metric", METRICS),),
        ),
        _gauge(
            "flowshift_gate_bad_executions",
            "Those of them that failed, were slow, or costly",
            (Label("metric", METRICS),),
        ),
    ),
    "Notifications": (
        _gauge(
            "flowshift_unsent_notifications",
            "Notifications that are due and not given to any channel yet, and deliveries that wait for "
            "one; at most 10,000 of each are counted",
            (Label("state", ("unspread", "waiting")),),
        ),
        _gauge(
            "flowshift_oldest_unsent_notification_age_seconds",
            "Since the oldest of them was due; 0 if there is none",
        ),
        _gauge("flowshift_failing_channels", "Channels that did not take what they were sent last"),
    ),
    "Health checks": (
        _gauge(
            "flowshift_throttle",
            "1 for what a health check says now, before the next batch: go, wait or stop; else 0. "
            "How long commits take only workers know",
            (_CHECK, Label("decision", DECISIONS)),
        ),
    ),
    "Real traffic": (
        _gauge(
            "flowshift_traffic_executions",
            "Executions of real traffic on the platform in the last 5 minutes, or in the part of them "
            "that flowshift_traffic_window_seconds says; trials do not count",
            (Label("status", ("succeeded", "failed")),),
        ),
        _gauge(
            "flowshift_traffic_duration_seconds",
            "Their durations: p50, p90 and p99; missing if none has a duration",
            (Label("quantile", tuple(f"{one:g}" for one in QUANTILES)),),
            guide="http.request.duration",
        ),
        _gauge(
            "flowshift_traffic_window_seconds",
            f"How far back they were looked at: {TRAFFIC_WINDOW_S:g} s, less if there are more than "
            f"{TRAFFIC_ROWS:,} executions",
        ),
    ),
    "HTTP": (
        _gauge(
            "flowshift_http_recent_duration_seconds",
            "Durations of the requests to all `flowshift serve` in the last 5 minutes, but for probes, "
            "scrapes and what no route answers: p50, p90 and p99; missing if there was none",
            (Label("quantile", tuple(f"{one:g}" for one in QUANTILES)),),
        ),
        _gauge(
            "flowshift_http_recent_requests",
            "These requests, by class of status",
            (Label("status", HTTP_STATUSES),),
        ),
    ),
}
"""All metrics, by what they are about."""

CATALOGUE: Final[Mapping[str, Metric]] = {
    metric.name: metric for group in GROUPS.values() for metric in group
}
"""By name, in the order in which they are shown."""
