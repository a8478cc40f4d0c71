"""A rollback as JSON: of the command line and of HTTP."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from worker.core.publication.preview import Preview
from worker.steps.publication.rollback import Look, Result


class RollbackView(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollback would do, or what became of it.

    `plan` is the digest of all that it depends on. `runs` are those by which workers do it; `result` is
    there only where it was done in the foreground.
    """

    dry_run: bool
    publications: tuple[int, ...]
    bots: int
    loses_nothing: bool
    preview: Preview
    plan: str
    result: Result | None = None
    runs: tuple[int, ...] | UnsetType = UNSET


def rollback_view(
    seen: Look,
    *,
    dry_run: bool = False,
    result: Result | None = None,
    runs: tuple[int, ...] | UnsetType = UNSET,
) -> RollbackView:
    """The preview, with what became of it."""
    return RollbackView(
        dry_run=dry_run,
        publications=seen.publication_ids,
        bots=seen.bots,
        loses_nothing=seen.preview.loses_nothing,
        preview=seen.preview,
        plan=seen.preview.digest,
        result=result,
        runs=runs,
    )
