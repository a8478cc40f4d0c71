"""The two pages for the night of the cut-over quote what the commands really print, figures aside."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pytest

from tests.fleet import Fleet
from tests.live import Environment, flowshift, running, tending
from tests.operating import Operator
from worker.core.targets.registry import TARGETS
from worker.db.publication.waves import Wave
from worker.processes.supervisor import Supervisor
from worker.settings import Settings
from worker.steps.publication.report import publication_of
from worker.steps.sample_fleet import add_sample_fleet
from worker.steps.sample_story import members_of
from worker.steps.sample_traffic import SampleTraffic

pytestmark = pytest.mark.acceptance

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
PAGES = [HOW_TO / "cut-over-night.md", HOW_TO / "night-it-goes-wrong.md"]
COMPARED = {"publish", "publication", "gate", "rollback", "executions"}
"""The commands whose output is compared; that of the others depends on the machine."""


OTHERS = "SELECT FROM flowshift.publications WHERE retry_of = 1"
LIVE_AGAIN = """
    SELECT FROM flowshift.publication_bots p
    JOIN bot_workflow_versions v ON v.id = p.version_id
    JOIN bots b ON b.bot_id = p.bot_id AND b.use_workflow_v2
    WHERE p.publication_id = 2 AND p.bot_id = :b AND p.state = 'published' AND v.version = 'v1.1'
"""


def shape(line: str) -> str:
    """A line without its figures, its ids, and the width of its columns."""
    line = re.sub(r"\b(sample-|bot_)\d+", "BOT", line)
    line = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ID", line)
    line = re.sub(r"\bplan [0-9a-f]{16}\b", "plan DIGEST", line)
    line = re.sub(r"\('BOT'.*\)", "(BOTS)", line)
    line = re.sub(r" at \S+ as user", " at HOST as user", line)
    line = line.replace("less than once", "once")
    line = re.sub(r"\b(hour|minute|bot|execution|wave)s\b", r"\1", line)
    return " ".join(re.sub(r"\d[\d,.]*", "0", line).split())


def quoted(page: Path) -> Iterator[tuple[str, str]]:
    """Each line of output on a page: the command that prints it, and the line."""
    for indent, block in re.findall(
        r"^( *)```console\n(.*?)\n\1```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    ):
        command = "rollback"  # of a line that stands alone, as part of a preview
        for line in block.splitlines():
            text = line.removeprefix(indent)
            if text.startswith("$ "):
                command = text.removeprefix("$ flowshift ").split()[0]
            else:
                yield command, text


class Night:
    """A fleet that is published for real, its users, and everything that the commands printed."""

    def __init__(
        self, fleet: Fleet, owner: Environment, supervisor: Supervisor, log: IO[bytes]
    ) -> None:
        self.fleet = fleet
        self.log = log
        self.owner = owner
        self.supervisor = supervisor
        self.users = SampleTraffic(fleet.current, TARGETS["guide"])
        self.shapes: set[str] = set()

    def types(self, *arguments: str, code: int = 0) -> None:
        ended = flowshift(self.owner, *arguments, timeout_s=200)
        assert ended.returncode == code, (arguments, ended.stdout, ended.stderr)
        self.shapes |= {shape(line) for line in (ended.stdout + ended.stderr).splitlines()}

    def has_printed(self, line: str) -> bool:
        """Whether a line like this was printed; … at its end stands for the rest."""
        known = shape(line.removesuffix("…"))
        if line.endswith("…"):
            return any(one.startswith(known) for one in self.shapes)
        return known in self.shapes

    def wave(self, number: int) -> Wave:
        return publication_of(self.fleet.engine, 1)[1][number - 1]

    def bots(self, *waves: int) -> list[str]:
        return [one.bot_id for one in members_of(self.fleet.engine, 1) if one.wave in waves]

    def until(self, number: int, *states: str, asked: Sequence[int] = (), each: int = 1) -> None:
        """Wait for a state of a wave, while users write to the bots of some waves."""

        def is_there() -> bool:
            for _ in range(each):
                if asked:
                    self.users.send(self.bots(*asked))
            return self.wave(number).state in states

        tending(self.supervisor, is_there)

    def retries_and_is_killed(self, bot_id: str) -> None:
        """Publish anew a bot that went back, and kill the command: workers and the beat do the rest."""
        request = ("--publication", "1", "--bot-id", bot_id, "--yes")
        retry = Operator(self.fleet, self.owner).begin("retry", *request, log=self.log)
        tending(self.supervisor, lambda: self.fleet.rows(OTHERS))
        retry.kill()
        retry.wait()
        tending(self.supervisor, lambda: self.fleet.rows(LIVE_AGAIN, b=bot_id))

    def until_held(self, because: str, asked: Sequence[Sequence[str]] = ()) -> None:
        """Wait until the publication is held, while users write to these bots, one group after another."""

        def is_held() -> bool:
            for bot_ids in asked:
                self.users.send(bot_ids)
            return publication_of(self.fleet.engine, 1)[0].held_because == because

        tending(self.supervisor, is_held)


@pytest.fixture
def night(fleet: Fleet, quick: Environment, settings: Settings, tmp_path: Path) -> Iterator[Night]:
    add_sample_fleet(fleet.engine, 200, asked=None, setting="auto")
    owner = quick | {
        "FLOWSHIFT_DATABASE_URL": settings.database_url,
        "FLOWSHIFT_GATE_S": "1",
        "FLOWSHIFT_GATE_MIN_SOAK_S": "1",
    }
    with (
        running(owner, tmp_path, processes=1) as supervisor,
        (tmp_path / "retry.log").open("wb") as log,
    ):
        yield Night(fleet, owner, supervisor, log)


def test_the_pages_for_the_night_quote_what_the_commands_print(
    night: Night, tmp_path: Path
) -> None:
    fleet = night.fleet
    night.types("backup", str(tmp_path / "cut-over"))
    night.types("backup", "verify", str(tmp_path / "cut-over"))
    night.types("migrate", code=1)
    night.types("publish", "1", "--dry-run")
    night.types("publish", "1", "--waves", "1, 10, 100, all", "--yes", "--detach")
    tending(night.supervisor, lambda: (night.wave(1).sentence or "").endswith("none has come yet"))
    night.types("publication", "1")
    night.until(1, "passed", asked=[1], each=20)
    night.until(2, "watching", "passed")
    night.users.sick = frozenset(night.bots(3)[:25])
    night.until(2, "passed", asked=[1, 2], each=5)
    night.until(3, "failed", asked=[1, 2, 3])
    night.types("publication", "1")
    night.types("gate", "1", "3", "--explain", code=1)
    night.types("executions", "--failed", "--limit", "2")
    night.types("rollback", "--publication", "1", "--wave", "3", "--reason", "failed", "--yes")

    night.types("go", "1", "--detach")
    night.until(4, "watching")
    night.users.sick = frozenset(night.bots(1, 2, 4))
    before = night.bots(1, 2)
    night.until_held("disturbed", asked=[before, before, before, before, before, night.bots(4)])
    night.types("publication", "1")
    night.types("go", "1")
    fleet.execute(
        "UPDATE flowshift.waves SET watched_from = now() - interval '25 hours' WHERE number = 4"
    )
    night.until_held("inconclusive")
    night.types("gate", "1", code=1)

    complained, by_hand, edited = night.bots(2)[:3]
    night.types("rollback", "--bot-id", complained, "--reason", "wrong answers", "--yes")
    fleet.execute(
        "INSERT INTO bot_workflow_versions (id, bot_id, version, status, graph, published_at)"
        " SELECT gen_random_uuid(), bot_id, 'v9', 'published', graph, now() + interval '1 minute'"
        " FROM bot_workflow_versions WHERE bot_id = :b AND status = 'published'",
        b=by_hand,
    )
    fleet.execute(
        "UPDATE bots SET workflow = jsonb_set(workflow::jsonb, '{viewport}', '1')::json"
        " WHERE bot_id = :b",
        b=edited,
    )
    night.types("rollback", "--publication", "1", "--dry-run")
    night.retries_and_is_killed(complained)
    night.owner |= {"FLOWSHIFT_DATABASE_URL": "postgresql://me@127.0.0.1:1/platform"}
    night.types("publication", "1", code=3)

    lines = [
        (page.name, line) for page in PAGES for command, line in quoted(page) if command in COMPARED
    ]
    assert len(lines) > 40
    unknown = [f"{name}: {line}" for name, line in lines if not night.has_printed(line)]
    assert not unknown, "\n".join(unknown)
