"""The demo's second part: bots go live, one is sick, V1 answers again; and Ctrl-C in the middle of it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.live import Environment, eventually, flowshift

pytestmark = pytest.mark.acceptance


@pytest.fixture
def alone(environment: Environment, data_dir: Path) -> Environment:
    """An environment with servers of the demo's own."""
    kept = {name: value for name, value in environment.items() if not name.startswith("FLOWSHIFT_")}
    return kept | {
        "FLOWSHIFT_DATA_DIR": str(data_dir / "story"),
        "FLOWSHIFT_FLOWER_PORT": "0",
        "PYTHONUNBUFFERED": "1",
    }


def left_behind(environment: Environment) -> list[str]:
    """The processes that still use the demo's data directory."""
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if environment["FLOWSHIFT_DATA_DIR"] in " ".join(process.info["cmdline"] or ())
    ]


def test_a_part_goes_live_in_waves_a_sick_bot_shows_and_v1_answers_everybody_again(
    alone: Environment,
) -> None:
    ended = flowshift(alone, "demo", "--bots", "300", "--exit", timeout_s=250)

    assert ended.returncode == 0, ended.stderr
    out = ended.stdout
    assert "\x1b" not in out
    story = out.partition("from drafts to users, and back\n")[2]
    asked = re.findall(r"users send 224 messages: V1 answered (\d+), V2 (\d+), (\d+) failed", story)
    assert asked == [("224", "0", "0")] * 2
    assert re.findall(r"^gate: wave (\d) passed: ", story, re.MULTILINE) == list("1234")
    assert "publication 1 is completed" in story
    (sick,) = re.findall(r"^(sample-\d+) of wave 4 will fail on V2: HTTP 403", story, re.MULTILINE)
    assert f"gate: {sick} is sick alone: V1 answers it again" in story
    assert set(re.findall(r"failed.*(sample-\d{8}) +sample-visitor-", story)) == {sick}
    ((sent, *answered),) = re.findall(
        r"users sent ([\d,]+) messages: V1 answered (\d+), V2 ([\d,]+), (\d+) failed", story
    )
    counts = [int(count.replace(",", "")) for count in (sent, *answered)]
    assert counts[0] == sum(counts[1:])
    assert counts[3] > 0
    assert "223 bots: V1 answers again" in story
    eventually(lambda: not left_behind(alone))


def test_ctrl_c_in_the_middle_of_the_story_leaves_nothing_behind(alone: Environment) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "worker", "demo", "--bots", "300"],
        env=alone,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert demo.stdout is not None
    said = next(line for line in demo.stdout if line.startswith("$ flowshift publish"))
    demo.send_signal(signal.SIGINT)
    said, _ = demo.communicate(timeout=100)

    assert demo.returncode == 0, said
    assert "Traceback" not in said
    eventually(lambda: not left_behind(alone))
