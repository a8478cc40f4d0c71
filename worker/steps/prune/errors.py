"""Why a prune ends before it is through."""

from __future__ import annotations

from worker.errors import FlowshiftError


class StoppedError(FlowshiftError):
    """The check said stop."""


class LeftError(FlowshiftError):
    """The check said wait, or the time is up (`is_out_of_time`): a later call goes on."""

    def __init__(self, message: str, *, is_out_of_time: bool) -> None:
        super().__init__(message)
        self.is_out_of_time = is_out_of_time


class TooMuchError(FlowshiftError):
    """A batch of a single row takes too long, or cannot be done now (`is_locked`, `is_refused`).

    `is_locked`: it needs what another session has locked. `is_refused`: a constraint or a trigger of
    the platform's does not let it go; the message is the server's.
    """

    def __init__(self, message: str, *, is_locked: bool = False, is_refused: bool = False) -> None:
        super().__init__(message)
        self.is_locked = is_locked
        self.is_refused = is_refused
