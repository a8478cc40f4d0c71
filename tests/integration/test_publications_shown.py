"""Publications in Redis and Flower: from committed rows, in words, and there again after a loss."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fleet import Fleet
from tests.publishing import Publishing
from tests.queues import TestQueue
from worker.core.publication.sizes import parse_waves
from worker.core.publication.waves import Wishes
from worker.db import outbox
from worker.db.publication import outline
from worker.db.publication.outline import Outline
from worker.db.publication.waves import Options
from worker.progress.expiry import expire_keys
from worker.progress.flower import FlowerRow, describe
from worker.progress.redis import RedisPublisher, publication_key, run_key
from worker.steps.batch import delivery
from worker.steps.finish import finish_run
from worker.steps.publication import control
from worker.steps.publication.plan import Wanted
from worker.steps.refresh import report_all


@pytest.fixture
def publishing(fleet: Fleet) -> Publishing:
    """Three bots with proven drafts."""
    fleet.add_many(3)
    fleet.run(validate="sample:1")
    return Publishing(fleet)


def start(publishing: Publishing) -> int:
    """Begin a publication of two waves; returns the run of the first."""
    wanted = Wanted(
        run_id=1, steps=parse_waves("1, all"), wishes=Wishes(), options=Options(target="guide")
    )
    going = control.publish(publishing.fleet.current, wanted, request_id="r", actor="me")
    assert going.run_id is not None
    return going.run_id


def shown(fleet: Fleet, key: str) -> dict[str, str]:
    found: dict[Any, Any] = fleet.current.redis.hgetall(key)
    return {name.decode(): value.decode() for name, value in found.items()}


def publication(fleet: Fleet) -> dict[str, str]:
    return shown(fleet, publication_key(fleet.current.settings.namespace, 1))


def read(fleet: Fleet) -> Outline:
    with fleet.engine.connect() as connection:
        found = outline.one(connection, 1)
    assert found is not None
    return found


# -- Redis -------------------------------------------------------------------------------------------


def test_a_run_that_publishes_carries_its_publication_and_wave(publishing: Publishing) -> None:
    run_id = start(publishing)
    fleet = publishing.fleet
    fleet.process().reporter.report_run(run_id)
    run = shown(fleet, run_key(fleet.current.settings.namespace, run_id))
    assert (run["publication"], run["wave"], run["wave_label"]) == ("1", "1", "1")
    fleet.process().reporter.report_run(1)
    assert "publication" not in shown(fleet, run_key(fleet.current.settings.namespace, 1))


def test_a_publication_has_a_document_of_its_own_after_each_batch(publishing: Publishing) -> None:
    run_id = start(publishing)
    fleet = publishing.fleet
    fleet.process().reporter.report_run(run_id)
    found = publication(fleet)
    assert (found["state"], found["wave"], found["published"]) == ("publishing", "1", "0")
    before = int(found["version"])

    fleet.convert(run_id, 1)
    fleet.process().reporter.report_run(run_id)
    found = publication(fleet)
    assert (found["state"], found["wave_state"], found["published"]) == (
        "watching",
        "watching",
        "1",
    )
    assert (found["bots_total"], found["waves_total"], found["gate"]) == ("3", "2", "pause")
    assert int(found["version"]) > before
    assert "bot-0" not in json.dumps(found)


def test_after_redis_lost_everything_a_refresh_shows_publications_again(
    publishing: Publishing,
) -> None:
    run_id = start(publishing)
    fleet = publishing.fleet
    fleet.convert(run_id, 1)
    control.hold(fleet.current, 1, actor="me", reason="고객\x1b[2J")
    process = fleet.process(TestQueue())
    assert report_all(process) is not None
    whole = publication(fleet)
    assert (whole["state"], whole["held_because"], whole["reason"]) == (
        "held",
        "person",
        "고객\\x1b[2J",
    )

    for key in fleet.current.redis.scan_iter(f"*{fleet.current.settings.namespace}*"):
        fleet.current.redis.delete(key)
    assert report_all(process) is not None
    assert publication(fleet) == whole


def test_a_late_report_does_not_turn_a_publication_back(publishing: Publishing) -> None:
    run_id = start(publishing)
    fleet = publishing.fleet
    early = read(fleet)
    fleet.convert(run_id, 1)
    settings = fleet.current.settings
    publisher = RedisPublisher(fleet.current.redis, settings.namespace, 100)
    assert publisher.publish_publication(read(fleet))
    assert not publisher.publish_publication(early)
    assert publication(fleet)["published"] == "1"


def test_every_bot_moves_the_version_on_while_the_state_stays(publishing: Publishing) -> None:
    start(publishing)
    fleet = publishing.fleet
    before = read(fleet)
    fleet.execute("UPDATE flowshift.waves SET skipped = skipped + 1 WHERE number = 1")
    after = read(fleet)
    assert (after.state, after.row_version) == (before.state, before.row_version)
    assert after.version == before.version + 1


def test_a_publication_expires_once_it_is_over_and_one_that_nobody_ends_by_the_prune(
    publishing: Publishing,
) -> None:
    start(publishing)
    fleet, settings = publishing.fleet, publishing.fleet.current.settings
    client, key = fleet.current.redis, publication_key(settings.namespace, 1)
    publisher = RedisPublisher(client, settings.namespace, 100)
    publisher.publish_publication(read(fleet))
    expire_keys(
        client, settings.namespace, keep_s=100, is_current=lambda _: False, is_open=lambda _: True
    )
    assert client.ttl(key) == -1
    expire_keys(
        client, settings.namespace, keep_s=50, is_current=lambda _: True, is_open=lambda _: False
    )
    assert 0 < int(client.ttl(key)) <= 50

    control.stop(fleet.current, 1, actor="me", reason=None)
    publisher.publish_publication(read(fleet))
    assert 50 < int(client.ttl(key)) <= 100
    assert publication(fleet)["state"] == "stopped"


# -- Flower ------------------------------------------------------------------------------------------


def test_messages_and_results_of_publish_batches_name_publication_and_wave(
    publishing: Publishing,
) -> None:
    run_id = start(publishing)
    fleet = publishing.fleet
    with fleet.engine.begin() as connection:
        [message] = outbox.take(connection, run_id, 9)
    assert message.slice.startswith("publication 1, wave 1 (1), 1 bot from bot-")

    said = delivery.do_batches(message.ref, fleet.process(TestQueue()))
    assert said.startswith("publication 1, wave 1 (1) · 1 published · 1 bot: bot-")


def test_a_claimed_batch_says_which_wave_it_is_of(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = start(publishing)
    told: list[str] = []
    monkeypatch.setattr(FlowerRow, "show_batch", lambda _self, _ref, bots: told.append(bots))
    with publishing.fleet.engine.begin() as connection:
        [message] = outbox.take(connection, run_id, 9)
    delivery.do_batches(message.ref, publishing.fleet.process(TestQueue()))
    assert told[0].startswith("publication 1, wave 1 (1), 1 bot: bot-")


def test_the_row_of_a_run_that_publishes_says_published_and_the_wave(
    publishing: Publishing,
) -> None:
    run_id = start(publishing)
    publishing.fleet.convert(run_id, 1)
    finish_run(publishing.fleet.engine, run_id, actor="test")
    line = describe(publishing.fleet.progress(run_id))
    assert "publication 1, wave 1 (1)" in line
    assert "1 published" in line
    assert "converted" not in line
