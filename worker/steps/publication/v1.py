"""Whether V1 runs a workflow: without that there is no way back."""

from __future__ import annotations

from collections.abc import Callable

from worker.core.workflow import v1
from worker.core.workflow.config import Defaults
from worker.errors import BotError


def v1_problem(defaults: Defaults) -> Callable[[bytes], str]:
    """A function that says why V1 does not run a column's text; "" where it does."""

    def problem(text: bytes) -> str:
        try:
            v1.decode(text, defaults)
        except BotError as error:
            return str(error)
        return ""

    return problem
