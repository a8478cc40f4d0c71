"""What `convert --explain` prints: the plan that a draft was written by."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from worker.core.codes import ConversionWarning
from worker.core.workflow.draft import Draft
from worker.core.workflow.plan import Plan, PlannedEdge


class NodePlan(msgspec.Struct, frozen=True):
    """A node of a draft: `inputs` says of each mapped port which output it takes."""

    id: str
    type: str
    is_new: bool
    inputs: dict[str, str]


class EdgePlan(msgspec.Struct, frozen=True):
    """An edge of a draft, from an output (`<node id>.<port>`) to an input."""

    source: str
    target: str
    data_type: str
    is_new: bool


class PlanView(msgspec.Struct, frozen=True):
    """A plan with this workflow's ids in their places; `order` is the one in which V1 runs."""

    order: tuple[str, ...]
    nodes: tuple[NodePlan, ...]
    edges: tuple[EdgePlan, ...]
    warnings: tuple[ConversionWarning, ...]


def plan_view(draft: Draft, plan: Plan) -> PlanView:
    """The plan of a draft, with its ids."""
    ids = draft.ids

    def named(place: int, port: str) -> str:
        return f"{ids[place]}.{port}"

    def edge(one: PlannedEdge, *, is_new: bool) -> EdgePlan:
        source = named(one.source, one.keys["source_port"])
        target = named(one.target, one.keys["target_port"])
        return EdgePlan(source, target, one.keys["data_type"], is_new)

    first_new = len(plan.nodes)
    nodes = (
        NodePlan(
            ids[place],
            node.type,
            place >= first_new,
            {one.port: named(one.source.place, one.source.port) for one in node.mappings},
        )
        for place, node in enumerate(plan.nodes + plan.new_nodes)
    )
    edges = [edge(one, is_new=False) for one in plan.edges]
    edges += [edge(one, is_new=True) for one in plan.new_edges]
    order = tuple(ids[place] for place in plan.order)
    return PlanView(order, tuple(nodes), tuple(edges), draft.warnings)


def plan_lines(view: PlanView) -> Iterator[str]:
    """The same for a person, line by line."""
    yield f"order: {' → '.join(view.order)}"
    for node in view.nodes:
        yield f"{'new ' if node.is_new else ''}node {node.id} ({node.type})"
        for port, output in node.inputs.items():
            yield f"  {port} ← {output}"
    for edge in view.edges:
        new = "new " if edge.is_new else ""
        yield f"{new}edge {edge.source} → {edge.target} ({edge.data_type})"
    for warning in view.warnings:
        yield f"warning {warning.code} {warning.node or 'workflow'}: {warning.message}"
