"""Which version of a bot the platform serves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class HasStatus(Protocol):
    """A version: `draft`, `published`, `archived`, or what else a platform has."""

    @property
    def status(self) -> str:
        """Its status."""


V = TypeVar("V", bound=HasStatus)


def newest_published(versions: Sequence[V]) -> V | None:
    """The published version that the platform takes, of versions in its order.

    Its order is the newest `published_at` first, null before all.
    """
    return next((one for one in versions if one.status == "published"), None)


def live_version(versions: Sequence[V], *, uses_v2: bool, serves_drafts: bool) -> V | None:
    """The version that answers now, of versions in the platform's order; None: V1, or nothing does.

    With `serves_drafts` the platform serves the draft of a bot that has no published version.
    """
    if not uses_v2:
        return None
    published = newest_published(versions)
    if published is not None or not serves_drafts:
        return published
    return draft_of(versions)


def draft_of(versions: Sequence[V]) -> V | None:
    """The draft among a bot's versions."""
    return next((one for one in versions if one.status == "draft"), None)
