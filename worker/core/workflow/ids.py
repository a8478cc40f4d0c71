"""The ids of a draft's nodes, all texts: V1's own where a selector can name them, and free ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from worker.core.workflow.json_values import NodeId, id_text
from worker.core.workflow.v2 import RESERVED_IDS

UsableId = Callable[[str], str]
"""A node id as a target's selectors can name it: the same where it is usable, else one near it."""


def new_ids(ids: Sequence[NodeId], usable_id: UsableId) -> list[str]:
    """The draft's ids of nodes with the ids `ids`: their own, unless a selector could not name one.

    >>> new_ids(["a.b", "a_b", 7, 7.5], lambda node_id: node_id.replace(".", "_"))
    ['a_b_2', 'a_b', '7', '7_5']
    """
    taken = {node_id for node_id in ids if isinstance(node_id, str)}
    found = []
    for node_id in ids:
        as_text = id_text(node_id)
        wanted = usable_id(as_text)
        new_id, number = wanted, 1
        if wanted != as_text or as_text is not node_id:
            while new_id in taken or usable_id(new_id) != new_id:
                number += 1
                new_id = f"{wanted}_{number}"
            taken.add(new_id)
        found.append(new_id)
    return found


class FreeIds:
    """Ids that are free beside some that are taken."""

    def __init__(self, taken: Iterable[str | None]) -> None:
        self._taken = set(taken)
        self._tried: dict[str, int] = {}  # wanted id → the last number that was tried for it

    def near(self, wanted: str) -> str:
        """`wanted`, or `wanted` with the first number (from 2) that makes it free."""
        number = self._tried.get(wanted, 1)  # ids never become free again
        candidate = wanted if number == 1 else f"{wanted}-{number}"
        while candidate in self._taken:
            number += 1
            candidate = f"{wanted}-{number}"
        self._tried[wanted] = number
        self._taken.add(candidate)
        return candidate

    def take(self, pattern: str) -> str:
        """`pattern` with the first number (from 1) for its `{}` that makes it free.

        >>> free = FreeIds(["a-1"])
        >>> free.take("a-{}"), free.take("a-{}")
        ('a-2', 'a-3')
        """
        number = 1
        while (node_id := pattern.format(number)) in self._taken:
            number += 1
        self._taken.add(node_id)
        return node_id


def are_sound(ids: Sequence[str]) -> bool:
    """Whether ids are what selectors and the checklist need of them: their own, and usable.

    >>> are_sound(["a", "b"]), are_sound(["a", "a"]), are_sound(["a.b"]), are_sound(["env"])
    (True, False, False, False)
    """
    distinct = set(ids)
    usable = "." not in "".join(ids) and RESERVED_IDS.isdisjoint(distinct)
    return usable and len(distinct) == len(ids)
