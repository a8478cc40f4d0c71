"""The platform's validator: what it objects to in a graph, in its own words."""

from __future__ import annotations

from typing import Any

NODE_TYPES = {"start", "knowledge-retrieval", "llm", "end", "text-join"}
MOST_TOKENS = 8192


def objections(graph: dict[str, Any]) -> list[str]:
    """Everything that is wrong with a graph; nothing if the platform takes it."""
    nodes = {node["id"]: node for node in graph["nodes"]}
    found = []
    for node in nodes.values():
        found += _of_node(node, nodes)
    for edge in graph["edges"]:
        data = edge.get("data", {})
        if "source_type" not in data or "target_type" not in data:
            found.append(
                f"edge {edge.get('id')!r}: data.source_type and data.target_type are required"
            )
    types = [node["type"] for node in nodes.values()]
    if types.count("start") != 1:
        found.append("a workflow has one start node")
    if "end" not in types:
        found.append("a workflow has an end node")
    return found


def _of_node(node: dict[str, Any], nodes: dict[str, Any]) -> list[str]:
    name = f"node {node['id']!r}"
    if node["type"] not in NODE_TYPES:
        return [f"{name}: unknown type {node['type']!r}"]
    found = []
    if not isinstance(node.get("position", {}).get("x"), int | float):
        found.append(f"{name}: position.x is no number")
    if node["type"] == "llm" and node["data"].get("max_tokens", 1) > MOST_TOKENS:
        found.append(f"{name}: max_tokens is over {MOST_TOKENS}")
    for port, mapping in node.get("variable_mappings", {}).items():
        source, _, output = mapping["variable"].partition(".")
        given = nodes.get(source, {}).get("ports", {}).get("outputs", [])
        if output not in [port["name"] for port in given]:
            found.append(f"{name}: {port} is mapped to {mapping['variable']}, which does not exist")
    return found
