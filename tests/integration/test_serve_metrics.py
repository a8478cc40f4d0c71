"""`/metrics` of `flowshift serve`: what Prometheus gets, and that scrapes hold nothing up."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2 as httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.executions import Executions
from tests.fleet import Fleet
from tests.live import eventually
from tests.monitoring import alert_expressions, dashboard_expressions, names_in
from tests.relay import relayed
from tests.traffic import Traffic
from tests.web import serving
from worker.core.metrics.catalogue import CATALOGUE
from worker.db import heartbeats
from worker.db.heartbeats import Identity, Sign
from worker.db.measuring import totals
from worker.runtime import Runtime
from worker.servers.connect import Servers

REQUESTS = "flowshift_http_request_duration_seconds_count"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are committed at once."""
    monkeypatch.setattr("worker.web.metrics.COMMIT_S", 0.05)


@pytest.fixture
def client(current: Runtime) -> Iterator[httpx.Client]:
    with serving(current) as client:
        yield client


def values(text: str) -> dict[tuple[str, ...], float]:
    """What a scrape says, by name and labels."""
    families = text_string_to_metric_families(text)
    return {
        (one.name, *one.labels.values()): one.value for family in families for one in family.samples
    }


def test_a_scrape_has_what_rows_say_and_what_the_process_counts(
    fleet: Fleet, client: httpx.Client
) -> None:
    fleet.add_many(2)
    fleet.run()
    client.get("/health/live")
    client.get("/nowhere/at-all-1")
    client.get("/nowhere/at-all-2")
    client.request("BREW", "/")
    client.get("/api/v1/bots/bot-00000/workflow-versions")

    def committed() -> bool:
        found = values(client.get("/metrics").text)
        last = [key for key in found if key[0] == REQUESTS and "/api/v1/bots/{bot_id}" in str(key)]
        return bool(last) and found.get((REQUESTS, "GET", "none", "4xx")) == 2

    eventually(committed)
    answer = client.get("/metrics")

    found = values(answer.text)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert found["flowshift_up",] == 1
    assert found["flowshift_bots_total", "", "convert", "converted"] == 2
    requests = {tuple(sorted(key[1:])): n for key, n in found.items() if key[0] == REQUESTS}
    assert requests["/health/live", "2xx", "GET"] == 1
    assert requests["4xx", "GET", "none"] == 2
    assert requests["/api/v1/bots/{bot_id}/workflow-versions", "2xx", "GET"] == 1
    assert requests["4xx", "none", "other"] == 1


def test_a_reader_of_openmetrics_gets_that(client: httpx.Client) -> None:
    answer = client.get(
        "/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"}
    )

    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")


def test_scrapes_at_once_are_one_reading(client: httpx.Client, fleet: Fleet) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = [one.result() for one in [pool.submit(client.get, "/metrics") for _ in range(6)]]

    read_at = {values(one.text)["flowshift_read_timestamp_seconds",] for one in answers}
    assert len(read_at) == 1


def test_without_the_database_a_scrape_says_so_and_requests_are_counted_later(
    current: Runtime, database: str
) -> None:
    with relayed(database) as (url, relay):
        relay.refuse()
        away = Runtime(current.settings, Servers(url, current.servers.redis_url))
        with serving(away) as client:
            for _ in range(7):
                client.get("/docs/style.css")
            answer = client.get("/metrics", timeout=30)
            relay.accept()
            eventually(lambda: counted(current, "/docs/style.css") == 7)
        away.close()

    found = values(answer.text)
    assert answer.status_code == 200
    assert found["flowshift_up",] == 0
    assert {key[0] for key in found} == {"flowshift_up", "flowshift_scrape_duration_seconds"}


def counted(current: Runtime, route: str) -> int:
    """How many requests of a route are committed."""
    with current.engine.connect() as connection:
        return sum(
            sum(one.counts) for one in totals.read(connection) if one.labels[1:2] == (route,)
        )


def test_the_rest_is_committed_when_the_process_ends(
    current: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.web.metrics.COMMIT_S", 3600)
    with serving(current) as client:
        client.get("/docs/style.css")
        assert counted(current, "/docs/style.css") == 0

    assert counted(current, "/docs/style.css") == 1


def test_no_route_is_named_as_a_client_asked_for_it(client: httpx.Client, current: Runtime) -> None:
    for number in range(3):
        client.get(f"/api/v1/bots/bot-{number}/workflow-versions")
    route = "/api/v1/bots/{bot_id}/workflow-versions"
    eventually(lambda: counted(current, route) == 3)
    found = values(client.get("/metrics").text)

    assert not [key for key in found if any("bot-" in part for part in key)]
    assert {key[0].removesuffix("_count") for key in found if key[0] == REQUESTS} <= set(CATALOGUE)


def test_a_live_system_has_every_metric_that_the_alerts_and_the_dashboard_name(
    fleet: Fleet, client: httpx.Client
) -> None:
    traffic = Traffic(fleet)
    traffic.wave(1, "asked")
    traffic.ask("asked")
    fleet.add_many(2)
    fleet.run(validate="sample:1")
    Executions(fleet).prune()
    with fleet.engine.begin() as connection:
        me = Identity(uuid.uuid4(), "beat", "beat", "h", 1, "0.1.0")
        heartbeats.begin(connection, me)
        heartbeats.beat(connection, me, Sign(0.0))
    client.get("/")
    eventually(lambda: counted(fleet.current, "/") == 1)

    found = {name for name, *_ in values(client.get("/metrics").text)}

    assert names_in([*alert_expressions(), *dashboard_expressions()]) <= found
