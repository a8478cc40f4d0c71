"""Hiding users and passwords in a text that people read."""

from __future__ import annotations

import re

_AFTER_SCHEME = re.compile(r"(?<=[a-z0-9+.-]://)[^\s'\"<>]+", re.IGNORECASE)
"""What may hold credentials: whole, so that the time grows with the text and no faster."""
_QUERY_PASSWORD = re.compile(r"(?P<name>[?&](?:password|passwd|pwd)=)[^&\s'\"<>]+", re.IGNORECASE)


def hide_credentials(text: str) -> str:
    """Replace the user and password of every URL in `text`, and passwords in its query.

    Everything up to the last `@` of a URL goes: a password may hold any character.

    >>> hide_credentials("no answer from redis://me:s/e@cret@cache:6379/0?password=x")
    'no answer from redis://***@cache:6379/0?password=***'
    """
    hidden = _AFTER_SCHEME.sub(_without_user, text)
    return _QUERY_PASSWORD.sub(r"\g<name>***", hidden)


def _without_user(found: re.Match[str]) -> str:
    _, at, host = found[0].rpartition("@")
    return f"***{at}{host}" if at else host
