"""The name of a bot's next version, and what its draft holds once it is published."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal, get_args

MAX_LENGTH: Final = 50
"""What the platform's column holds."""

NextDraft = Literal["empty", "copy"]
NEXT_DRAFTS: Final[tuple[NextDraft, ...]] = get_args(NextDraft)

EMPTY_GRAPH: Final = b'{"nodes": [], "edges": []}'
"""A draft without a node, which every target reads as no draft."""

_FIRST: Final = "v1.0"
_NUMBERED: Final = re.compile(r"[vV]([0-9]+)(?:\.([0-9]+))?(?:\.[0-9]+)*")


def next_version(names: Iterable[str], *, max_length: int = MAX_LENGTH) -> str:
    """The name after the highest number among a bot's versions, of whatever status.

    The second number counts up, as the platform's does; a name without one counts as `.0`, and
    further numbers are left aside. Names that are no numbers (`draft`, `release`) do not count. A
    number with no room for the one after it gives way: to the next first number, or to the highest
    that leaves room. The result is never one of `names`, whatever their case.

    Raises:
        ValueError: no name of at most `max_length` characters is free.

    >>> next_version(["draft"]), next_version(["v1.0", "v1.9", "draft"]), next_version(["V2", "release"])
    ('v1.0', 'v1.10', 'v2.1')
    """
    taken = {name.strip().lower() for name in names}
    numbers = sorted(filter(None, map(_number, taken)), reverse=True)
    ahead = [
        f"v{first}.{second}"
        for major, minor in numbers
        for first, second in ((major, minor + 1), (major + 1, 0))
    ]
    for name in (*ahead, _FIRST):
        if len(name) <= max_length and name not in taken:
            return name
    raise ValueError(f"no version of at most {max_length} characters is free")


def _number(name: str) -> tuple[int, int] | None:
    matched = _NUMBERED.fullmatch(name) if len(name) <= 4 * MAX_LENGTH else None
    return (int(matched[1]), int(matched[2] or 0)) if matched else None


def draft_after(graph: bytes, next_draft: NextDraft) -> bytes:
    """What the draft's row holds once `graph` is the live version: nothing, or the same again.

    >>> draft_after(b'{"nodes": [{"id": "start"}]}', "empty")
    b'{"nodes": [], "edges": []}'
    """
    return EMPTY_GRAPH if next_draft == "empty" else graph
