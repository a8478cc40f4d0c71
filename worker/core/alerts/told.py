"""Events of alert rules, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from worker.core.alerts.rules import Reading, Rule
from worker.core.notify.event import Event

_TITLES: Final[Mapping[tuple[str, str], str]] = {
    ("worker.missing", "firing"): "No worker answers, and a run waits for one",
    ("worker.missing", "resolved"): "Workers answer again",
    ("run.waiting", "firing"): "A run has waited for a health check for 15 minutes",
    ("run.waiting", "resolved"): "No run waits for a health check any more",
    ("prune.missed", "firing"): "The last prune did not begin: no beat or no worker",
    ("prune.missed", "resolved"): "The prune is no longer missed",
}
_NEXT: Final[Mapping[str, str]] = {
    "worker.missing": "flowshift health, then flowshift up",
    "run.waiting": "flowshift status",
    "prune.missed": "flowshift health, then flowshift prune --dry-run",
}


def alert_moved(rule: Rule, moved: Literal["firing", "resolved"], reading: Reading) -> Event:
    """A rule began to hold, or holds no longer.

    >>> rule = Rule(name="slow", metric="m", shown_as="http.request.duration", condition="gt",
    ...     threshold=500, for_s=300, unit="ms", level="error")
    >>> event = alert_moved(rule, "firing", Reading(True, 812.0, "quantile 0.99"))
    >>> print(event.title, "|", event.reason)
    Alert slow is firing | http.request.duration is 812 ms (quantile 0.99), above 500 ms for 300 s
    >>> alert_moved(rule, "resolved", Reading(False, 90.0)).level
    'info'
    """
    title = _TITLES.get((rule.kind or "", moved))
    lasting = f" for {rule.for_s:,g} s" if rule.for_s else ""
    words = {"firing": "is firing", "resolved": "is resolved"}[moved]
    return Event(
        kind=rule.kind or f"alert.{moved}",
        level=rule.level if moved == "firing" else "info",
        key=f"alert:{rule.name}",
        title=title or f"Alert {rule.name} {words}",
        reason=rule.said(reading) + lasting,
        next_step=_NEXT.get(rule.kind or "", "flowshift alerts"),
        detail={"alert": rule.name, "state": moved},
    )
