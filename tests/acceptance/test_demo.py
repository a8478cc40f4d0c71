"""The demo: what it prints; its second part, in which bots go live and one is sick; Ctrl-C in the midst."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.live import Environment, eventually, flowshift

pytestmark = pytest.mark.acceptance

README = Path(__file__).parents[2] / "README.md"


BOTS = 300


def alone(directory: Path) -> Environment:
    """An environment with servers of the demo's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOWSHIFT_")}
    return kept | {
        "FLOWSHIFT_DATA_DIR": str(directory),
        "FLOWSHIFT_FLOWER_PORT": "0",
        "PYTHONUNBUFFERED": "1",
    }


class Played:
    """A demo that was played once, for several tests: what it printed, and the data that it left."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        ended = flowshift(environment, "demo", "--bots", str(BOTS), "--exit", timeout_s=250)
        assert ended.returncode == 0, ended.stderr
        eventually(lambda: not left_behind(environment))
        self.out: str = ended.stdout


def shape(line: str) -> str:
    """A line without its figures, the place of its data, and the width of its columns."""
    line = re.sub(r"(data directory ).*", r"\1PATH", line)
    line = re.sub(r"^sample-\d+", "sample-ID", line)
    return " ".join(re.sub(r"\d[\d,.]*", "0", line).split())


def documented() -> list[str]:
    _, _, after = README.read_text(encoding="utf-8").partition("tests/acceptance/test_demo.py -->")
    block = after.partition("```text\n")[2].partition("\n```")[0]
    return [line for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def played(data_dir: Path) -> Played:
    """A demo of an empty data directory."""
    return Played(alone(data_dir / "demo"))


def left_behind(environment: Environment) -> list[str]:
    """The processes that still use the demo's data directory."""
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if environment["FLOWSHIFT_DATA_DIR"] in " ".join(process.info["cmdline"] or ())
    ]


def test_a_part_goes_live_in_waves_a_sick_bot_shows_and_v1_answers_everybody_again(
    played: Played,
) -> None:
    out = played.out
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
    assert "takes longer than" not in story


def test_the_readme_shows_what_the_demo_prints(played: Played) -> None:
    printed = [shape(line) for line in played.out.splitlines() if line.strip()]

    at, skips = 0, False
    assert len(documented()) > 15
    for line in documented():
        if line == "…":
            skips = True
            continue
        wanted = shape(line.removesuffix("…"))
        whole = not line.endswith("…")
        here = range(at, len(printed)) if skips else range(at, min(at + 1, len(printed)))
        fits = [
            i for i in here if printed[i] == wanted or (not whole and printed[i].startswith(wanted))
        ]
        assert fits, f"{line!r} is not printed; instead {printed[at : at + 3]}"
        at, skips = fits[0] + 1, False


def test_it_says_what_it_made_and_the_second_time_only_what_was_published_gets_a_new_draft(
    played: Played,
) -> None:
    assert f"{BOTS} of them new" in played.out
    assert "V2 draft" in played.out
    assert "Flower: http://127.0.0.1:" in played.out
    assert "invalid_text 3" in played.out

    by_variable = {**played.environment, "DEMO_EXIT": "1"}
    second = flowshift(by_variable, "demo", "--bots", str(BOTS), timeout_s=250)
    assert second.returncode == 0, second.stderr
    counts = re.search(r"^converted +(\d+).*\nunchanged +(\d+)", second.stdout, re.MULTILINE)
    assert counts is not None
    assert counts.groups() == ("224", "52")
    eventually(lambda: not left_behind(by_variable))


def test_ctrl_c_in_the_middle_of_the_story_leaves_nothing_behind(data_dir: Path) -> None:
    environment = alone(data_dir / "interrupted")
    demo = subprocess.Popen(
        [sys.executable, "-m", "worker", "demo", "--bots", "300"],
        env=environment,
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
    eventually(lambda: not left_behind(environment))
