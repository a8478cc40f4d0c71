"""The way of a call through our modules, seen from outside."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Walk:
    """Which modules called which: `stacks` are the modules of each call, the first caller first.

    Calls within a module are one stay. A module whose name does not begin with `of` is passed through.
    """

    def __init__(self, of: tuple[str, ...], passed_through: tuple[str, ...] = ()) -> None:
        self.stacks: list[tuple[str, ...]] = []
        self._of = of
        self._passed_through = passed_through

    @property
    def modules(self) -> list[str]:
        """Every module, in the order in which they were first entered."""
        return list(dict.fromkeys(stack[-1] for stack in self.stacks))

    @property
    def returns(self) -> list[tuple[str, ...]]:
        """Stacks that enter a module which they had left for another one."""
        return [stack for stack in self.stacks if len(set(stack)) < len(stack)]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the calls of this thread."""
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or self._name(frame) is None:
            return
        stack: list[str] = []
        caller: FrameType | None = frame
        while caller is not None:
            name = self._name(caller)
            if name is not None and (not stack or stack[-1] != name):
                stack.append(name)
            caller = caller.f_back
        found = tuple(reversed(stack))
        if not self.stacks or self.stacks[-1] != found:
            self.stacks.append(found)

    def _name(self, frame: FrameType) -> str | None:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith(self._of) or name in self._passed_through:
            return None
        return str(name)


def frames_between(first: Any) -> int:
    """How many calls led from `first` to the caller of this."""
    code = getattr(first, "__func__", first).__code__
    frame: FrameType | None = sys._getframe(1)
    count = 0
    while frame is not None and frame.f_code is not code:
        count += 1
        frame = frame.f_back
    assert frame is not None, "it was not called from there"
    return count
