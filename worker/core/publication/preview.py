"""The preview of a rollback: what is kept, what stops being live, what goes live, and its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from worker.core.codes import quote
from worker.core.counted import counted

Does = Literal["returns", "newer_version", "already_back", "no_way_back", "gone"]

EXAMPLES: Final = 3
_DIGITS: Final = 16
_WORD: Final = 1 << 256


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A bot that a publication made live, as it stands now.

    `ours` is the version that the publication made, `live` the one that the platform serves (None:
    none). `content_hash` and `workflow_hash` are of the version's graph and of V1 at the time,
    `..._now` the same now, None if they are gone. `previous` names the version that was live
    before, None if there was none. `running` is how many of its executions have not ended.
    """

    bot_id: str
    exists: bool = True
    uses_v2: bool = True
    ours: str
    live: str | None
    content_hash: int
    content_hash_now: int | None
    workflow_hash: int
    workflow_hash_now: int | None
    v1_runs: bool = True
    previous: str | None = None
    running: int = 0
    is_finished: bool = False
    """Its V1 was cleared by `flowshift finish`, which can bring it back."""

    @property
    def does(self) -> Does:
        """What a rollback does for it."""
        if not self.exists:
            return "gone"
        if not self.uses_v2:
            return "already_back"
        if self.live != self.ours:
            return "newer_version"
        return "returns" if self.v1_runs and self.workflow_hash_now is not None else "no_way_back"

    @property
    def v1_edited(self) -> bool:
        """Whether V1 goes live with an edit that has not been live before."""
        return self.does == "returns" and self.workflow_hash_now != self.workflow_hash

    @property
    def finished(self) -> bool:
        """Whether V1 is gone because it was cleared: it can be brought back."""
        return self.does == "no_way_back" and self.is_finished

    @property
    def version_edited(self) -> bool:
        """Whether an edit that a person made to the live version stops being live."""
        return self.does == "returns" and self.content_hash_now != self.content_hash


class Group(msgspec.Struct, frozen=True):
    """How many bots there are of one sort, and the first of them."""

    bots: int = 0
    examples: tuple[str, ...] = ()

    def add(self, bot_id: str) -> Group:
        """The group with one bot more; the smallest ids are its examples."""
        if len(self.examples) == EXAMPLES and bot_id > self.examples[-1]:
            return Group(self.bots + 1, self.examples)
        examples = sorted((*self.examples, bot_id))[:EXAMPLES]
        return Group(self.bots + 1, tuple(examples))

    def line(self, text: str) -> str:
        """In words, `text` being what they have in common."""
        more = ", …" if self.bots > len(self.examples) else ""
        named = f" ({', '.join(map(quote, self.examples))}{more})" if self.bots else ""
        return f"{counted(self.bots, 'bot')}: {text}{named}"


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollback would do, and its digest.

    `returns` are the bots on which V1 answers again: among them `v1_edited`, where it goes live with
    an edit made since, and `version_edited`, where an edit of the live version stops being live.
    Left alone are `newer_version` (a version that this publication did not make is live),
    `already_back`, `no_way_back` (among them `finished`, whose V1 can be brought back) and `gone`.
    `running` executions are still at work.
    """

    returns: Group = Group()
    v1_edited: Group = Group()
    version_edited: Group = Group()
    newer_version: Group = Group()
    already_back: Group = Group()
    no_way_back: Group = Group()
    finished: Group = Group()
    gone: Group = Group()
    running: int = 0
    digest: str = ""

    @property
    def loses_nothing(self) -> bool:
        """Whether no edit goes live or stops being live, and every bot has its way back."""
        return not (self.v1_edited.bots or self.version_edited.bots or self.no_way_back.bots)

    def lines(self) -> list[str]:
        """The preview in words: a line for each sort of which there are bots."""
        groups: list[tuple[Group, str]] = [(getattr(self, name), text) for name, text in _TEXTS]
        said = [group.line(text) for group, text in groups if group.bots]
        if self.running:
            still = counted(self.running, "execution is", "executions are")
            said.append(f"{still} still running: each ends as it began")
        return [*said, "versions and drafts stay as they are", f"plan {self.digest}"]


_TEXTS: Final = (
    ("returns", "V1 answers again"),
    ("v1_edited", "V1 goes live with an edit made since"),
    ("version_edited", "an edit of the live version stops being live"),
    ("newer_version", "left alone, a later version is live"),
    ("no_way_back", "left alone, V1 is gone or does not run; restore the version before"),
    ("finished", "V1 was cleared: `flowshift finish --undo` brings it back, then roll back"),
    ("already_back", "V1 answers already"),
    ("gone", "deleted since"),
)


def preview(bots: Iterable[Published]) -> Preview:
    """What a rollback of these bots would do; in one pass, in any order.

    >>> bot = Published(bot_id="b", ours="1", live="1", content_hash=1, content_hash_now=1,
    ...                 workflow_hash=2, workflow_hash_now=3)
    >>> preview([bot]).lines()[:2]
    ["1 bot: V1 answers again ('b')", "1 bot: V1 goes live with an edit made since ('b')"]
    """
    groups: dict[str, Group] = {}
    running = total = 0
    for bot in bots:
        names = [
            bot.does,
            *(name for name in ("v1_edited", "version_edited", "finished") if getattr(bot, name)),
        ]
        for name in names:
            groups[name] = groups.get(name, Group()).add(bot.bot_id)
        running += bot.running
        total = (total + _number(bot)) % _WORD
    return Preview(**groups, running=running, digest=_digest(total))


def _number(bot: Published) -> int:
    """A bot as a number: everything that a rollback of it depends on, and not what is at work."""
    counted = msgspec.structs.replace(bot, running=0) if bot.running else bot
    return int.from_bytes(hashlib.sha256(msgspec.json.encode(counted)).digest(), "big")


def _digest(total: int) -> str:
    """The digest of bots by the sum of their numbers: a sum knows no order, and needs no memory."""
    return hashlib.sha256(str(total).encode()).hexdigest()[:_DIGITS]
