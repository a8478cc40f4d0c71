"""What the environment holds besides our settings: injected by Kubernetes, or Celery's and Flower's."""

from __future__ import annotations

import logging

import pytest

from worker.errors import ConfigError
from worker.queue.environment import for_children, ignore
from worker.queue.limits import refuse_pool
from worker.settings import Settings, is_injected, load

INJECTED = {
    f"FLOWSHIFT{service}{suffix}": value
    for service in ("", "_REDIS", "_FLOWER", "_DATABASE_URL", "_WORKER_2")
    for suffix, value in {
        "_SERVICE_HOST": "10.0.0.1",
        "_SERVICE_PORT": "5555",
        "_SERVICE_PORT_HTTP": "5555",
        "_PORT": "tcp://10.0.0.1:5555",
        "_PORT_5555_TCP": "tcp://10.0.0.1:5555",
        "_PORT_5555_TCP_PROTO": "tcp",
        "_PORT_5555_TCP_PORT": "5555",
        "_PORT_5555_TCP_ADDR": "10.0.0.1",
        "_PORT_53_UDP": "udp://[fd00::1]:53",
        "_PORT_9_SCTP_ADDR": "10.0.0.1",
    }.items()
}


def test_what_kubernetes_injects_is_no_setting() -> None:
    assert load(INJECTED) == Settings()
    assert load({**INJECTED, "FLOWSHIFT_BATCH_SIZE": "7"}).batch_size == 7


@pytest.mark.parametrize(
    "name", ["FLOWSHIFT_PORT", "FLOWSHIFT_FLOWR_PORT", "FLOWSHIFT_REDIS_PORT", "FLOWSHIFT_SERVICE"]
)
def test_names_that_only_look_like_it_are_mistakes_still(name: str) -> None:
    with pytest.raises(ConfigError, match="there is no such setting"):
        load({name: "5555"})


def test_a_port_is_a_setting_still() -> None:
    assert load({"FLOWSHIFT_FLOWER_PORT": "5556"}).flower_port == 5556
    assert not is_injected("FLOWSHIFT_FLOWER_PORT", "5556")


OF_OTHERS = {
    "CELERY_BROKER_URL": "redis://elsewhere",
    "CELERY_RESULT_BACKEND": "redis://elsewhere",
    "CELERY_LOADER": "default",
    "CELERY_CONFIG_MODULE": "theirs",
    "CELERYD_NODES": "2",
    "FLOWER_UNAUTHENTICATED_API": "true",
    "BROKER_URL": "amqp://elsewhere",
}


def test_what_steers_celery_and_flower_goes_to_no_process_of_ours() -> None:
    kept = {"PATH": "/bin", "C_FORCE_ROOT": "1", "FLOWSHIFT_BATCH_SIZE": "7"}

    assert for_children({**OF_OTHERS, **kept}) == kept


def test_what_is_ignored_is_mentioned_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        environ = {**OF_OTHERS, **INJECTED, "CELERY_FLOWER_PORT": "tcp://10.0.0.1:80"}
        ignore(environ)
        ignore({"PATH": "/bin"})

    assert environ == INJECTED
    (line,) = caplog.records
    assert isinstance(line.msg, dict)
    assert line.msg["names"] == [*sorted(OF_OTHERS), "FLOWSHIFT_FLOWER_PORT"]


@pytest.mark.parametrize(
    "pool", ["gevent", "eventlet", "threads", "celery.concurrency.gevent:TaskPool"]
)
def test_pools_without_processes_are_refused(pool: str) -> None:
    with pytest.raises(ConfigError, match="--pool=prefork"):
        refuse_pool(pool)


@pytest.mark.parametrize("pool", [None, "prefork", "solo", "celery.concurrency.prefork:TaskPool"])
def test_others_are_not(pool: str | None) -> None:
    refuse_pool(pool)
