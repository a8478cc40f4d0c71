"""HEAD is answered as GET, without content (RFC 9110, 9.3.2), on the real server."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import httpx2 as httpx
import pytest

from tests.fleet import Fleet, a_broken_workflow
from tests.live import eventually
from tests.web import serving
from worker.runtime import Runtime

SAME = ("content-type", "content-length", "etag", "content-disposition", "cache-control")
CHANGES = ("/", "/metrics")
"""What they say differs from one second to the next."""


@pytest.fixture
def client(current: Runtime) -> Iterator[httpx.Client]:
    with serving(current) as client:
        yield client


def test_head_has_the_status_and_the_headers_of_get_and_no_content(
    fleet: Fleet, client: httpx.Client
) -> None:
    fleet.add("broken", a_broken_workflow())
    fleet.run()
    for path in (
        *("/", "/runs/1", "/bot?id=broken", "/settings", "/runs/1/failures.csv", "/docs"),
        *("/api/v1/status", "/api/v1/runs/1", "/api/v1/runs/1/failures.ndjson", "/health/live"),
        *("/metrics", "/runs/7", "/api/v1/runs/7", "/nowhere"),
    ):
        shown, asked = client.get(path), client.head(path)
        assert (asked.status_code, asked.content) == (shown.status_code, b""), path
        names = ("etag", "content-length") if path in CHANGES else ()
        for name in SAME:
            if name in names:
                assert (name in asked.headers) == (name in shown.headers), (path, name)
            else:
                assert asked.headers.get(name) == shown.headers.get(name), (path, name)


def test_a_page_that_a_client_has_is_not_modified_for_head_too(
    fleet: Fleet, client: httpx.Client
) -> None:
    fleet.add_many(1)
    fleet.run()
    mark = client.head("/runs/1").headers["etag"]

    assert client.head("/runs/1", headers={"If-None-Match": mark}).status_code == 304


def test_after_the_head_of_a_stream_the_connection_answers_the_next_request(
    fleet: Fleet, client: httpx.Client
) -> None:
    fleet.add("broken", a_broken_workflow())
    fleet.run()
    url = client.base_url
    connection = http.client.HTTPConnection(url.host, url.port)
    for _ in range(3):
        connection.request("HEAD", "/runs/1/failures.csv")
        asked = connection.getresponse()
        assert (asked.status, asked.read()) == (200, b"")
        connection.request("GET", "/health/live")
        assert connection.getresponse().read() == b'{"status":"ok"}'
    connection.close()


def test_a_request_by_head_is_counted_as_such_with_its_route(
    fleet: Fleet, client: httpx.Client
) -> None:
    fleet.add_many(1)
    fleet.run()
    client.head("/runs/1")

    wanted = 'http_request_duration_seconds_count{method="HEAD",route="/runs/{run_id}"'
    # It is counted once the handler has ended, which the client does not wait for.
    eventually(lambda: wanted in client.get("/metrics").text)


def test_head_of_what_is_only_done_by_post_stays_refused(client: httpx.Client) -> None:
    answer = client.head("/runs/1/pause")

    assert answer.status_code == 405
