"""Ask the platform's own programs about drafts, many at a time, while nothing is locked."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import TypeVar

import msgspec

from worker.core.engine.replay import Replay
from worker.core.parity.opinion import Inquiry, Opinion, inquiry, opinion
from worker.core.parity.trial import Equipment, TrialResult
from worker.core.parity.word import Word
from worker.db.ledger import LedgerRow

_T = TypeVar("_T")


def ask_about(
    graph: bytes, trial_result: TrialResult | None, equipment: Equipment
) -> Inquiry | None:
    """What to ask the platform about a draft; None if it has no word, or need not be asked.

    A draft that failed already is not asked about. Its engine is asked where echo answers: what live
    models said cannot be asked for again.
    """
    word = equipment.platform
    if word is None or (trial_result is not None and trial_result.code is not None):
        return None
    _, providers = equipment.pair()
    return inquiry(word, graph, trial_result, None if isinstance(providers, Replay) else providers)


def hear(
    word: Word,
    items: Iterable[_T],
    asked: Callable[[_T], Inquiry | None],
    heard: Callable[[_T, Opinion | None], _T],
) -> Generator[_T]:
    """Ask the platform about items; each comes, in their order, as `heard` makes it of its opinion.

    Raises:
        TransientError: the platform cannot be asked now; nothing is known of the rest.
    """
    pairs = ((item, asked(item) or Inquiry()) for item in items)
    questions = (((item, about), about.questions) for item, about in pairs)
    with closing(word.answers(questions)) as answers:
        for (item, about), said in answers:
            yield heard(item, opinion(about, said))


def refused(bot_id: str, found: Opinion) -> LedgerRow:
    """The outcome of a bot whose draft the platform refuses: nothing is written."""
    return LedgerRow(bot_id, "failed", found.code, found.message)


def disproved(trial_result: TrialResult, found: Opinion) -> TrialResult:
    """The trial result of a draft that the platform's engine does not agree with."""
    if found.code == "platform_refused":
        raise ValueError("a refused draft is not proven")
    return msgspec.structs.replace(
        trial_result, agreed=False, code=found.code, message=found.message
    )
