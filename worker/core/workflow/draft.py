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
from worker.core.workflow.plan import KeptPlan, Output, Plan, Template
from worker.core.workflow.v1 import Node, Workflow
from worker.core.workflow.v2 import PortMapping
from worker.core.workflow.wiring import Warned

_encode = msgspec.json.Encoder().encode
Data = dict[str, Any]
_LISTED: Final = 5


class Draft(msgspec.Struct, frozen=True):
    """A converted workflow: `graph` is its JSON, `warnings` in the order of V1's nodes.

    `ids` and `data` (JSON) are those of the graph's nodes, in its order; `kept` is what it was written
    by.
    """

    graph: bytes
    warnings: tuple[ConversionWarning, ...]
    ids: tuple[str, ...] = ()
    data: tuple[bytes, ...] = ()
    kept: KeptPlan | None = None


def render(
    kept: KeptPlan,
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
    plan = kept.plan
    free = FreeIds(ids)
    names = [*ids, *[free.take(node.pattern) for node in plan.new_nodes]]
    own_texts = [
        text if own.prompt is None else _filled(own.prompt, names)
        for own, text in zip(plan.nodes, prompts, strict=True)
    ]
    data = [
        _encode(data_of(node, normalised_data(node, text)))
        for node, text in zip(workflow.nodes, own_texts, strict=True)
    ]
    keys_of = [node.keys for node in workflow.nodes]
    positions: list[Any] = layout.positions(workflow.nodes, plan.order, plan.drawn)
    for new in plan.new_nodes:
        named = {"title": names[len(data)], "type": new.type}
        data.append(_encode({**named, **_filled(new.data, names)}))
        keys_of.append({})
        positions.append(layout.beside(positions[new.beside]))
    nodes = [
        {
            **own,
            "id": node_id,
            "type": planned.type,
            "position": position,
            "data": Raw(one),
            "ports": planned.written,
            "variable_mappings": {
                mapped.port: PortMapping(_selector(mapped.source, names), mapped.type)
                for mapped in planned.mappings
            },
        }
        for own, planned, node_id, position, one in zip(
            keys_of, plan.nodes + plan.new_nodes, names, positions, data, strict=True
        )
    ]
    edges, replaced = edges_of(plan, workflow.edges, names)
    graph = _encode({**keys, "nodes": nodes, "edges": edges})
    warnings = _warnings(plan, workflow.nodes, names, replaced)
    return Draft(graph, warnings, tuple(names), tuple(data), kept)


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


def _selector(output: Output, names: Sequence[str]) -> str:
    return f"{names[output.place]}.{output.port}"


def _filled(value: Any, names: Sequence[str]) -> Any:
    """A value of a plan with the nodes' ids in their places."""
    if isinstance(value, Output):
        return _selector(value, names)
    if isinstance(value, Template):
        return "".join([_part(one, names) for one in value.parts])
    if isinstance(value, dict):
        return {key: _filled(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, names) for inner in value]
    return value


def _part(part: str | Output, names: Sequence[str]) -> str:
    return part if isinstance(part, str) else "{{" + _selector(part, names) + "}}"


def _warnings(
    plan: Plan, nodes: Sequence[Node], names: Sequence[str], replaced: Sequence[Replaced]
) -> tuple[ConversionWarning, ...]:
    """All warnings in order: the plan's, and those that the ids of nodes and edges give."""
    said: Sequence[Warned] = plan.warnings
    renamed, numbered = [*_renamed(nodes, names)], [*_replaced(nodes, replaced)]
    if renamed or numbered:
        said = sorted((*renamed, *said, *numbered), key=lambda one: one.rank)
    ids = [node.id for node in nodes]
    ids += names[len(ids) :]
    return tuple([_warning(one, ids) for one in said])


def _renamed(nodes: Sequence[Node], names: Sequence[str]) -> Iterator[Warned]:
    for place, (node, name) in enumerate(zip(nodes, names, strict=False)):
        if node.id != name:
            why = "" if isinstance(node.id, str) else ": in V1 it is a number"
            yield Warned("renamed_node", place, f"renamed to {quote(name)}{why}")


def _replaced(nodes: Sequence[Node], replaced: Sequence[Replaced]) -> Iterator[Warned]:
    if replaced:
        place = {node.id: index for index, node in enumerate(nodes)}
        for target, message in replaced:
            yield Warned("edge_id_replaced", place[target], message)


def _warning(warned: Warned, ids: Sequence[NodeId]) -> ConversionWarning:
    message = warned.message
    if warned.names:
        message %= tuple([_listed(places, warned.limit, ids) for places in warned.names])
    node = None if warned.node is None else id_text(ids[warned.node])
    return ConversionWarning(warned.code, node, message)


def _listed(places: Sequence[int], limit: int, ids: Sequence[NodeId]) -> str:
    """Ids for a person: quoted, the first few, and how many more."""
    quoted = ", ".join([quote_id(ids[place], limit) for place in places[:_LISTED]])
    more = len(places) - _LISTED
    return quoted + (f" and {more} more" if more > 0 else "")
