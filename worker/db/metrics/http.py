"""Requests to `flowshift serve` in the last minutes: a row for each process and each few seconds."""

from __future__ import annotations

import uuid
from typing import Final

import sqlalchemy as sa

from worker.core.metrics.catalogue import HTTP_WINDOW_S
from worker.core.metrics.requests import Window

_ADD: Final = sa.text("""
    INSERT INTO flowshift.http_windows (instance_id, ended_at, durations, statuses)
    VALUES (:instance_id, clock_timestamp(), :durations, :statuses)
""")
_FORGET: Final = sa.text("""
    DELETE FROM flowshift.http_windows
    WHERE ended_at < clock_timestamp() - make_interval(secs => :window_s)
""")
_READ: Final = sa.text("""
    SELECT durations, statuses FROM flowshift.http_windows
    WHERE ended_at > now() - make_interval(secs => :window_s) AND ended_at <= now()
""")


def add(connection: sa.Connection, instance_id: uuid.UUID, window: Window) -> None:
    """Write what a process answered since its last row."""
    connection.execute(
        _ADD,
        {
            "instance_id": instance_id,
            "durations": list(window.durations),
            "statuses": list(window.statuses),
        },
    )


def forget(connection: sa.Connection) -> None:
    """Delete what is older than the last minutes, of whatever process."""
    connection.execute(_FORGET, {"window_s": HTTP_WINDOW_S})


def read(connection: sa.Connection) -> list[Window]:
    """Every row of the last minutes."""
    rows = connection.execute(_READ, {"window_s": HTTP_WINDOW_S})
    return [Window(tuple(durations), tuple(statuses)) for durations, statuses in rows]
