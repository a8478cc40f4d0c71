"""What answers a bot's users now: V1, a version of ours or of a person's, a draft, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from worker.core.publication.live import HasStatus, live_version
from worker.core.shown import plain

What = Literal["v1", "publication", "person", "draft", "nothing"]


class IsVersion(HasStatus, Protocol):
    """A version of a bot: its id and its name besides."""

    @property
    def version_id(self) -> object:
        """Its id."""

    @property
    def version(self) -> str:
        """Its name."""


class IsPart(Protocol):
    """A bot's part in a publication: which version it made, and whether it counts it as live."""

    @property
    def publication_id(self) -> int:
        """The publication."""

    @property
    def wave(self) -> int:
        """The wave that the bot is in."""

    @property
    def version_id(self) -> object:
        """The version that was made of its draft."""

    @property
    def is_live(self) -> bool:
        """Whether the publication counts the bot as live."""


class Answering(msgspec.Struct, frozen=True, kw_only=True):
    """What answers.

    `publication`: a version that a publication made, with its number and wave. `person`: one that
    flowshift did not publish. `nothing`: the bot is flagged V2 without a version, or has no V1.
    `agrees` is false if a publication's records say otherwise: the flag or a version was changed
    outside flowshift.
    """

    what: What
    version: str | None = None
    publication_id: int | None = None
    wave: int | None = None
    agrees: bool = True


def answering(
    versions: Sequence[IsVersion],
    parts: Sequence[IsPart],
    *,
    uses_v2: bool,
    has_v1: bool,
    serves_drafts: bool,
) -> Answering:
    """What answers, of a bot's versions in the platform's order and its parts in publications.

    With `serves_drafts` the platform serves the draft of a bot that has no published version.

    >>> answering([], [], uses_v2=False, has_v1=True, serves_drafts=False).what
    'v1'
    >>> answering([], [], uses_v2=True, has_v1=True, serves_drafts=False).what
    'nothing'
    """
    live = live_version(versions, uses_v2=uses_v2, serves_drafts=serves_drafts)
    believed = next((one for one in parts if one.is_live), None)
    if live is None or live.status == "draft":
        what: What = "draft" if live else "v1" if has_v1 and not uses_v2 else "nothing"
        return Answering(what=what, agrees=believed is None)
    agrees = believed is None or believed.version_id == live.version_id
    made = next((one for one in parts if one.version_id == live.version_id), None)
    if made is None:
        return Answering(what="person", version=live.version, agrees=agrees)
    return Answering(
        what="publication",
        version=live.version,
        publication_id=made.publication_id,
        wave=made.wave,
        agrees=made.is_live,
    )


def answers_text(answers: Answering, *, uses_v2: bool) -> str:
    """What answers, in one line."""
    version = plain(answers.version or "")
    match answers.what:
        case "v1":
            return "runs V1"
        case "publication":
            return f"runs {version} (publication {answers.publication_id}, wave {answers.wave})"
        case "person":
            return f"runs {version}, which flowshift did not publish"
        case "draft":
            return "flagged V2 without a published version (its draft is live)"
        case "nothing":
            if not uses_v2:
                return "has no V1 and is not flagged V2 (it cannot answer)"
            return "flagged V2 without a published version (it cannot answer)"
