"""What the platform fills in: a node's ports, and mappings for ports that have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker.core.targets.answer.ports import PORTS
from worker.core.workflow.v2 import DrawnEdge, DrawnGraph, DrawnNode, Port, PortMapping, Ports


def mappings(graph: DrawnGraph, node: DrawnNode) -> Mapping[str, PortMapping]:
    """A node's mappings, and one for each unmapped port that exactly one edge can feed.

    An edge that leads to the port itself comes first; else the only one whose type agrees; else, where
    there is one port alone, the first that there is.
    """
    ports = ports_of(node).inputs
    if all(port.name in node.variable_mappings for port in ports):
        return node.variable_mappings
    entering = [edge for edge in graph.edges if edge.target == node.id and edge.source_port]
    types = {
        (other.id, port.name): port.type
        for other in graph.nodes
        for port in ports_of(other).outputs
    }
    filled = dict(node.variable_mappings)
    for port in ports:
        if port.name in filled:
            continue
        if (edge := _feeding(port, ports, entering, types)) is not None:
            filled[port.name] = PortMapping(f"{edge.source}.{edge.source_port}", port.type)
    return filled


def _feeding(
    port: Port,
    ports: Sequence[Port],
    entering: Sequence[DrawnEdge],
    types: Mapping[tuple[str, str], str],
) -> DrawnEdge | None:
    for edge in entering:
        if edge.target_port == port.name:
            return edge
    fitting = [
        edge
        for edge in entering
        if _agree(types.get((edge.source, edge.source_port), ""), port.type)
    ]
    if len(fitting) == 1:
        return fitting[0]
    return entering[0] if len(ports) == 1 and entering else None


def _agree(given: str, wanted: str) -> bool:
    return bool(given) and (given == wanted or "any" in (given, wanted))


def ports_of(node: DrawnNode) -> Ports:
    """A node's declared ports, which replace those of its type."""
    if node.ports.inputs or node.ports.outputs:
        return node.ports
    return PORTS.get(node.type, node.ports)
