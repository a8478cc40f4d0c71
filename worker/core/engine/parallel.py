"""Visit the places of a graph side by side, each after those that lead to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Task(Protocol):
    """Something that runs elsewhere."""

    def result(self) -> object:
        """Wait until it has ended; raises what it raised."""


class Pool(Protocol):
    """Where nodes run side by side: an executor of threads, as `concurrent.futures` has it."""

    def submit(self, call: Callable[..., object], /, *arguments: Any) -> Task:
        """Call it soon, in another thread."""


def walk(targets: Sequence[Sequence[int]], visit: Callable[[int], None], pool: Pool) -> None:
    """Visit every place once, after all that lead to it; side by side where nothing orders two.

    `targets` says where each place leads to: later places only, doubled ones allowed. The calling
    thread visits too, so that a chain never touches the pool. Nothing in the pool waits for anything
    else, so that one thread is enough for any graph. Returns when every visit has ended.
    """
    waits = [0] * len(targets)
    for ways in targets:
        for target in ways:
            waits[target] += 1
    # One token for each arrival: the thread that takes the last one (True) goes on there. Taking is atomic.
    tokens = [[True, *[False] * (count - 1)] for count in waits]
    tasks: list[Task] = []

    def go(ready: list[int]) -> None:
        while ready:
            *others, place = ready
            for other in others:
                tasks.append(pool.submit(go, [other]))  # noqa: PERF401 - one by one, as others append
            visit(place)
            ready = [target for target in targets[place] if tokens[target].pop()]

    go([place for place, count in enumerate(waits) if count == 0])
    for task in tasks:  # it grows meanwhile: what a task submits is in it before that task ends
        task.result()
