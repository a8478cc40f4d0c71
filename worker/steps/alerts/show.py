"""The alert rules with their states."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from worker.core.alerts.rules import Rule
from worker.db import alerts
from worker.db.alerts import Alert
from worker.db.engine import map_database_errors
from worker.runtime import Runtime
from worker.steps.alerts.rules import rules_of


class Shown(msgspec.Struct, frozen=True):
    """A rule, and its state; None if it was never judged."""

    rule: Rule
    alert: Alert | None


def shown(current: Runtime) -> Sequence[Shown]:
    """Every rule that is judged, in its order.

    Raises:
        ConfigError: the file of rules is wrong.
        TransientError: the database was unavailable.
    """
    rules = rules_of(current.settings)
    with map_database_errors(), current.engine.connect() as connection:
        states = alerts.states(connection)
    return [Shown(rule, states.get(rule.name)) for rule in rules]
