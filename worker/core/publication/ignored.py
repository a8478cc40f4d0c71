"""Error messages of executions that count as neither success nor failure: patterns for them.

A pattern is matched by PostgreSQL's LIKE, in time that grows with its length times that of the text;
a message is looked at as far as `LOOKED_AT`.
"""

from __future__ import annotations

from typing import Final

LOOKED_AT: Final = 1_000
"""So many characters of an error message are matched; what comes after them does not count."""

NOTHING: Final = "none"
"""The word for no pattern at all."""

_MOST: Final = 20
_LONGEST: Final = 200
_MOST_STARS: Final = 4


def like_patterns(text: str) -> tuple[str, ...]:
    r"""Patterns for LIKE of a list with `|` between, where `*` stands for any text.

    A pattern is held against the whole message, upper and lower case apart.

    Raises:
        ValueError: a pattern is empty, too long, or would match every message; or there are too many.

    >>> like_patterns("Cancelled by client*|100% _timeout_")
    ('Cancelled by client%', '100\\% \\_timeout\\_')
    >>> like_patterns("none")
    ()
    """
    if text.strip() == NOTHING:
        return ()
    words = [word.strip() for word in text.split("|")]
    if len(words) > _MOST:
        raise ValueError(f"there are {len(words)} patterns, and at most {_MOST} are allowed")
    return tuple(_like(word) for word in words)


def _like(word: str) -> str:
    if not word.replace("*", "").strip():
        raise ValueError(f"{word!r} would match every message" if word else "a pattern is empty")
    if len(word) > _LONGEST:
        raise ValueError(
            f"a pattern has {len(word)} characters, and at most {_LONGEST} are allowed"
        )
    if word.count("*") > _MOST_STARS:
        raise ValueError(f"{word!r} has more than {_MOST_STARS} stars")
    escaped = "".join(f"\\{one}" if one in "\\%_" else one for one in word)
    return escaped.replace("*", "%")
