"""Which requests are ours to answer, and which a page of another site made a browser send."""

from __future__ import annotations

import pytest

from worker.web.doors.origin import own_hosts, why_foreign

HOSTS = own_hosts(("flowshift.example",), "10.0.0.9")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:5556", "localhost", "[::1]:5556", "Flowshift.Example:443", "10.0.0.9"]
)
def test_our_own_names_are_answered(host: str) -> None:
    assert why_foreign("GET", {"host": host}, HOSTS) is None


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "127.0.0.1.evil.example", "flowshift.example@evil", "a/b", "0.0.0.0"],
)
def test_another_name_is_refused_so_that_no_name_can_be_rebound_to_us(host: str) -> None:
    assert why_foreign("GET", {"host": host}, HOSTS) is not None


@pytest.mark.parametrize(
    ("headers", "is_ours"),
    [
        ({}, True),
        ({"origin": "http://localhost:5556"}, True),
        ({"origin": "http://LOCALHOST:5556", "sec-fetch-site": "same-origin"}, True),
        ({"origin": "http://localhost:3000"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "none"}, True),
    ],
)
def test_a_change_comes_from_a_page_of_ours_or_from_a_program(
    headers: dict[str, str], *, is_ours: bool
) -> None:
    given = {"host": "localhost:5556", **headers}

    assert (why_foreign("POST", given, HOSTS) is None) == is_ours
    assert why_foreign("GET", given, HOSTS) is None, "a link from elsewhere may lead here"
