"""What a person asks for when a run is to be started."""

from __future__ import annotations

import msgspec

from worker.core.codes import WarningCode
from worker.core.policy.budget import Limits
from worker.core.policy.states import RunKind
from worker.db.runs import ECHO, Provider, Selection


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person asks for: every field has a name in `flowshift migrate --help`.

    `bot_ids` None means the whole fleet. `retry_of` is a run whose failed bots are taken again, of
    one `code` and of `bot_ids` only where these are given; `of_run` one whose every bot is.

    `kind` is `convert`, or `validate` to execute the drafts that are there. `validate` says how
    many messages each bot is tried on (`none`, `sample:N`, `all`), out of `messages` or else the
    built-in ones; `provider` answers them, `live` within `budget`.

    `include_flagged` takes bots that are flagged V2 without a published version, too; a retry of
    such a run does so by itself.

    `target` is `auto` or a target's name, None for what the setting says; `strict` are the known
    differences that are failures, None for the setting's. A retry takes those of its run where neither
    says more than the default. `live_drafts` writes drafts that the target's platform runs at once,
    too.

    `max_rate` is in bots per second, `concurrency` in batches at once, `max_failures` a share from
    0 to 1. `allow_overlap` starts the run though an active one takes some of the same bots.
    """

    kind: RunKind = "convert"
    dry_run: bool = False
    bot_ids: tuple[str, ...] | None = None
    limit: int | None = None
    batch_size: int | None = None
    overwrite_edited: bool = False
    include_flagged: bool = False
    live_drafts: bool = False
    target: str | None = None
    strict: tuple[WarningCode, ...] | None = None
    retry_of: int | None = None
    of_run: int | None = None
    code: str | None = None
    max_rate: float | None = None
    concurrency: int | None = None
    max_failures: float | None = None
    allow_overlap: bool = False
    validate: str | None = None
    messages: tuple[str, ...] = ()
    provider: Provider = ECHO
    budget: Limits | None = None

    @property
    def selection(self) -> Selection:
        """Which bots the run is over."""
        if self.retry_of is not None:
            return "retry"
        if self.of_run is not None:
            return "run"
        if self.bot_ids is not None:
            return "listed"
        return "all" if self.limit is None else "limit"
