"""What `flowshift up` writes: JSON alone, and nothing while it is idle."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.live import Environment, eventually

pytestmark = pytest.mark.acceptance

IDLE_S = 12.0


def test_every_line_of_up_is_json_and_an_idle_one_is_silent(
    environment: Environment, tmp_path: Path
) -> None:
    environment = {**environment, "FLOWSHIFT_FLOWER_PORT": "0", "FLOWSHIFT_SWEEP_S": "1"}
    log = tmp_path / "up.log"

    def said() -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.read_text().splitlines()]

    def address() -> str | None:
        return next((line["url"] for line in said() if line["event"] == "flower.ready"), None)

    with log.open("wb") as file:
        up = subprocess.Popen(
            [sys.executable, "-m", "worker", "up"], env=environment, stdout=file, stderr=file
        )
    try:
        url = eventually(address)
        eventually(lambda: any("ready." in line["event"] for line in said()))
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{url}/nosuch")
        eventually(lambda: any(line["logger"] == "tornado.access" for line in said()))
        time.sleep(3)  # Flower asks the workers about themselves
        before = len(said())
        time.sleep(IDLE_S)  # twelve sweeps, two refreshes
        idle = said()[before:]
    finally:
        up.terminate()
        up.wait(60)

    assert len(idle) <= 1, idle
    for line in said():
        assert {"event", "level", "timestamp"} <= line.keys()
