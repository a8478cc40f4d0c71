"""The Celery application: `celery -A worker.app worker`.

Why each setting is as it is: docs/operations.md. The servers are resolved when the configuration is
first needed, so that importing this module starts nothing.
"""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from celery import Celery, signals

from worker import log as logging_setup
from worker import runtime, servers
from worker.errors import ConfigError
from worker.providers import chain
from worker.runtime import Runtime

HARD_TIME_LIMIT_S = 600
"""A task that takes longer is killed: a batch takes a second or so."""

VISIBILITY_TIMEOUT_S = 3 * HARD_TIME_LIMIT_S

app = Celery("flowshift", include=["tasks"], set_as_current=True)


def configuration(current: Runtime) -> dict[str, Any]:
    """Celery's settings for the servers and the namespace of a runtime.

    Raises:
        ConfigError: the Redis URL is none that Celery's transport reads.
    """
    namespace = current.settings.namespace
    return {
        "broker_url": current.servers.broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "global_keyprefix": f"{namespace}:queue:",
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "unacked_restore_interval": 15,
            "unacked_restore_throttle": 1,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
            # Sending while Redis is away fails at once: the work goes on without it. (By default
            # kombu tries for six seconds. A worker's own connection is tried for ever, see above.)
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.1,
            "connect_retries_timeout": 1,
        },
        # The result of a batch is in PostgreSQL; a result backend would be one more thing to lose.
        "task_ignore_result": True,
        "task_default_queue": namespace,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_retry_on_worker_lost": True,
        "task_time_limit": HARD_TIME_LIMIT_S,
        "task_publish_retry": False,
        "task_send_sent_event": True,
        "worker_send_task_events": True,
        "worker_prefetch_multiplier": 1,
        "worker_enable_remote_control": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_soft_shutdown_timeout": 20,
        "worker_hijack_root_logger": False,
        "event_queue_prefix": f"{namespace}-events",
        "control_exchange": f"{namespace}-control",
        "beat_schedule": {
            "refresh-progress": {"task": "flowshift.refresh_progress", "schedule": 5.0},
        },
        "timezone": "UTC",
    }


def _configure_when_needed() -> dict[str, Any]:
    try:
        return configuration(runtime.runtime())
    except ConfigError as error:
        _stop(error)


app.add_defaults(_configure_when_needed)


@signals.setup_logging.connect
def _set_up_logging(**_: object) -> None:
    """Keep Celery from setting up logging: every line goes through structlog."""
    settings = runtime.runtime().settings
    logging_setup.configure(log_format=settings.log_format, level=settings.log_level)


@signals.celeryd_init.connect
def _check_servers(**_: object) -> None:
    """Refuse to start a worker that cannot use its servers, node types or models, in one line."""
    current = runtime.runtime()
    try:
        current.registry  # noqa: B018  (loading is the check)
        servers.check(current.servers, current.settings)
        if current.live is not None:
            chain.check(current.live)
    except ConfigError as error:
        _stop(error)


def _stop(error: ConfigError) -> NoReturn:
    sys.stderr.write(f"flowshift: {error}\n")
    raise SystemExit(3)
