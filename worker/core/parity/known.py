"""Whether V1 and V2 differ by nothing but what the target is known to do to every prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import msgspec

from worker.core.codes import WarningCode
from worker.core.parity.compare import Parity, compare
from worker.core.targets.target import KnownDifference, unchanged
from worker.core.workflow.calls import Generate, Trace

Change = Callable[[str], str]


class RunV1(Protocol):
    """Run V1 again: each prompt changed before it is sent, the message before it is put into one."""

    def __call__(self, *, shown: Change, asked: Change) -> Trace:
        """As `worker.core.engine.v1.execute`."""


def judge(v1: Trace, v2: Trace, differences: Sequence[KnownDifference], run_v1: RunV1) -> Parity:
    """Compare two executions; known differences alone still count as the same, and are named.

    V1 is run again only where the two differ, and where a difference can change what V1 said. Where a
    model answers once for each prompt, it has answered the draft's already.
    """
    parity = compare(v1, v2)
    if parity.same is not False or v2.error is not None:
        return parity
    prompts = [call.prompt for call in v1.calls if isinstance(call, Generate)]
    for some in _choices(differences):
        if not any(_changes(one, prompts) for one in some):
            continue
        changed: set[WarningCode] = set()
        again = run_v1(shown=_in_turn(some, changed), asked=partial(_asked, some))
        if changed and compare(again, v2).same:
            known = tuple(one for one in some if one.code in changed)
            return msgspec.structs.replace(parity, same=True, known=known)
    return parity


def _choices(
    differences: Sequence[KnownDifference],
) -> Iterator[Sequence[KnownDifference]]:
    """Each alone, then all together."""
    yield from ([one] for one in differences)
    if len(differences) > 1:
        yield differences


def _changes(difference: KnownDifference, prompts: Sequence[str]) -> bool:
    """Whether V1 may say something else with a difference than these prompts."""
    asks_alike = difference.asked is unchanged
    return not asks_alike or any(difference.shown(prompt) != prompt for prompt in prompts)


def _asked(differences: Sequence[KnownDifference], message: str) -> str:
    for one in differences:
        message = one.asked(message)
    return message


def _in_turn(differences: Sequence[KnownDifference], changed: set[WarningCode]) -> Change:
    """What the differences make of a prompt one after another; `changed` gathers which mattered."""

    def shown(prompt: str) -> str:
        for one in differences:
            made = one.shown(prompt)
            if made != prompt:
                changed.add(one.code)
            prompt = made
        return prompt

    return shown
