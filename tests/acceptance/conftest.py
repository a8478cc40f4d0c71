"""What the acceptance tests share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa
from celery import Celery

from tests.live import Environment
from tests.roles import Role, grant
from worker.app import configuration
from worker.runtime import Runtime
from worker.settings import Settings


@pytest.fixture
def quick(environment: Environment) -> Environment:
    """What waits, waits shortly.

    What works has all the time that it needs: a process that a time limit kills counts as a loss, and
    the first batch of a new process can take seconds on a busy machine.
    """
    return {
        **environment,
        "FLOWSHIFT_SWEEP_S": "1",
        "FLOWSHIFT_LEASE_S": "5",
        "FLOWSHIFT_HEARTBEAT_S": "1",
        "FLOWSHIFT_SHUTDOWN_S": "1",
    }


@pytest.fixture
def sender(current: Runtime) -> Iterator[Celery]:
    """An application of somebody else's that sends to this test's queue, by task name."""
    app = Celery("somebody else", set_as_current=False)
    # By default an application says nothing of what it sends; else Flower would show its arguments
    # as they are, or in our words, whichever it hears of last.
    app.conf.update(configuration(current), task_send_sent_event=False)
    yield app
    app.close()


@pytest.fixture
def publisher(
    settings: Settings, quick: Environment, role: Role, admin: sa.Engine
) -> Iterator[Environment]:
    """The environment of processes that may publish, and no more."""
    made = Role(f"flowshift_test_{uuid.uuid4().hex[:16]}", uuid.uuid4().hex)
    grant(settings.database_url, role, made)
    yield {**quick, "FLOWSHIFT_DATABASE_URL": made.url(settings.database_url)}
    with psycopg.connect(settings.database_url.replace("+psycopg", "")) as connection:
        connection.execute(f"DROP OWNED BY {made.name}")
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP ROLE {made.name}"))
