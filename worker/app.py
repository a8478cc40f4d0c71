"""The Celery application: `celery -A worker.app worker`.

Why each setting is as it is: docs/explanation/celery.md. The servers are resolved when the configuration is
first needed, so that importing this module starts nothing.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NoReturn

from billiard.util import get_logger as billiard_logger
from celery import Celery, signals

from worker import log as logging_setup
from worker import runtime
from worker.db.rights import Publisher, publisher
from worker.errors import ConfigError
from worker.providers import chain
from worker.queue import limits, rabbitmq
from worker.queue.choice import choose_queues
from worker.queue.environment import ignore
from worker.queue.loader import ours
from worker.queue.names import celery_name, celery_queues
from worker.runtime import Runtime
from worker.servers import connect
from worker.settings import Settings
from worker.steps.alerts.rules import rules_of

log = logging_setup.get_logger(__name__)


class Application(Celery):
    """Celery, steered by our settings alone: not by CELERY_BROKER_URL and the like."""

    def connection_for_read(self, url: Any = None, **options: Any) -> Any:
        """A connection to read from the queue."""
        return super().connection_for_read(url or self.conf.get("broker_url"), **options)

    def connection_for_write(self, url: Any = None, **options: Any) -> Any:
        """A connection to send to the queue."""
        return super().connection_for_write(url or self.conf.get("broker_url"), **options)

    def create_task_cls(self) -> Any:
        """The base class of our tasks, from our own `tasks`."""
        ours("tasks")
        return super().create_task_cls()

    @cached_property
    def Beat(self) -> type[Any]:  # noqa: N802  (Celery's name)
        """Celery's beat: it checks its rights on Redis, and prints no banner where the log is JSON."""
        base = super().Beat

        class Beat(base):  # type: ignore[misc, valid-type]
            def __init__(self, *args: Any, **given: Any) -> None:
                super().__init__(*args, **given)
                _set_up_logging()
                self.quiet: bool = given.get("quiet", False) or logging_setup.writes_json()

            def run(self) -> None:
                _refuse_what_waiting_cannot_repair()
                super().run()

        return Beat


# The base class of every task: it tells us of lost workers.
app = Application(
    "flowshift",
    include=["tasks"],
    set_as_current=True,
    task_cls="tasks.lost:Task",
    loader="worker.queue.loader:Loader",
    backend="disabled://",
)
app.steps["consumer"].add("tasks.pulse:Step")  # which shows that the worker works


BEAT_RETRY = {"max_retries": 2, "interval_start": 0, "interval_step": 0.5, "interval_max": 1}
"""How a message of the beat is tried again. One that is lost for good is followed by others."""


def configuration(current: Runtime) -> dict[str, Any]:
    """Celery's settings for the servers and the namespace of a runtime.

    Raises:
        ConfigError: the queue's URL is none that Celery's transports read.
    """
    settings = current.settings
    namespace = settings.namespace
    common = {
        "broker_url": current.servers.broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # The result of a batch is in PostgreSQL; a result backend would be one more thing to lose.
        "task_ignore_result": True,
        "task_default_queue": namespace,
        # A queue that is not one of ours is a misspelt -Q, which would take nothing for ever.
        "task_create_missing_queues": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "worker_consumer": "worker.queue.message_validation:Consumer",
        "task_acks_late": True,
        # A batch whose worker was lost is rescued from the database, not here.
        "task_reject_on_worker_lost": False,
        "task_retry_on_worker_lost": False,
        "task_publish_retry": False,
        "task_send_sent_event": True,
        "worker_send_task_events": True,
        "worker_prefetch_multiplier": 1,
        "worker_enable_remote_control": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        # Half of what it may have at most (worker/queue/limits.py), in KiB: leaks end here, not there.
        "worker_max_memory_per_child": settings.child_memory_mb * 512,
        "worker_hijack_root_logger": False,
        "event_queue_prefix": f"{namespace}-events",
        "control_exchange": f"{namespace}-control",
        "beat_schedule": {
            "refresh-progress": _every("flowshift.refresh_progress", 5.0),
            "sweep": _every("flowshift.sweep", float(settings.sweep_s)),
            # Sick bots go back to V1, which only some workers may do. Sent only if one of them is to look.
            "tick-publications": _every(
                "flowshift.tick_publications", settings.gate_s, celery_name(namespace, "publish")
            ),
            # Sent only if there is something to be sent.
            "send-notifications": _every("flowshift.send_notifications", settings.notify_s),
            # Every minute, and not once a day: PostgreSQL knows whether the day's prune is over.
            "tick-prune": _every("flowshift.tick_prune", 60.0),
        },
        "beat_scheduler": "worker.processes.beat:Scheduler",
        "timezone": "UTC",
    }
    if current.servers.has_rabbitmq:
        return common | rabbitmq.celery_settings(current.servers.queue_url, namespace)
    return common | _redis_settings(settings)


def _every(task: str, seconds: float, queue: str | None = None) -> dict[str, Any]:
    """An entry of the beat's schedule, tried again at once where the connection was lost meanwhile.

    The beat keeps its connection: with `task_publish_retry` off, as it is for the others, it would
    fail at every message from the first lost connection on.
    """
    options: dict[str, Any] = {"retry": True, "retry_policy": BEAT_RETRY}
    if queue is not None:
        options["queue"] = queue
    return {"task": task, "schedule": float(seconds), "options": options}


def _redis_settings(settings: Settings) -> dict[str, Any]:
    """What is different where the queue is Redis's."""
    return {
        "task_queues": celery_queues(settings.namespace, quorum=False),
        "broker_transport_options": {
            "global_keyprefix": f"{settings.namespace}:queue:",
            "visibility_timeout": max(1_800, 3 * settings.time_limit_s),
            "unacked_restore_interval": 15,
            "unacked_restore_throttle": 1,
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
            # Sending while Redis is unavailable fails at once: the work goes on without it. (By default
            # kombu tries for six seconds. A worker's own connection is tried forever, see above.)
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.1,
            "connect_retries_timeout": 1,
        },
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
    _let_the_pool_log()
    logging_setup.configure(
        log_format=settings.log_format,
        level=settings.log_level,
        periodic=[entry["task"] for entry in app.conf.beat_schedule.values()],
    )
    logging_setup.capture()


def _let_the_pool_log() -> None:
    """Send the pool's warnings the same way: that a child took too much memory, for one."""
    logger = billiard_logger()
    logger.setLevel(logging.WARNING)
    logger.propagate = True


COLLECTED_AFTER = 10_000
"""A child looks for cycles after so many new objects: Python's own 700 took a twentieth of its time."""


@signals.worker_before_create_process.connect
def _share_memory(**_: object) -> None:
    """Load before a fork what every child needs, and put it out of the collector's sight.

    Looking at it would copy it.
    """
    import worker.core.workflow.config_models  # noqa: F401, PLC0415  (pydantic, which children then share)

    gc.collect()
    gc.freeze()


@signals.worker_process_init.connect
def _begin_child(**_: object) -> None:
    """Limit the memory and the time of a pool child, and let it look for garbage less often.

    A batch makes some hundred thousand objects, and hardly a cycle of them.
    """
    gc.set_threshold(COLLECTED_AFTER)
    limits.begin(memory_mb=runtime.runtime().settings.child_memory_mb)


@signals.worker_shutting_down.connect
def _hand_back_in_time(how: str, **_: object) -> None:
    """Let a worker that stops finish its batches for a while, then hand back the rest.

    Celery's warm shutdown ends with the last task, but waits for it without limit; its soft shutdown
    has a limit, but always waits until that. So: a warm one, and after the limit a cold one.
    """
    if how == "Warm":
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGQUIT))
        signal.setitimer(signal.ITIMER_REAL, runtime.runtime().settings.shutdown_s)


@signals.celeryd_init.connect
def _check_servers(instance: Any = None, options: Mapping[str, Any] = {}, **_: object) -> None:
    """Refuse to start a worker that cannot use its pool, servers, node types or models, in one line."""
    current = runtime.runtime()
    _set_up_logging()
    if instance is not None and logging_setup.writes_json():
        instance.quiet = True
    ignore()
    try:
        limits.refuse_pool(options.get("pool") or options.get("pool_cls"))
        ours("tasks")
        current.registry  # noqa: B018  (loading is the check)
        connect.check(current.servers, current.settings)
        choose_queues(app, options.get("queues"), _publisher(current))
        if current.live is not None:
            chain.check(current.live)
        current.channels  # noqa: B018  (reading is the check)
        _check_platform(current)
    except ConfigError as error:
        _stop(error)


def _refuse_what_waiting_cannot_repair() -> None:
    current = runtime.runtime()
    try:
        connect.check_rights(current.servers, current.settings)
        current.channels  # noqa: B018  (reading is the check)
        rules_of(current.settings)
    except ConfigError as error:
        _stop(error)


@signals.worker_shutdown.connect
def _say_goodbye(**_: object) -> None:
    log.info("worker.stopped")


def _publisher(current: Runtime) -> Publisher:
    """The role that is connected. Its connection is closed again: no child may inherit it."""
    try:
        with current.engine.connect() as connection:
            return publisher(connection)
    finally:
        current.engine.dispose()


def _check_platform(current: Runtime) -> None:
    """Ask the platform's own word once, and end it: no child may inherit it."""
    if current.platform is not None:
        current.platform.capabilities()
        current.platform.close()


@signals.beat_init.connect
def _ignore_others(**_: object) -> None:
    ignore()


def _stop(error: ConfigError) -> NoReturn:
    logging_setup.refuse(error)
    raise SystemExit(3)
