"""RabbitMQ as the queue: what its URL says, and what is refused, without a server."""

from __future__ import annotations

import ssl

import pytest

from worker.app import configuration
from worker.errors import ConfigError
from worker.queue import rabbitmq
from worker.runtime import Runtime
from worker.servers.connect import Servers
from worker.settings import Settings


def settings_of(queue_url: str) -> dict[str, object]:
    """Celery's settings with this queue."""
    return configuration(Runtime(Settings(), Servers("postgresql:///", "redis:///", queue_url)))


def test_rabbitmq_is_durable_confirmed_and_without_delayed_messages() -> None:
    found = settings_of("amqp://me:secret@queue/bots")
    assert found["broker_url"] == "amqp://me:secret@queue/bots"
    assert found["task_default_queue_type"] == "quorum"
    assert found["broker_transport_options"]["confirm_publish"] is True  # type: ignore[index]
    assert found["worker_consumer"] == "worker.queue.consumer:Consumer"
    assert found["accept_content"] == ["json"]


def test_without_a_url_of_its_own_the_queue_is_in_redis() -> None:
    assert settings_of("")["broker_url"] == "redis://localhost:6379/0"
    assert settings_of("redis://other/3")["broker_url"] == "redis://other:6379/3"


def test_tls_verifies_the_server_and_takes_files_from_the_query() -> None:
    found = settings_of("amqps://queue.example/?ssl_ca_certs=/ca.pem")
    assert found["broker_url"] == "amqps://queue.example/"
    assert found["broker_use_ssl"] == {
        "cert_reqs": ssl.CERT_REQUIRED,
        "server_hostname": "queue.example",
        "ca_certs": "/ca.pem",
    }


@pytest.mark.parametrize(
    "url",
    [
        "amqp://me:secret@queue:port/",
        "amqp://me:secret@queue/?ssl_ca_certs=x",
        "amqps://me:secret@queue/?secret=1",
        "amqp://me:secret@127.0.0.1:9/",
    ],
)
def test_a_url_that_leads_nowhere_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        rabbitmq.check(url)
    assert str(refused.value).startswith("FLOWSHIFT_BROKER_URL: ")
    assert "me:secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://me:secret@queue", "secret"])
def test_a_url_of_neither_is_refused_under_its_own_name(url: str) -> None:
    with pytest.raises(ConfigError, match=r"FLOWSHIFT_BROKER_URL: it should hold") as refused:
        settings_of(url)
    assert "secret" not in str(refused.value)


def test_the_consumer_has_all_steps_of_celerys_but_the_delayed_ones() -> None:
    from worker.queue.consumer import Consumer  # noqa: PLC0415  (Celery's worker is slow to import)

    names = [step.rpartition(":")[2] for step in Consumer.Blueprint.default_steps]
    assert "Tasks" in names
    assert "DelayedDelivery" not in names
