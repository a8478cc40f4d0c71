"""The beat's look at the alert rules, where somebody could be told or has rules."""

from __future__ import annotations

from worker.processes.watch import Watch
from worker.runtime import Runtime
from worker.steps.alerts.judge import judge_rules
from worker.steps.alerts.rules import rules_of
from worker.steps.metrics.reader import MetricsReader


def alert_judge(current: Runtime) -> Watch | None:
    """What judges the rules, on connections of its own; None where nobody asked for that.

    Raises:
        ConfigError: the file of rules is wrong.
    """
    settings = current.settings
    if settings.notify_path is None and settings.alerts_path is None:
        return None
    rules = rules_of(settings)
    own = Runtime(settings, current.servers)
    reader = MetricsReader.of(current.servers.database_url, settings)

    def look() -> None:
        judge_rules(own.engine, rules, reader.read, every_s=settings.alerts_s)

    def close() -> None:
        own.close()
        reader.close()

    return Watch("alerts", look, every_s=settings.alerts_s, close=close)
