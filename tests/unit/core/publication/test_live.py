"""Which version answers, of versions in the platform's order."""

from __future__ import annotations

import msgspec
import pytest

from worker.core.publication.live import draft_of, live_version, newest_published


class One(msgspec.Struct, frozen=True):
    name: str
    status: str


DRAFT, NEW, OLD = One("draft", "draft"), One("v1.1", "published"), One("v1.0", "published")
GONE = One("v0.9", "archived")


@pytest.mark.parametrize("serves_drafts", [False, True])
def test_the_first_published_version_of_a_flagged_bot_is_live(serves_drafts: bool) -> None:
    every = [DRAFT, GONE, NEW, OLD]
    assert newest_published(every) == NEW
    assert live_version(every, uses_v2=True, serves_drafts=serves_drafts) == NEW
    assert live_version(every, uses_v2=False, serves_drafts=serves_drafts) is None


def test_without_a_published_version_the_draft_is_live_only_where_drafts_are_served() -> None:
    every = [GONE, DRAFT]
    assert live_version(every, uses_v2=True, serves_drafts=True) == DRAFT
    assert live_version(every, uses_v2=True, serves_drafts=False) is None
    assert live_version([GONE], uses_v2=True, serves_drafts=True) is None
    assert draft_of([GONE]) is None
