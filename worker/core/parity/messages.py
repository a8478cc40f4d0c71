"""What drafts are tried on: messages that people of a platform like this write."""

from __future__ import annotations

import re
from typing import Final
from zlib import crc32

import msgspec

from worker.errors import UsageError

BUILT_IN: Final[tuple[str, ...]] = (
    "환불은 언제 되나요?",
    "What are your opening hours?",
    "어제 주문한 상품의 배송 상태를 알려 주세요. 주문 번호는 20261125-0042입니다.",
    "I was charged twice and nobody answers my e-mails.\nPlease help!",
    "{context} 안에 {question}이 없으면 어떻게 되나요?",
    " ",
)
"""In Korean and English, of one line and of two, with braces, and with nothing to go by."""

MAX_MESSAGES: Final = 100
MAX_CHARACTERS: Final = 10_000


class Trials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The messages of a run, and how many of them each bot is tried on."""

    messages: tuple[str, ...]
    per_bot: int

    def of(self, bot_id: str) -> list[tuple[int, str]]:
        """The messages of one bot, each with its number (from 1); the same at every call.

        Bots begin at different messages, so that a fleet is tried on all of them even where each
        bot is tried on one.

        >>> Trials(("a", "b", "c"), 2).of("bot-1")
        [(2, 'b'), (3, 'c')]
        """
        count = len(self.messages)
        first = crc32(bot_id.encode()) % count if self.per_bot < count else 0
        places = [(first + step) % count for step in range(self.per_bot)]
        return [(place + 1, self.messages[place]) for place in places]


def trials(wanted: str, messages: tuple[str, ...] = ()) -> Trials | None:
    """Read `none`, `sample:N` or `all`; over the built-in messages where none are given.

    None if nothing is to be executed.

    Raises:
        UsageError: it is none of the three, N is more than there are messages, or a message
            cannot be stored.

    >>> trials("sample:1", ("hi",)), trials("none")
    (Trials(messages=('hi',), per_bot=1), None)
    """
    known = messages or BUILT_IN
    _check(known)
    if wanted == "none":
        return None
    if wanted == "all":
        return Trials(known, len(known))
    matched = re.fullmatch(r"sample:([1-9][0-9]{0,2})", wanted)
    if matched is None:
        raise UsageError(f"validation is none, sample:N or all (it is {wanted!r})")
    number = int(matched[1])
    if number > len(known):
        which = "given" if messages else "built in: give your own with --messages-from"
        raise UsageError(f"{wanted} asks for more messages than the {len(known)} that are {which}")
    return Trials(known, number)


def _check(messages: tuple[str, ...]) -> None:
    if len(messages) > MAX_MESSAGES:
        raise UsageError(f"{len(messages):,} messages; at most {MAX_MESSAGES}")
    for number, message in enumerate(messages, start=1):
        if len(message) > MAX_CHARACTERS:
            raise UsageError(
                f"message {number} has {len(message):,} characters; at most {MAX_CHARACTERS:,}"
            )
        if "\x00" in message or any("\ud800" <= c <= "\udfff" for c in message):
            raise UsageError(f"message {number} holds a character that PostgreSQL cannot store")
