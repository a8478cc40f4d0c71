"""Write a draft by a plan: nodes with ports and mappings, edges with both ends (design section 3).

Same plan and same workflow, same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from worker.core.codes import ConversionWarning, quote
from worker.core.workflow import layout
from worker.core.workflow.config import KnowledgeConfig, LlmConfig
from worker.core.workflow.draft_edges import Replaced, edges_of
from worker.core.workflow.ids import FreeIds
from worker.core.workflow.json_values import JsonObject, NodeId, id_text, quote_id
from worker.core.workflow.plan import Known, NewNode, Output, Plan, Template, Wired
from worker.core.workflow.v1 import Node, Workflow
from worker.core.workflow.wiring import Named, Phase, Warned

_encode = msgspec.json.Encoder().encode
Data = dict[str, Any]
_LISTED: Final = 5


class Draft(msgspec.Struct, frozen=True):
    """A converted workflow: `graph` is its JSON, `warnings` in the order of V1's nodes.

    `ids` and `data` (JSON) are those of the graph's nodes, in its order; `known` is what it was written
    by.
    """

    graph: bytes
    warnings: tuple[ConversionWarning, ...]
    ids: tuple[str, ...] = ()
    data: tuple[bytes, ...] = ()
    known: Known | None = None


def render(
    known: Known,
    workflow: Workflow,
    keys: JsonObject,
    ids: Sequence[str],
    prompts: Sequence[str],
    data_of: Callable[[Node, Data], Data],
) -> Draft:
    """The draft of a workflow by the plan of its structure.

    `keys` are those beside nodes and edges, `ids` the draft's ids of V1's nodes, `prompts` the prompts of
    its LLM nodes, by place; `data_of` is the target's word on a node's data.
    """
    plan = known.plan
    free = FreeIds(ids)
    names = [*ids, *[free.take(node.pattern) for node in plan.new_nodes]]
    escaped = [_encode(name)[1:-1] for name in names]
    positions = layout.positions(workflow.nodes, plan.order, plan.columns)
    nodes: list[Data] = []
    all_data: list[bytes] = []
    for node, planned, node_id, position, prompt in zip(
        workflow.nodes, plan.nodes, names, positions, prompts, strict=False
    ):
        own = prompt if planned.prompt is None else _filled(planned.prompt, names)
        data = _encode(data_of(node, normalised_data(node, own)))
        all_data.append(data)
        nodes.append(
            {
                **node.keys,
                "id": node_id,
                "type": planned.type,
                "position": position,
                "data": Raw(data),
                "ports": planned.wired.ports_json,
                "variable_mappings": _mappings(planned.wired, escaped),
            }
        )
    for new, node_id in zip(plan.new_nodes, names[len(ids) :], strict=True):
        data = _encode(_new_data(new, node_id, names))
        all_data.append(data)
        nodes.append(
            {
                "id": node_id,
                "type": new.type,
                "position": layout.beside(positions[new.beside]),
                "data": Raw(data),
                "ports": new.wired.ports_json,
                "variable_mappings": _mappings(new.wired, escaped),
            }
        )
    edges, replaced = edges_of(plan, workflow.edges, names)
    graph = _encode({**keys, "nodes": nodes, "edges": edges})
    warnings = _warnings(plan, workflow.nodes, names, replaced)
    return Draft(graph, warnings, tuple(names), tuple(all_data), known)


def normalised_data(node: Node, prompt: str) -> Data:
    """A node's data with V1's normalised values written out, the rest as it was."""
    config = node.config
    if isinstance(config, LlmConfig):
        return {
            **node.data,
            "model": config.model,
            "provider": config.provider,
            "prompt_template": prompt,
            "temperature": Raw(config.temperature),
            "max_tokens": Raw(config.max_tokens),
        }
    if isinstance(config, KnowledgeConfig):
        dataset = {} if config.dataset_id is None else {"dataset_id": config.dataset_id}
        return {
            **node.data,
            "document_ids": config.document_ids,
            **dataset,
            "top_k": Raw(config.top_k),
            "mode": config.mode,
        }
    return dict(node.data)


def _mappings(wired: Wired, escaped: Sequence[bytes]) -> Raw:
    return Raw(wired.mappings_json % tuple([escaped[place] for place in wired.named]))


def _new_data(node: NewNode, node_id: str, names: Sequence[str]) -> Data:
    return {"title": node_id, "type": node.type, **_filled(node.data, names)}


def _filled(value: Any, names: Sequence[str]) -> Any:
    """A value of a plan with the nodes' ids in their places."""
    if isinstance(value, Output):
        return f"{names[value.place]}.{value.port}"
    if isinstance(value, Template):
        return "".join([_part(one, names) for one in value.parts])
    if isinstance(value, dict):
        return {key: _filled(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, names) for inner in value]
    return value


def _part(part: str | Output, names: Sequence[str]) -> str:
    return part if isinstance(part, str) else "{{" + f"{names[part.place]}.{part.port}" + "}}"


def _warnings(
    plan: Plan, nodes: Sequence[Node], names: Sequence[str], replaced: Sequence[Replaced]
) -> tuple[ConversionWarning, ...]:
    """All warnings in order: the plan's, and those that the ids of nodes and edges give."""
    said: Sequence[Warned] = plan.warnings
    if found := [*_renamed(nodes, names), *_replaced(nodes, replaced)]:
        said = sorted((*said, *found), key=lambda one: one.rank)
    return tuple([_warning(one, nodes, names) for one in said])


def _renamed(nodes: Sequence[Node], names: Sequence[str]) -> Iterator[Warned]:
    for place, (node, name) in enumerate(zip(nodes, names, strict=False)):
        if node.id != name:
            why = "" if isinstance(node.id, str) else ": in V1 it is a number"
            yield Warned("renamed_node", place, f"renamed to {quote(name)}{why}", phase=Phase.IDS)


def _replaced(nodes: Sequence[Node], replaced: Sequence[Replaced]) -> Iterator[Warned]:
    if replaced:
        place = {node.id: index for index, node in enumerate(nodes)}
        for target, message in replaced:
            yield Warned("edge_id_replaced", place[target], message, phase=Phase.EDGE_IDS)


def _warning(warned: Warned, nodes: Sequence[Node], names: Sequence[str]) -> ConversionWarning:
    message = warned.message
    if warned.names:
        ids = [node.id for node in nodes]
        message %= tuple([_listed(one, [*ids, *names[len(ids) :]]) for one in warned.names])
    node = None if warned.node is None else id_text(nodes[warned.node].id)
    return ConversionWarning(warned.code, node, message)


def _listed(named: Named, ids: Sequence[NodeId]) -> str:
    """Ids for a person: quoted, the first few, and how many more."""
    quoted = ", ".join([quote_id(ids[place], named.limit) for place in named.places[:_LISTED]])
    more = len(named.places) - _LISTED
    return quoted + (f" and {more} more" if more > 0 else "")
