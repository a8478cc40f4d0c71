"""What is done after an error in a batch, for each family of errors.

Nothing of the batch was committed. By the time the error is handled here, the batch is in the queue
again, ended or given back, so that the worker can do the next one.
"""

from __future__ import annotations

from functools import partial

import msgspec

from worker.core.policy.batch_ref import BatchRef
from worker.errors import ConfigError, LockedError, SlowError, StaleError, TransientError
from worker.log import get_logger
from worker.steps.batch.lifecycle import hand_back_batch, postpone_batch
from worker.steps.batch.process import Process
from worker.steps.batch.retry import outlast, persist
from worker.steps.finish import fail_batch
from worker.steps.rescue import lose_worker

log = get_logger(__name__)

TOO_SLOW = "it kept rows locked for too long without a statement (FLOWSHIFT_STATEMENT_TIMEOUT_MS)"
OUT_OF_MEMORY = "it ran out of memory"


class Handled(msgspec.Struct, frozen=True):
    """What became of the batch, in words. `is_given_up`: it failed as a whole."""

    said: str
    is_given_up: bool = False


def handle(error: BaseException, ref: BatchRef, process: Process) -> Handled:
    """Do what follows an error that ended the last try of a batch. Call it in the `except` clause.

    Raises:
        SystemExit: this was the error: the worker shuts down, and the batch is given back.
        TransientError: the database stayed unavailable; a sweep finds the batch when its lease runs out.
    """
    match error:
        case StaleError():
            log.info("task.stale", batch=ref.number, reason=str(error))
            return Handled("")
        case SlowError():
            return _lose(TOO_SLOW, process)
        case TransientError():
            return _postpone(error, ref, process)
        case MemoryError():
            return _lose(OUT_OF_MEMORY, process)
        case SystemExit():
            hand_back_batch(process.runtime.engine, ref, worker=process.name, actor=process.actor)
            raise error
        case ConfigError():  # which says what to do; where it was raised explains nothing
            log.error("batch.faulted", batch=ref.number, error=str(error))
            return _give_up(f"ConfigError: {error}", ref, process)
        case _:
            log.exception("batch.faulted", batch=ref.number)  # noqa: LOG004  (within `except`)
            return _give_up(f"{type(error).__name__}: {error}", ref, process)


def _lose(why: str, process: Process) -> Handled:
    """Count the batch as if its worker had died: another try, whole, would end the same way."""
    engine = process.runtime.engine
    persist(partial(lose_worker, engine, process.name, why, actor=process.actor), process.sleep)
    return Handled(f"enqueued again: {why}")


def _postpone(error: TransientError, ref: BatchRef, process: Process) -> Handled:
    """Give the batch back. Neither a try that did not even claim it nor others' locks are its fault."""
    why = str(error)
    state = outlast(
        partial(
            postpone_batch,
            process.runtime.engine,
            ref,
            why,
            worker=process.name,
            is_its_fault=process.admission.claimed is not None
            and not isinstance(error, LockedError),
        ),
        process.sleep,
    )
    if state is None:
        return Handled(f"nothing to do any more: {why}")
    return Handled(f"postponed: {why}" if state == "pending" else why, state == "failed")


def _give_up(why: str, ref: BatchRef, process: Process) -> Handled:
    persist(partial(fail_batch, process.runtime.engine, ref, why), process.sleep)
    return Handled(why, is_given_up=True)
