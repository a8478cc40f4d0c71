"""What a target is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from worker.core.codes import Issue, WarningCode
from worker.core.engine.program import Outline, Program, fill, outline
from worker.core.engine.program import decode as decode_program
from worker.core.engine.registry import Registry
from worker.core.engine.rules import Rules
from worker.core.targets.plans import Writer
from worker.core.workflow import checklist, graph_check
from worker.core.workflow.calls import Status
from worker.core.workflow.checklist import Answer
from worker.core.workflow.draft import Draft
from worker.core.workflow.graph_check import NO_TYPES, Declared, DraftRule, no_more_rules
from worker.core.workflow.ids import are_sound
from worker.core.workflow.json_values import NodeId
from worker.core.workflow.v1 import Node


def everything(draft: Draft) -> object:
    """All that differs between drafts of one plan, and that rules look at."""
    return draft.ids, draft.data


def unchanged(message: str) -> str:
    """The message as it is."""
    return message


class KnownDifference(msgspec.Struct, frozen=True):
    """Something that an engine does to every prompt, which no draft can prevent.

    `shown` gives what the engine makes of a prompt of V1, into which V1 had put `asked(message)` for the
    message. Where V1's prompts differ from the draft's by this alone, the bot gets the warning `code`.
    """

    code: WarningCode
    shown: Callable[[str], str]
    message: str
    asked: Callable[[str], str] = unchanged


class Recording(msgspec.Struct, frozen=True):
    """The names and values by which a platform records an execution."""

    message: str
    """The key of the user's message in a run's `inputs`."""
    answer: str
    """The key of the answer in a run's `outputs`."""
    node_status: Mapping[Status, str]
    """The status of a node's row, by what became of the node."""


class Target(msgspec.Struct, frozen=True):
    """A platform's V2, as far as drafts have to do with it.

    `writer` makes the drafts of workflows that V1 runs. `rule` is what a draft must keep beyond the
    common checklist, `reading` all that it reads of the ids and the data of one. `rules` is the engine.
    `differences` are the known ones, in the order in which they apply.

    It is known by `types`, the node types that only its graphs have, and by columns of the
    platform's tables (`table.column`, or `table.prefix_*`): one of `columns` says it by itself; of
    `shared_columns`, which other platforms may have too, it takes two. With `serves_drafts` the
    platform runs the draft of a bot that is flagged V2 and has no published version.

    `adds` are the node types that its drafts may have besides V1's.
    """

    name: str
    title: str
    writer: Writer
    rules: Rules
    recording: Recording
    rule: DraftRule = no_more_rules
    reading: Callable[[Draft], object] = everything
    differences: tuple[KnownDifference, ...] = ()
    types: frozenset[str] = frozenset()
    adds: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    shared_columns: tuple[str, ...] = ()
    serves_drafts: bool = False

    def new_ids(self, nodes: Iterable[Node]) -> dict[NodeId, str]:
        """The draft's id of each of V1's nodes."""
        given = list(nodes)
        ids = self.writer.new_ids(given)
        return {node.id: new_id for node, new_id in zip(given, ids, strict=True)}

    def decode(self, graph: bytes, types: Registry | None = None) -> Program:
        """Make a draft ready to run: `worker.core.engine.program.decode` by this target's rules."""
        return decode_program(graph, self.rules, types)

    def prepare(self, draft: Draft, types: Registry | None = None) -> Program:
        """Make a draft that was just written ready to run, as `decode` does its graph.

        What does not depend on its ids and data is read from the graph of another draft of its plan,
        written before: from ports, mappings and edges, never from V1's workflow.
        """
        kept, registry = draft.kept, self.rules.built_in if types is None else types
        if kept is None:
            return self.decode(draft.graph, types)
        outlined = kept.outline
        if not isinstance(outlined, Outline) or outlined.types is not registry:
            outlined = kept.outline = outline(draft.graph, self.rules, registry)
        return fill(outlined, draft.ids, draft.data)

    def is_due(self, draft: Draft) -> bool:
        """Whether a draft that was just written has to go through the checklist.

        One of a plan of which another passed gives the same answers, if its ids are in order, and if
        what the target's rule reads of it is the same.
        """
        kept = draft.kept
        if kept is None or not are_sound(draft.ids):
            return True
        return kept.is_due(self._read(draft))

    def passed(self, draft: Draft) -> None:
        """Note that a draft that was just written passed the checklist."""
        if draft.kept is not None:
            draft.kept.passed = self._read(draft)

    def _read(self, draft: Draft) -> object:
        return () if self.rule is no_more_rules else self.reading(draft)

    def check(self, graph: bytes, declared: Mapping[str, Declared] = NO_TYPES) -> list[Issue]:
        """Hold a draft against the checklist and this target's rule; empty if it passes."""
        return graph_check.check(graph, declared, self.rule)

    def checklist(
        self, graph: bytes, declared: Mapping[str, Declared] = NO_TYPES
    ) -> tuple[Answer, ...]:
        """Answer the checklist's questions about a draft, for a person."""
        return checklist.checklist(graph, declared, self.rule)


AS_THE_PLATFORM: Final = Recording(
    message="user_message",
    answer="final_response",
    node_status={"succeeded": "completed", "failed": "failed", "skipped": "skipped"},
)
"""How the platform records executions of all its engines."""


def by_name(targets: Iterable[Target]) -> dict[str, Target]:
    """Targets by name.

    Raises:
        ValueError: two have the same name.
    """
    found: dict[str, Target] = {}
    for target in targets:
        if target.name in found:
            raise ValueError(f"two targets are called {target.name}")
        found[target.name] = target
    return found
