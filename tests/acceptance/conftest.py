"""What the acceptance tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from tests.live import Environment
from worker.app import configuration
from worker.runtime import Runtime


@pytest.fixture
def quick(environment: Environment) -> Environment:
    """Everything that waits, waits shortly."""
    return {
        **environment,
        "FLOWSHIFT_SWEEP_S": "1",
        "FLOWSHIFT_LEASE_S": "5",
        "FLOWSHIFT_TIME_LIMIT_S": "2",
        "FLOWSHIFT_SHUTDOWN_S": "1",
    }


@pytest.fixture
def sender(current: Runtime) -> Iterator[Celery]:
    """An application of somebody else's that sends to this test's queue, by task name."""
    app = Celery("somebody else", set_as_current=False)
    app.conf.update(configuration(current))
    yield app
    app.close()
