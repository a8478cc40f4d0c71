"""From another machine, a server on loopback or on a socket in a file is reached by a relay alone."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from bench.machines import _place


@pytest.mark.parametrize(
    ("url", "serves"),
    [
        ("postgresql://me@127.0.0.1/db", "TCP:127.0.0.1:5432,nodelay"),
        ("postgresql://me@localhost:5433/db", "TCP:localhost:5433,nodelay"),
        ("postgresql://me@/db?host=/run/pg&port=5434", "UNIX-CONNECT:/run/pg/.s.PGSQL.5434"),
        ("unix:///tmp/redis.sock?db=0", "UNIX-CONNECT:/tmp/redis.sock"),
        ("postgresql://me@10.0.0.7/db", None),
        ("redis://redis.example:6379/1", None),
    ],
)
def test_a_server_that_another_machine_does_not_reach_is_relayed(
    url: str, serves: str | None
) -> None:
    assert _place(sa.make_url(url), 5432) == serves
