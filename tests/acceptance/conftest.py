"""What the acceptance tests share."""

from __future__ import annotations

import pytest

from tests.live import Environment


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
