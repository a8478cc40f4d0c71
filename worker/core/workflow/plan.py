"""What a V1 workflow does, made explicit: which node takes which value from which node, and in which order.

The same for every target: a target writes a plan out as a draft in its own node types
(`worker.core.targets`). Each place where V1 does something else than its picture suggests is a
warning here; what is peculiar to a target, it warns of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from worker.core.codes import ConversionWarning, WarningCode, quote
from worker.core.workflow.config import CustomConfig, LlmConfig
from worker.core.workflow.json_values import NodeId, id_text, quote_id
from worker.core.workflow.roles import Role
from worker.core.workflow.v1 import Node, Workflow

UsableId = Callable[[str], str]
"""A node id as a target's selectors can name it: the same where it is usable, else one near it."""


class PlannedNode:
    """A node of V1, and what it takes from others.

    `context` names the nodes that its context is made of, in V1's order; `response` the one whose
    response it takes. Both say what V1 does, edges or not.
    """

    __slots__ = ("context", "id", "new_id", "node", "response", "role")

    def __init__(self, node: Node, new_id: str, role: Role) -> None:
        self.node = node
        self.id = node.id
        self.new_id = new_id
        self.role = role
        self.context: tuple[NodeId, ...] = ()
        self.response: NodeId | None = None


class Plan:
    """A workflow's nodes in the order of execution, with what flows between them.

    `nodes` is in the order of the workflow's list, `in_order` in that of execution. `searches` give a
    context and `llms` a response, in the order of execution; the first of `llms` answers.
    """

    def __init__(self, workflow: Workflow, roles: Mapping[str, Role], usable_id: UsableId) -> None:
        self.workflow = workflow
        self.new_ids = new_ids(workflow.nodes, usable_id)
        self.nodes = {
            node.id: PlannedNode(node, self.new_ids[node.id], _role(node, roles))
            for node in workflow.nodes
        }
        self.place = {node_id: place for place, node_id in enumerate(workflow.order)}
        self.connected = {(edge.source, edge.target) for edge in workflow.edges}
        self.warnings: list[tuple[NodeId | None, ConversionWarning]] = []
        self.in_order = [self.nodes[node_id] for node_id in workflow.order]
        self.searches = [one.id for one in self.in_order if "context" in one.role.gives]
        self.llms = [one.id for one in self.in_order if "response" in one.role.gives]
        self.start = next(one for one in self.in_order if one.node.type == "start")
        self.end = next(one for one in self.in_order if one.node.type == "end")
        self._read()

    def warn(self, code: WarningCode, node: NodeId | None, message: str) -> None:
        """Note a warning about a node of V1, or about the whole workflow."""
        shown = None if node is None else id_text(node)
        self.warnings.append((node, ConversionWarning(code, shown, message)))

    def warnings_in_order(self) -> tuple[ConversionWarning, ...]:
        """All warnings, in the order of V1's nodes; those about the whole first."""
        order: dict[NodeId | None, int] = {
            node.id: index for index, node in enumerate(self.workflow.nodes)
        }
        ordered = sorted(self.warnings, key=lambda entry: order.get(entry[0], -1))
        return tuple(warning for _, warning in ordered)

    def _read(self) -> None:
        for node in self.nodes.values():
            if node.new_id != node.id:
                why = "" if isinstance(node.id, str) else ": in V1 it is a number"
                self.warn("renamed_node", node.id, f"renamed to {quote(node.new_id)}{why}")
        for node in self.in_order:
            if "context" in node.role.takes:
                self._read_context(node)
            if "response" in node.role.takes and node is not self.end:
                self._read_response(node)
        self._read_answer()

    def _read_context(self, node: PlannedNode) -> None:
        """Find what V1 would put into the context of a node, if anything."""
        config = node.node.config
        wanted: Sequence[NodeId] = ()
        if isinstance(config, LlmConfig):
            wanted = config.use_context_from
        node.context = tuple(
            source
            for source in (wanted or self.searches)
            if source in self.nodes
            and "context" in self.nodes[source].role.gives
            and self.place[source] < self.place[node.id]
        )
        hidden = [
            source
            for source in dict.fromkeys(node.context)
            if (source, node.id) not in self.connected
        ]
        if hidden:
            self.warn(
                "implicit_context",
                node.id,
                f"V1 gives it what {listed(hidden)} found, without an edge",
            )
        self._warn_of_unused(node)

    def _warn_of_unused(self, node: PlannedNode) -> None:
        unused = [
            edge.source
            for edge in self.workflow.edges
            if edge.target == node.id
            and "context" in self.nodes[edge.source].role.gives
            and edge.source not in node.context
        ]
        if unused:
            named = listed(dict.fromkeys(unused))
            self.warn(
                "context_not_used", node.id, f"use_context_from leaves out {named}, an edge or not"
            )

    def _read_response(self, node: PlannedNode) -> None:
        """Find the response that a node of a custom type takes: the first before it, if any."""
        if not self.llms or self.place[self.llms[0]] >= self.place[node.id]:
            return
        first = node.response = self.llms[0]
        if (first, node.id) not in self.connected:
            self.warn(
                "implicit_response",
                node.id,
                f"V1 gives it what {quote_id(first, 40)} said, the first LLM to run, without an edge",
            )

    def _read_answer(self) -> None:
        end = self.end
        if not self.llms:
            self.warn(
                "no_llm", end.id, "there is no LLM: V1 always answers with its fixed sentence"
            )
            return
        first = end.response = self.llms[0]
        shown = {
            edge.source
            for edge in self.workflow.edges
            if edge.target == end.id and "response" in self.nodes[edge.source].role.gives
        }
        if shown != {first}:
            self.warn(
                "end_takes_first_llm",
                end.id,
                f"V1 answers with {quote_id(first)}, the first LLM to run",
            )


def new_ids(nodes: Iterable[Node], usable_id: UsableId) -> dict[NodeId, str]:
    """The draft's id of every node, a text: its own, unless a selector could not name it.

    >>> nodes = [Node(node_id, "llm", {}, {}, None) for node_id in ("a.b", "a_b", 7, 7.5)]
    >>> new_ids(nodes, lambda node_id: node_id.replace(".", "_"))
    {'a.b': 'a_b_2', 'a_b': 'a_b', 7: '7', 7.5: '7_5'}
    """
    ids = [node.id for node in nodes]
    taken = {node_id for node_id in ids if isinstance(node_id, str)}
    found: dict[NodeId, str] = {}
    for node_id in ids:
        as_text = id_text(node_id)
        wanted = usable_id(as_text)
        new_id, number = wanted, 1
        if wanted != as_text or as_text is not node_id:
            while new_id in taken or usable_id(new_id) != new_id:
                number += 1
                new_id = f"{wanted}_{number}"
            taken.add(new_id)
        found[node_id] = new_id
    return found


def listed(ids: Iterable[NodeId], limit: int = 5) -> str:
    """Ids for a person: quoted, the first few, and how many more."""
    quoted = [quote_id(node_id, 40) for node_id in ids]
    more = f" and {len(quoted) - limit} more" if len(quoted) > limit else ""
    return ", ".join(quoted[:limit]) + more


def _role(node: Node, roles: Mapping[str, Role]) -> Role:
    return node.config.type.role if isinstance(node.config, CustomConfig) else roles[node.type]
