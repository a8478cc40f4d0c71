"""Which queues a worker takes messages from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from worker.db.rights import Publisher
from worker.errors import ConfigError
from worker.queue.choice import choose_queues, taken_queues
from worker.queue.names import celery_queues

MAY, MAY_NOT = Publisher("boss", may_publish=True), Publisher("few", may_publish=False)


@pytest.fixture
def app() -> Iterator[Celery]:
    """An application that is connected to nothing."""
    app = Celery("test", set_as_current=False, broker="memory://")
    app.conf.update(
        task_default_queue="ns",
        task_queues=celery_queues("ns", quorum=False),
        task_create_missing_queues=False,
    )
    yield app
    app.close()


def select(app: Celery, asked: str) -> None:
    """What Celery does afterwards with `-Q`."""
    app.amqp.queues.select([name for name in asked.split(",") if name])


@pytest.mark.parametrize(
    ("asked", "who", "taken"),
    [
        ("", MAY, ("convert", "publish")),
        ("", MAY_NOT, ("convert",)),
        ("ns", MAY, ("convert",)),
        ("ns", MAY_NOT, ("convert",)),
        ("ns:publish", MAY, ("publish",)),
        ("ns,ns:publish", MAY, ("convert", "publish")),
    ],
)
def test_a_worker_takes_what_is_asked_else_what_its_role_may(
    app: Celery, asked: str, who: Publisher, taken: tuple[str, ...]
) -> None:
    choose_queues(app, asked or None, who)
    select(app, asked)
    assert taken_queues(app) == taken


@pytest.mark.parametrize(
    ("asked", "who", "said"),
    [
        ("ns, ns:publish", MAY_NOT, "the role few may not publish"),
        (["ns:publish"], MAY_NOT, "run it as flowshift_publisher"),
        ("nss", MAY, "there is no queue 'nss': -Q takes ns and ns:publish"),
    ],
)
def test_a_worker_that_could_take_nothing_refuses_to_start(
    app: Celery, asked: str | list[str], who: Publisher, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        choose_queues(app, asked, who)


def test_rabbitmqs_queues_are_quorum_queues_on_one_exchange() -> None:
    one, two = celery_queues("ns", quorum=True)
    assert (one.name, two.name) == ("ns", "ns:publish")
    for queue in (one, two):
        assert queue.queue_arguments == {"x-queue-type": "quorum"}
        assert (queue.exchange.name, queue.exchange.type) == ("ns", "direct")
