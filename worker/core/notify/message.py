"""A notification as text, and how each kind of channel writes it so that nothing in it acts there."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from worker.core.counted import counted
from worker.core.notify.event import Level
from worker.core.printable import escape

DELAYED_S: Final = 120.0
"""A message that comes later than this after the event says so."""

_SIGNS: Final[dict[Level, str]] = {
    "info": ":white_check_mark:",
    "warning": ":warning:",
    "error": ":rotating_light:",
}


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One notification on its way to a channel.

    `message_id` is the same at every try, so that who gets it twice can tell. `happened_at` is a time
    in ISO 8601 (UTC), `age_s` how long ago that was, `repeats` how many more events of the cause it
    stands for. `page` is a whole address, None where none is known. `source` is the installation.
    """

    message_id: str
    kind: str
    level: Level
    title: str
    reason: str | None
    next_step: str | None
    page: str | None
    happened_at: str
    age_s: float
    repeats: int
    source: str
    detail: dict[str, Any] = {}


def subject(message: Message) -> str:
    """The first line, one line whatever it holds."""
    return f"[{message.source}] {escape(message.title)}"


def lines(message: Message) -> list[str]:
    """What follows the first line: why, what to do next, where to look, and whether it is late."""
    said = [escape(message.reason)] if message.reason else []
    if message.next_step:
        said.append(f"Next: {escape(message.next_step)}")
    if message.page:
        said.append(message.page)
    if message.age_s > DELAYED_S:
        ago = f"{round(message.age_s / 60):,} minutes ago"
        said.append(f"Delayed: it happened at {message.happened_at}, {ago}")
    if message.repeats:
        events = counted(message.repeats, "more event")
        said.append(f"It stands for {events} of the same cause")
    return said


# -- Slack -----------------------------------------------------------------------------------------


def slack_text(text: str) -> str:
    """A text as Slack's messages want it: only these three characters have a meaning to escape.

    With them no mention, channel or link can be written: all of those begin with `<`.

    >>> slack_text("<!channel> a & b <https://x|here>")
    '&lt;!channel&gt; a &amp; b &lt;https://x|here&gt;'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def slack_body(message: Message) -> bytes:
    """The JSON of an incoming webhook; names in it are not looked up, and links not fetched."""
    said = "\n".join(slack_text(line) for line in lines(message))
    first = f"{_SIGNS[message.level]} *{slack_text(subject(message))}*"
    return msgspec.json.encode(
        {
            "text": f"{first}\n{said}" if said else first,
            "link_names": False,
            "unfurl_links": False,
            "unfurl_media": False,
        }
    )


# -- Apprise ---------------------------------------------------------------------------------------

_LOOKALIKES: Final = str.maketrans({"@": "＠", "<": "‹", ">": "›"})


def harmless(text: str) -> str:
    """A text in which no service behind Apprise finds a mention or a tag.

    Each has its own: `@everyone`, `<@&1>`, HTML. What they begin with is replaced by what looks alike.

    >>> harmless("@everyone <b>kim@ops</b>")
    '＠everyone ‹b›kim＠ops‹/b›'
    """
    return text.translate(_LOOKALIKES)


def apprise_note(message: Message) -> dict[str, str]:
    """What Apprise is given: a title, a body and the kind of sign that goes with it."""
    body = "\n".join(line if line == message.page else harmless(line) for line in lines(message))
    type_ = {"info": "info", "warning": "warning", "error": "failure"}[message.level]
    return {"title": harmless(subject(message)), "body": body or message.happened_at, "type": type_}
