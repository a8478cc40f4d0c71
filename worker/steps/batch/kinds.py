"""The kinds of runs: each is a module that says what it does, and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from worker.core.policy.states import RunKind
from worker.steps.batch.convert import CONVERT
from worker.steps.batch.kind import Kind
from worker.steps.batch.publish import PUBLISH
from worker.steps.batch.roll_back import ROLL_BACK
from worker.steps.batch.validate import VALIDATE

KINDS: Final[Mapping[RunKind, Kind]] = {
    kind.name: kind for kind in (CONVERT, VALIDATE, PUBLISH, ROLL_BACK)
}
"""By the name that the run's row holds."""
