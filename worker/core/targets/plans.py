"""Convert in two steps: plan a structure, then render a workflow by its plan; plans are kept.

A plan follows from a workflow's structure and from its prompts' forms, both whole values: what is kept
is found by equality, so that no two structures share a plan. How many are kept is bounded, and how
large each is: structures are as hostile as workflows.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from worker.core.workflow.draft import Data, Draft, render
from worker.core.workflow.ids import UsableId, new_ids
from worker.core.workflow.json_values import JsonObject
from worker.core.workflow.kept import Counts, Kept
from worker.core.workflow.plan import KeptPlan, Planner
from worker.core.workflow.roles import Role
from worker.core.workflow.structure import Structure
from worker.core.workflow.v1 import Node, Workflow
from worker.core.workflow.wiring import Wiring
from worker.errors import BotError

MAX_PLANS: Final = 1_024
"""So many plans of a target are kept in a process; the one that was not used for longest goes first."""

MAX_SIZE: Final = 128
"""A plan that has more than so many nodes, edges, ports and mappings together is not kept."""


MAX_CONTEXT_INPUTS: Final = 20_000
"""One input for each search that each LLM sees: bounds a draft's size, which may otherwise grow with the
square of the workflow's."""


def check_context_inputs(count: int) -> None:
    """Refuse a workflow whose LLM nodes see more searches together than a draft can hold.

    Raises:
        BotError: `too_large`.
    """
    if count > MAX_CONTEXT_INPUTS:
        raise BotError(
            "too_large",
            f"its LLM nodes see more than {MAX_CONTEXT_INPUTS:,} searches together, "
            "which a draft would have to spell out",
        )


class Prompts(NamedTuple):
    """The prompts of a workflow's LLM nodes, by place, as a draft has them.

    `forms` is all of them that a plan depends on. Where a plan depends on more (how long ids are), it is
    for this workflow alone: `names` are the draft's ids of its nodes.
    """

    forms: tuple[Hashable, ...]
    texts: Sequence[str]
    names: tuple[str, ...] = ()


class Manner(msgspec.Struct, frozen=True):
    """How a target writes drafts.

    `roles` are its node types of V1's kinds. `prompts` reads what of the data decides, given the draft's
    ids; `lay_out` says what is mapped and which nodes are new. `data_of` has the last word on a node's
    data, `keys` on the graph's.
    """

    roles: Mapping[str, Role]
    usable_id: UsableId
    prompts: Callable[[Wiring, Workflow, Sequence[str]], Prompts]
    lay_out: Callable[[Planner, Prompts], None]
    data_of: Callable[[Node, Data], Data] = lambda _, data: data
    keys: Callable[[JsonObject], JsonObject] = lambda keys: keys


class Writer:
    """Writes the drafts of one target, by plans that it keeps."""

    def __init__(self, manner: Manner) -> None:
        self.manner = manner
        self._wirings = Kept[Structure, Wiring](MAX_PLANS)
        self._plans = Kept[tuple[Wiring, tuple[Hashable, ...]], KeptPlan](MAX_PLANS)

    @property
    def counts(self) -> Counts:
        """How often a plan was there, since this process began."""
        return self._plans.counts

    def new_ids(self, nodes: Iterable[Node]) -> list[str]:
        """The draft's ids of V1's nodes."""
        return new_ids([node.id for node in nodes], self.manner.usable_id)

    def write(self, workflow: Workflow) -> Draft:
        """The draft of a workflow.

        Raises:
            BotError: `too_large`, where its LLM nodes see more searches together than a draft can hold.
        """
        manner = self.manner
        ids = self.new_ids(workflow.nodes)
        wiring = self._wiring(workflow.structure)
        prompts = manner.prompts(wiring, workflow, ids)
        kept = self._kept_plan(wiring, prompts)
        keys = manner.keys(workflow.keys)
        return render(kept, workflow, keys, ids, prompts.texts, manner.data_of)

    def _wiring(self, structure: Structure) -> Wiring:
        if (wiring := self._wirings.find(structure)) is None:
            wiring = Wiring(structure, self.manner.roles)
            if structure.size <= MAX_SIZE:
                self._wirings.keep(structure, wiring)
        return wiring

    def _kept_plan(self, wiring: Wiring, prompts: Prompts) -> KeptPlan:
        if (kept := self._plans.find(key := (wiring, prompts.forms))) is None:
            planner = Planner(wiring)
            self.manner.lay_out(planner, prompts)
            kept = KeptPlan(planner.plan())
            is_general = not prompts.names and wiring.structure.size <= MAX_SIZE
            if is_general and kept.plan.size <= MAX_SIZE:
                self._plans.keep(key, kept)
        return kept
