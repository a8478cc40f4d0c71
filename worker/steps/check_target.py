"""Check the built-in corpus with the platform's own programs, as a run checks its bots."""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from worker.core.corpus.building import Case
from worker.core.corpus.corpus import MESSAGES, corpus
from worker.core.parity.messages import Trials
from worker.core.parity.trial import Equipment
from worker.core.targets.detect import Choice
from worker.core.workflow.config import Defaults
from worker.db.bots import BotRow
from worker.db.ledger import LedgerRow
from worker.db.row_ids import Source
from worker.platform.platform import Capability, Platform
from worker.steps.batch.decide import Asked, Converted, Decided, decide_each, heard
from worker.steps.batch.trial import Trial, judged

_SOURCE: Final = Source("flowshift check-target")


class Kind(msgspec.Struct, frozen=True):
    """How many workflows of a kind there are, and how many of them differ."""

    kind: str
    workflows: int
    differ: int


class Unlike(msgspec.Struct, frozen=True):
    """A workflow whose draft the platform refuses or runs otherwise: with which code, and how."""

    workflow: str
    code: str
    message: str


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What holding the corpus against a platform came to.

    `platform` is empty if no program of the platform is connected: then only our own checklist and
    engines were asked. `warnings` counts workflows by the code of what is known not to be equal.
    """

    target: Choice
    platform: tuple[Capability, ...]
    messages: int
    kinds: tuple[Kind, ...]
    differences: tuple[Unlike, ...]
    warnings: dict[str, int]

    @property
    def workflows(self) -> int:
        """How many there are."""
        return sum(kind.workflows for kind in self.kinds)


def check_target(
    choice: Choice, equipment: Equipment, platform: Platform | None, defaults: Defaults
) -> Checked:
    """Convert the corpus for a target, and execute each draft on every message.

    Writes nothing, and needs no database. `platform` is asked what `equipment` says.

    Raises:
        ConfigError: the platform cannot be asked.
        TransientError: it cannot be asked any more.
    """
    capabilities = platform.capabilities() if platform is not None else ()
    cases = corpus()
    trial = Trial(_SOURCE, Trials(MESSAGES, len(MESSAGES)), equipment)
    asked = Asked(equipment.target)
    decided = decide_each(map(_row, cases), defaults, trial, asked, equipment)
    rows = [_outcome(one) for one in (decided if platform is None else heard(decided, platform))]
    return Checked(
        target=choice,
        platform=capabilities,
        messages=len(MESSAGES),
        kinds=_kinds(cases, rows),
        differences=tuple(
            Unlike(row.bot_id, row.code or "", row.message or "")
            for row in rows
            if row.outcome != "converted"
        ),
        warnings=_warnings(rows),
    )


def _row(one: Case) -> BotRow:
    return BotRow(one.name, False, one.workflow, len(one.workflow), False, False)


def _outcome(one: Decided) -> LedgerRow:
    what = one.what
    if isinstance(what, LedgerRow):
        return what
    trial_result = what.trial_result if isinstance(what, Converted) else None
    return judged(LedgerRow(what.bot_id, "converted", warnings=what.warnings), trial_result)


def _kinds(cases: tuple[Case, ...], rows: list[LedgerRow]) -> tuple[Kind, ...]:
    differ = Counter(
        case.kind for case, row in zip(cases, rows, strict=True) if row.outcome != "converted"
    )
    counted = Counter(case.kind for case in cases)
    return tuple(Kind(kind, count, differ[kind]) for kind, count in counted.items())


def _warnings(rows: list[LedgerRow]) -> dict[str, int]:
    counted = Counter(code for row in rows for code in {one.code for one in row.warnings})
    return dict(sorted(counted.items()))
