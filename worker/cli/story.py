"""The second part of the demo: some bots go live, a sick one is caught, V1 answers again.

Every line comes from committed rows, and every command is run as a person would type it. Only the
users are simulated, and the reason why one bot is sick.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from worker.cli.printing import Text, console, say
from worker.cli.typed import typed
from worker.core.counted import counted
from worker.core.publication.states import LIVE, OVER
from worker.core.targets.target import Target
from worker.db.publication.members import Member
from worker.db.publication.waves import Publication, Wave
from worker.errors import TransientError
from worker.runtime import Runtime
from worker.steps.publication.report import publication_of
from worker.steps.sample_story import bots_to_publish, members_of, newest_publication
from worker.steps.sample_traffic import SICK, Answers, SampleTraffic

PART: Final = 224
WAVES: Final = "1, canaries, 20, all"
GATE: Final[Mapping[str, str]] = {"FLOWSHIFT_GATE_S": "1", "FLOWSHIFT_GATE_MIN_SOAK_S": "4"}
"""What the demo's processes and commands have in their environment, so that a wave takes seconds."""

MESSAGES: Final = 80
"""Users write about so many messages a second, and at least one to each bot that is out."""

PATIENCE_S: Final = 180.0
ROUND_S: Final = 1.0
RETRIES: Final = 2
"""So often in each round users try a sick bot again, as people do; it shows before its wave may pass."""
_TEND_S: Final = 0.1


class Story:
    """The story of one publication of a part of the fleet; `meanwhile` keeps processes running."""

    def __init__(
        self, current: Runtime, target: Target, meanwhile: Callable[[], None], folder: Path
    ) -> None:
        self._current = current
        self._meanwhile = meanwhile
        self._part = folder / "part.txt"
        self._users = SampleTraffic(current, target)
        self._sent = Answers()
        self._told: set[str] = set()

    def tell(self, run_id: int) -> bool:
        """Publish a part of what a run converted and take it back; False if a command failed."""
        bot_ids = bots_to_publish(self._current.engine, run_id, PART)
        if not bot_ids:
            return True
        say("")
        console().print(Text("from drafts to users, and back", "bold"))
        say(
            f"{counted(len(bot_ids), 'bot goes', 'bots go')} live, in waves. Users are simulated: V1 or the"
            " live version answers them, as the flag of the bot says."
        )
        say(
            f"Here the gate looks every {GATE['FLOWSHIFT_GATE_S']} s and watches a wave for"
            f" {GATE['FLOWSHIFT_GATE_MIN_SOAK_S']} s at least; by default it is every 30 s, for 30 minutes."
        )
        self._ask_everybody(bot_ids)
        self._part.parent.mkdir(parents=True, exist_ok=True)
        self._part.write_text("".join(f"{one}\n" for one in bot_ids), encoding="utf-8")
        before = newest_publication(self._current.engine)
        if not self._type(
            "publish", "--bots-from", str(self._part), "--waves", WAVES, "--without-backup", "--yes"
        ):
            return False
        number = newest_publication(self._current.engine)
        return number == before or self._publication(number, bot_ids)

    def _publication(self, number: int, bot_ids: Sequence[str]) -> bool:
        self._fall_sick(number)
        self._watch(number)
        say(f"users sent {_answered(self._sent)}")
        rollback = (
            "rollback",
            "--publication",
            str(number),
            "--yes",
            "--reason",
            "the demo is over",
        )
        return (
            self._type("publication", str(number))
            and self._type("executions", "--failed", "--limit", "1")
            and self._type("gate", str(number), "--explain")
            and self._type(*rollback)
            and self._ask_everybody(bot_ids)
        )

    def _type(self, *arguments: str) -> bool:
        code = typed(*arguments, environment=GATE, meanwhile=self._meanwhile)
        if code:
            say(f"the command ended with {code}, so the story ends here", err=True)
        return code == 0

    # -- the users ---------------------------------------------------------------------------------

    def _ask_everybody(self, bot_ids: Sequence[str]) -> bool:
        """Users write one message to each bot, and it is said what answered."""
        say(f"users send {_answered(self._users.send(bot_ids))}")
        return True

    def _fall_sick(self, number: int) -> None:
        """Let a bot of the last wave be sick from now on, before it is out."""
        last = members_of(self._current.engine, number)[-1]
        self._users.sick = frozenset([last.bot_id])
        say(f"{last.bot_id} of wave {last.wave} will fail on V2: {SICK}")

    def _round(self, bots: Sequence[Member]) -> None:
        """About a second of users: the fewer bots are out, the more messages each gets."""
        out = [one.bot_id for one in bots if one.state in LIVE or one.state == "quarantined"]
        sick = [bot_id for bot_id in out if bot_id in self._users.sick]
        for _ in range(RETRIES if sick else 0):
            self._sent = _sum(self._sent, self._users.send(sick))
        for _ in range(max(1, MESSAGES // len(out)) if out else 0):
            self._sent = _sum(self._sent, self._users.send(out))

    # -- the waves ---------------------------------------------------------------------------------

    def _watch(self, number: int) -> None:
        """Users write and the gate decides, until nothing moves by itself; each decision is said once."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            began = time.monotonic()
            try:
                found, waves = publication_of(self._current.engine, number)
                bots = members_of(self._current.engine, number)
                self._say_news(waves, bots)
                if _rests(found):
                    return
                self._round(bots)
            except TransientError as error:
                say(f"the database is unavailable, users wait: {error}", err=True)
            while time.monotonic() < began + ROUND_S:
                self._meanwhile()
                time.sleep(_TEND_S)
        say(f"it takes longer than {PATIENCE_S:g} s here, so the story goes on without its end")

    def _say_news(self, waves: Sequence[Wave], bots: Sequence[Member]) -> None:
        for one in bots:
            if one.state == "quarantined":
                self._once(one.bot_id, f"gate: {one.bot_id} is sick alone: V1 answers it again")
        for wave in waves:
            if wave.state not in ("pending", "publishing", "watching"):
                self._once(wave.label, f"gate: wave {wave.number} {wave.state}: {wave.sentence}")

    def _once(self, about: str, text: str) -> None:
        """Say a line about something, unless it was said before."""
        if about not in self._told:
            self._told.add(about)
            say(text)


def _rests(one: Publication) -> bool:
    """Whether nothing moves a publication on by itself."""
    return one.state in OVER or (
        one.state == "held" and one.held_because not in ("alarm", "health")
    )


def _sum(one: Answers, two: Answers) -> Answers:
    return Answers(one.v1 + two.v1, one.v2 + two.v2, one.failed + two.failed)


def _answered(seen: Answers) -> str:
    return (
        f"{seen.v1 + seen.v2 + seen.failed:,} messages: V1 answered {seen.v1:,}, V2 {seen.v2:,},"
        f" {seen.failed:,} failed"
    )
