"""What a kind of run is: what its requests may ask, how its batches are done, how it is shown."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from worker.core.codes import Outcome
from worker.core.policy.states import RunKind
from worker.db.batches import Batch
from worker.runtime import Runtime
from worker.steps.batch.tally import Report
from worker.steps.request import Request


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of run.

    `run` does a claimed batch and commits once. It raises StaleError if the batch went to another
    worker, TransientError if a server was unavailable: then nothing was done, and it may be done again.

    `check` raises UsageError for a request that this kind cannot carry out. `default_trials` is what
    `--validate` means if the request does not say.

    `mark` is shown beside a run of this kind, empty for the usual one. `validates` says that its
    outcome `unchanged` is a draft that was executed and does what V1 does: shown as `validated`.
    `outcomes` are those that a bot may have.
    """

    name: RunKind
    run: Callable[[Batch, Runtime], Report]
    check: Callable[[Request], None]
    default_trials: Callable[[Request], str]
    mark: str = ""
    validates: bool = False
    outcomes: tuple[Outcome, ...] = ("converted", "unchanged", "skipped", "failed")
