"""What the platform's word makes of a draft that our own checklist and engines pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from worker.core.codes import quote
from worker.core.parity.compare import compare
from worker.core.parity.trial import Executed, TrialResult
from worker.core.parity.word import (
    Answer,
    Broke,
    Check,
    Execute,
    Failed,
    Messages,
    Question,
    Ran,
    Word,
    results,
)
from worker.core.printable import escape, shorten
from worker.core.workflow.calls import Providers, Trace

Code = Literal["platform_refused", "execution_failed", "parity_mismatch"]

MOST_WORDS: Final = 5
"""Messages of the platform that a bot's message repeats; the others are counted."""

WORDS_CHARACTERS: Final = 300
"""Characters of one of them."""


class Opinion(msgspec.Struct, frozen=True):
    """Why the platform does not agree with a draft, in the platform's words."""

    code: Code
    message: str


class Inquiry(msgspec.Struct, frozen=True):
    """The questions about one draft: about itself, then about each of its `executions`."""

    questions: tuple[Question, ...] = ()
    executions: tuple[Executed, ...] = ()


def inquiry(
    word: Word, graph: bytes, trial_result: TrialResult | None, providers: Providers | None
) -> Inquiry:
    """What to ask about a draft.

    Its validator is asked about the draft, its engine about each message on which the draft did what
    V1 does: with `providers` None about none.
    """
    judged: tuple[Question, ...] = (Check(graph),) if word.checks else ()
    if not word.executes or providers is None or trial_result is None or not trial_result.agreed:
        return Inquiry(judged)
    executed = tuple(
        Execute(graph, one.message, results(one.trace.calls, providers))
        for one in trial_result.executions
    )
    return Inquiry(judged + executed, trial_result.executions)


def opinion(asked: Inquiry, answers: Sequence[Answer]) -> Opinion | None:
    """What the answers come to; None if the platform agrees.

    A refusal counts before anything that was executed, and so does the first difference.
    """
    executions = iter(asked.executions)
    for question, answer in zip(asked.questions, answers, strict=True):
        found = (
            _refusal(answer)
            if isinstance(question, Check)
            else _difference(answer, next(executions))
        )
        if found is not None:
            return found
    return None


def _refusal(answer: Answer) -> Opinion | None:
    match answer:
        case Messages(()):
            return None
        case Messages(messages):
            return Opinion("platform_refused", f"the platform refuses the draft: {words(messages)}")
        case Failed(error):
            message = f"the platform's validator failed on the draft: {words([error])}"
            return Opinion("platform_refused", message)
        case Broke(how):
            message = f"the platform's validator gave no answer about the draft: {how}"
            return Opinion("platform_refused", message)
        case _:
            raise TypeError(f"{type(answer).__name__} answers no check")


def _difference(answer: Answer, executed: Executed) -> Opinion | None:
    where = f"on {quote(executed.message, 40)}: the platform's engine"
    match answer:
        case Ran(text, calls):
            parity = compare(executed.trace, Trace(text, calls))
            if parity.same is not False:
                return None
            return Opinion("parity_mismatch", f"{where} differs: {parity.difference}")
        case Failed(error):
            return Opinion("execution_failed", f"{where} failed: {words([error])}")
        case Broke(how):
            return Opinion("execution_failed", f"{where} gave no answer: {how}")
        case _:
            raise TypeError(f"{type(answer).__name__} answers no execution")


def words(messages: Iterable[str]) -> str:
    """The platform's messages on one line: escaped, and cut to a readable length.

    >>> words(["no answer node", "bad\\x1b[2J"])
    'no answer node; bad\\\\x1b[2J'
    >>> words(["a"] * 7)
    'a; a; a; a; a (and 2 more)'
    """
    listed = list(messages)
    shown = "; ".join(_escaped(one) for one in listed[:MOST_WORDS])
    more = len(listed) - MOST_WORDS
    return f"{shown} (and {more:,} more)" if more > 0 else shown


def _escaped(text: str) -> str:
    return shorten(escape(text[: WORDS_CHARACTERS + 1].strip()), WORDS_CHARACTERS)
