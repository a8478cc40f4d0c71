"""Following a run while its database is away."""

from __future__ import annotations

import pytest

from worker.cli.follow import follow
from worker.runtime import Runtime
from worker.servers.connect import Servers
from worker.settings import Settings


def test_what_is_waited_for_is_said_once_and_what_else_goes_on_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    nowhere = Servers("postgresql:///platform?host=/nowhere", "unix:///nowhere/redis.sock")
    current = Runtime(Settings(database_url="x", redis_url="x"), nowhere)
    looks = iter(range(2))

    def meanwhile() -> None:
        if next(looks, None) is None:
            raise KeyboardInterrupt  # the person has seen enough

    with pytest.raises(KeyboardInterrupt):
        follow(current, 1, meanwhile=meanwhile)
    assert capsys.readouterr().err.count("waiting for the database: ") == 1
