"""Who goes when: every bot of a publication in one wave, fixed when the publication is planned."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, islice
from typing import Final

import msgspec

from worker.core.counted import some
from worker.core.publication.coverage import Candidate, canaries
from worker.core.publication.sizes import Step, Wave, wave_sizes

_SHOWN: Final = 3


class Wishes(msgspec.Struct, frozen=True):
    """What a person says about single bots: the lists of `--first`, `--last` and `--never`.

    Repeated ids count once.

    Raises:
        ValueError: a bot is in two of them.
    """

    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    never: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lists = {"--first": set(self.first), "--last": set(self.last), "--never": set(self.never)}
        for (one, mine), (other, theirs) in combinations(lists.items(), 2):
            if both := sorted(mine & theirs):
                shown = some([*map(repr, both)], _SHOWN)
                raise ValueError(f"{shown} in both {one} and {other}: keep one of the two")


class Plan(msgspec.Struct, frozen=True):
    """Bots in their order, cut into waves: the first takes the first `waves[0].size`, and so on.

    `canaries` is how many come before the rest so that every kind is seen, those of `--first`
    included. `unknown` are ids of `--first` and `--last` that are not to be published. `asked` is how many
    bots are known to have traffic.
    """

    bot_ids: tuple[str, ...]
    waves: tuple[Wave, ...]
    canaries: int
    unknown: tuple[str, ...] = ()
    asked: int = 0

    def members(self) -> Iterator[tuple[int, list[str]]]:
        """The bots of each wave: (its number from 1, their ids)."""
        rest = iter(self.bot_ids)
        for number, wave in enumerate(self.waves, 1):
            yield number, list(islice(rest, wave.size))


def plan_waves(
    candidates: Iterable[Candidate], steps: tuple[Step, ...], *, salt: str, wishes: Wishes
) -> Plan:
    """Put bots into waves: those of `--first`, then canaries, then the rest, those of `--last` last.

    The order is by sha256 of `salt` (which names the publication) and the bot's id, so that one
    plan follows from one set of bots, whatever their order, and another publication begins with
    others. Near-linear in the number of bots.

    Raises:
        ValueError: two candidates have one id.

    >>> some = [Candidate(f"bot-{n}") for n in range(3)]
    >>> plan_waves(some, (Step("all"),), salt="7", wishes=Wishes(first=("bot-2",))).bot_ids
    ('bot-2', 'bot-0', 'bot-1')
    """
    by_id = _by_id(candidates)
    unknown = tuple(
        bot_id for bot_id in dict.fromkeys((*wishes.first, *wishes.last)) if bot_id not in by_id
    )
    for bot_id in wishes.never:
        by_id.pop(bot_id, None)
    all_of_them = list(by_id.values())
    first = [by_id.pop(bot_id) for bot_id in dict.fromkeys(wishes.first) if bot_id in by_id]
    last = [by_id.pop(bot_id) for bot_id in dict.fromkeys(wishes.last) if bot_id in by_id]
    rest = _in_order(by_id.values(), salt)
    seen = frozenset[str]().union(*(one.kinds for one in first))
    ahead = dict.fromkeys([*(one.bot_id for one in first), *canaries(rest, seen)])
    after = (one.bot_id for one in rest if one.bot_id not in ahead)
    order = (*ahead, *after, *(one.bot_id for one in last))
    sizes = wave_sizes(steps, len(order), len(ahead))
    return Plan(order, sizes, len(ahead), unknown, sum(one.traffic > 0 for one in all_of_them))


def _by_id(candidates: Iterable[Candidate]) -> dict[str, Candidate]:
    by_id: dict[str, Candidate] = {}
    for one in candidates:
        if by_id.setdefault(one.bot_id, one) is not one:
            listed = "flowshift db check lists such ids"
            raise ValueError(f"two bots have the id {one.bot_id!r}: {listed}")
    return by_id


def _in_order(candidates: Iterable[Candidate], salt: str) -> Sequence[Candidate]:
    prefix = hashlib.sha256(f"{salt}\n".encode())

    def place(one: Candidate) -> bytes:
        digest = prefix.copy()
        digest.update(one.bot_id.encode("utf-8", "surrogatepass"))
        return digest.digest()

    return sorted(candidates, key=place)
