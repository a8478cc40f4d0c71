"""The tree of errors. A task decides by family, never by message.

    FlowshiftError
    ├─ BotError          recorded on that bot, with its code; the batch goes on
    ├─ TransientError    retried with jittered backoff
    │  ├─ SlowError      not retried: counts as the loss of a worker
    │  ├─ LockedError    retried a few times, then it waits in the queue: never a fault
    │  └─ QueueAwayError no message was sent; the work is in PostgreSQL
    ├─ StaleError        already done or superseded: logged, acknowledged
    ├─ GivenUpError      the work failed as a whole; everything that follows is done
    ├─ NotYetError       within its run's limits the work may not begin yet
    ├─ ProviderError     no model answered: fails the node that asked, and its execution
    ├─ BudgetSpentError  the run may ask no more: what is left of it is not executed
    ├─ UsageError        the request is invalid: nothing was started
    │  ├─ NotFoundError  what it names is not there
    │  ├─ ConflictError  what it names is in a state that does not allow it
    │  └─ ChangedError   what it was made from has changed since
    └─ ConfigError       at start; says which setting, what it holds, what it should hold

The docstring of a class is its default message.
"""

from __future__ import annotations

from typing import Final

GIVEN_UP: Final = "given up: "
"""How the reason begins for which work was given up."""


class FlowshiftError(Exception):
    """flowshift could not do what was asked."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (self.__doc__ or "").partition("\n")[0])


class BotError(FlowshiftError):
    """This bot cannot be converted.

    `code` is one of the codes of design section 5; `also` holds the codes that apply besides it.
    """

    def __init__(self, code: str, message: str = "", also: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.also = also


class TransientError(FlowshiftError):
    """A server was unavailable or busy: the same work may succeed later."""


class SlowError(TransientError):
    """We did nothing for so long, in a transaction, that the database ended it."""


class LockedError(TransientError):
    """Other sessions have every row locked, or a table: nothing was done, and it is nobody's fault."""


class QueueAwayError(TransientError):
    """The queue does not answer."""


class StaleError(FlowshiftError):
    """The work was already done, or another worker does it."""


class GivenUpError(FlowshiftError):
    """The work was given up.

    The last thing that a task does, so that Flower shows it as failed: the reason is recorded, and
    what follows is done. Its `repr` is what Flower shows.
    """

    def __repr__(self) -> str:
        return f"{GIVEN_UP}{self}"


class NotYetError(FlowshiftError):
    """The work may not begin yet.

    `check` names the limit, `wait_s` says when to ask again.
    """

    def __init__(self, check: str, message: str = "", *, wait_s: float = 1.0) -> None:
        super().__init__(message)
        self.check = check
        self.wait_s = wait_s


class ProviderError(FlowshiftError):
    """No provider answered."""


class BudgetSpentError(FlowshiftError):
    """The budget is spent.

    No bot's fault: an execution that meets it is given up and says nothing, and no other begins.
    """


class UsageError(FlowshiftError):
    """The request cannot be carried out as asked; nothing was started."""


class NotFoundError(UsageError):
    """What the request names is not there."""


class ConflictError(UsageError):
    """The state of what the request names does not allow it; nothing was changed."""


class ChangedError(UsageError):
    """What the request was made from has changed since it was read; nothing was written."""


class ConfigError(FlowshiftError):
    """A setting is missing or wrong.

    `setting` is the name of the environment variable, where one is to blame.
    """

    def __init__(self, message: str = "", *, setting: str | None = None) -> None:
        super().__init__(f"{setting}: {message}" if setting else message)
        self.setting = setting
