"""Whether V1 and V2 differ by nothing but what the target is known to do to every prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import msgspec

from worker.core.codes import WarningCode
from worker.core.parity.compare import Parity, compare
from worker.core.targets.target import KnownDifference
from worker.core.workflow.calls import Trace

Change = Callable[[str], str]
RunV1 = Callable[[Change, Change], Trace]
"""Run V1 again, each prompt changed before it is sent, and the message before it is put into one."""


def judge(v1: Trace, v2: Trace, differences: Sequence[KnownDifference], run_v1: RunV1) -> Parity:
    """Compare two executions; known differences alone still count as the same, and are named.

    V1 is run again only where the two differ. Where a model answers once for each prompt, it has
    answered the draft's already.
    """
    parity = compare(v1, v2)
    if parity.same is not False or v2.error is not None:
        return parity
    for some in _choices(differences):
        changed: set[WarningCode] = set()
        again = run_v1(_in_turn(some, changed), partial(_asked, some))
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
