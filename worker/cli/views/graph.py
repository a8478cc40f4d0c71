"""A workflow and its draft as trees of nodes. People may have stored anything in them."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.tree import Tree

from worker.cli.printing import Text
from worker.core.shown import plain, short


def v1_tree(workflow: str) -> Tree:
    """A workflow of V1: its nodes, and where their edges lead."""
    tree = Tree(Text("V1", "bold"))
    value = _decode(workflow)
    for node in _items(value, "nodes"):
        branch = tree.add(_node_text(node))
        for target in _targets(value, node):
            branch.add(Text(f"→ {target}", "dim"))
    return tree


def v2_tree(graph: str) -> Tree:
    """A draft: its nodes, what their inputs are mapped to, and where their edges lead."""
    tree = Tree(Text("V2 draft", "bold"))
    value = _decode(graph)
    for node in _items(value, "nodes"):
        branch = tree.add(_node_text(node))
        mappings = node.get("variable_mappings")
        for port, mapping in mappings.items() if isinstance(mappings, dict) else ():
            variable = mapping.get("variable") if isinstance(mapping, dict) else mapping
            branch.add(Text(f"{port} ← {short(variable)}"))
        for target in _targets(value, node):
            branch.add(Text(f"→ {target}", "dim"))
    return tree


def _node_text(node: dict[str, Any]) -> Text:
    data = node.get("data")
    data = data if isinstance(data, dict) else {}
    shown = {
        key: data[key] for key in ("model", "provider", "document_ids", "top_k") if key in data
    }
    details = "  ".join(f"{key}={short(value)}" for key, value in shown.items())
    return Text(f"{plain(node.get('id'))}  ", "bold").append(
        f"{plain(node.get('type'))}  {details}", "not bold"
    )


def _targets(graph: Any, node: dict[str, Any]) -> list[str]:
    found = [
        plain(edge.get("target"))
        for edge in _items(graph, "edges")
        if edge.get("source") == node.get("id")
    ]
    return list(dict.fromkeys(found))


def _items(value: Any, key: str) -> list[dict[str, Any]]:
    items = value.get(key) if isinstance(value, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _decode(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
