"""Judge the alert rules: by the numbers of `/metrics`, once however many beats there are.

read metrics (a snapshot) ─► one transaction: lock ─► each rule: judge, save, tell ─► commit
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import sqlalchemy as sa

from worker.core.alerts.rules import Rule, judge, read_rule, transition
from worker.core.alerts.told import alert_moved
from worker.core.metrics.catalogue import CATALOGUE
from worker.core.metrics.model import Sample
from worker.db import alerts
from worker.db.engine import map_database_errors
from worker.db.notifications import notify
from worker.log import get_logger

log = get_logger(__name__)

GAPS: Final = 4
"""After so many looks that were left out nothing is known of the time between."""

LEAST_GAP_S: Final = 60.0


def judge_rules(
    engine: sa.Engine,
    rules: Sequence[Rule],
    read: Callable[[], Sequence[Sample]],
    *,
    every_s: float,
) -> bool:
    """Look at every rule once; False if another process did a moment ago, or does.

    `read` reads the metrics, `every_s` is how often a look is due. Safe to repeat.

    Raises:
        TransientError: the database was unavailable: nothing was judged.
    """
    with map_database_errors(), engine.connect() as connection:
        if not _is_due(connection, rules, every_s):
            return False
    samples = read()
    with map_database_errors(), engine.begin() as connection:
        now_s = alerts.begin(connection)
        if now_s is None or not _is_due(connection, rules, every_s):
            return False
        before = alerts.states(connection)
        for rule in rules:
            _judge(connection, rule, before.get(rule.name), samples, now_s, every_s)
        alerts.forget(connection)
    return True


def _is_due(connection: sa.Connection, rules: Sequence[Rule], every_s: float) -> bool:
    """Whether a rule was not looked at within half of the time between two looks."""
    known = alerts.states(connection)
    now_s = alerts.now(connection)
    judged = [known[rule.name].standing.judged_s for rule in rules if rule.name in known]
    return len(judged) < len(rules) or now_s - min(judged, default=0.0) > every_s / 2


def _judge(
    connection: sa.Connection,
    rule: Rule,
    known: alerts.Alert | None,
    samples: Sequence[Sample],
    now_s: float,
    every_s: float,
) -> None:
    labels = tuple(label.name for label in CATALOGUE[rule.metric].labels)
    reading = read_rule(rule, samples, labels, is_whole=_is_whole(samples))
    before = None if known is None else known.standing
    gap_s = max(LEAST_GAP_S, GAPS * every_s)
    after = judge(before, reading.holds, now_s, for_s=rule.for_s, gap_s=gap_s)
    alerts.save(connection, rule.name, after, rule.said(reading))
    moved = transition(before, after)
    if moved is not None:
        event = alert_moved(rule, moved, reading)
        log.warning("alert.moved", alert=rule.name, state=moved, reason=event.reason)
        notify(connection, event)


def _is_whole(samples: Sequence[Sample]) -> bool:
    """Whether everything could be read: what is missing then is not there."""
    is_up = any(one.name == "flowshift_up" and one.value for one in samples)
    failed = any(one.name == "flowshift_scrape_failed" and one.value for one in samples)
    return is_up and not failed
