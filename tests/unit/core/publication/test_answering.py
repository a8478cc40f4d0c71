"""What answers a bot's users, and whether a publication's records agree."""

from __future__ import annotations

import uuid

import msgspec
import pytest

from worker.core.publication.answering import Answering, answering

OURS, THEIRS, DRAFT = (uuid.UUID(int=n) for n in range(3))


class V(msgspec.Struct, frozen=True):
    version_id: uuid.UUID
    version: str
    status: str


class P(msgspec.Struct, frozen=True):
    publication_id: int
    wave: int
    version_id: uuid.UUID | None
    is_live: bool


ours = V(OURS, "v1.0", "published")
theirs = V(THEIRS, "v1.1", "published")
draft = V(DRAFT, "draft", "draft")
live, back, waits = P(3, 2, OURS, True), P(3, 2, OURS, False), P(4, 1, None, False)


@pytest.mark.parametrize(
    ("versions", "parts", "flags", "expected"),
    [
        ([], [], (False, True, False), Answering(what="v1")),
        ([], [], (False, False, False), Answering(what="nothing")),
        ([draft], [], (True, True, False), Answering(what="nothing")),
        ([draft], [], (True, True, True), Answering(what="draft")),
        ([draft], [waits], (False, True, True), Answering(what="v1")),
        (
            [draft, ours],
            [waits, live],
            (True, True, False),
            Answering(what="publication", version="v1.0", publication_id=3, wave=2),
        ),
        # The flag was cleared, or a later version published, outside flowshift.
        ([draft, ours], [live], (False, True, False), Answering(what="v1", agrees=False)),
        (
            [draft, theirs, ours],
            [live],
            (True, True, False),
            Answering(what="person", version="v1.1", agrees=False),
        ),
        (
            [draft, theirs, ours],
            [back],
            (True, True, False),
            Answering(what="person", version="v1.1"),
        ),
        # It was taken back, and flagged again by hand.
        (
            [draft, ours],
            [back],
            (True, True, False),
            Answering(what="publication", version="v1.0", publication_id=3, wave=2, agrees=False),
        ),
        ([draft, ours], [back], (False, True, False), Answering(what="v1")),
    ],
)
def test_what_answers_follows_from_the_flag_the_versions_and_the_publications(
    versions: list[V], parts: list[P], flags: tuple[bool, bool, bool], expected: Answering
) -> None:
    uses_v2, has_v1, serves_drafts = flags
    found = answering(versions, parts, uses_v2=uses_v2, has_v1=has_v1, serves_drafts=serves_drafts)
    assert found == expected
