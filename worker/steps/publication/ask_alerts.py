"""Ask the alert rules that a publication names: while one fires, no wave begins, and none passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from worker.core.alerts.rules import BUILT_IN
from worker.core.units import duration
from worker.db import alerts
from worker.db.alerts import Alert
from worker.db.engine import map_database_errors
from worker.db.publication.waves import Publication, Wave
from worker.errors import UsageError
from worker.settings.toml_file import did_you_mean

STALE_S: Final = 300.0
"""A rule that was not looked at for so long says nothing: the wave waits."""

_JUDGED_BY: Final = "the beat judges it, with FLOWSHIFT_ALERTS or FLOWSHIFT_NOTIFY set"


def why_alerts(connection: sa.Connection, found: Publication, _: Wave) -> str | None:
    """Why a wave may not begin, nor pass; None if no rule that the publication names is in the way."""
    if not found.options.alerts:
        return None
    states, now_s = alerts.states(connection), alerts.now(connection)
    whys = (_why(name, states.get(name), now_s) for name in found.options.alerts)
    return next((why for why in whys if why is not None), None)


def _why(name: str, alert: Alert | None, now_s: float) -> str | None:
    if alert is None:
        return f"the alert {name} was never judged: {_JUDGED_BY}"
    age_s = now_s - alert.judged_at.timestamp()
    if age_s > STALE_S:
        return f"the alert {name} was last judged {duration(age_s)} ago: {_JUDGED_BY}"
    return f"the alert {name} is firing: {alert.said}" if alert.state == "firing" else None


def need_alerts(engine: sa.Engine, names: Sequence[str]) -> None:
    """Refuse the name of a rule that nobody judges.

    Raises:
        UsageError: there is no such rule; says which may be meant.
        TransientError: the database was unavailable.
    """
    if not names:
        return
    with map_database_errors(), engine.connect() as connection:
        known = {*alerts.states(connection), *(rule.name for rule in BUILT_IN)}
    for name in names:
        if name not in known:
            hint = did_you_mean(name, sorted(known)) or f". There are: {', '.join(sorted(known))}"
            raise UsageError(
                f"there is no alert {name!r}{hint}: `flowshift alerts`, and {_JUDGED_BY}"
            )
