"""What the platform's interface makes of a draft that a person only opens and saves there.

The interface reads a draft through a schema and writes out what it read. So a save drops the keys of
the graph, of nodes and of edges that the schema does not know, and may write out a key that says
nothing (null, false or empty). Numbers pass a browser, which holds them as doubles, and as null where
they are too large. `data` is kept. Everything else that differs was changed by a person: a prompt, a
mapping, a port, an edge, the order of nodes, and also where a node stands, since replacing the draft
would lose that.

A schema that does not know V2's own keys (`MEANING`) drops them too, from every node and edge alike.
Nothing that a person wrote is in such a draft, but it has lost what it did.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Literal

from worker.core.workflow.diff import is_same_json

Saved = Literal["saved", "stripped", "edited"]
"""What became of a draft: only saved, saved and without V2's keys, or changed by a person."""

Object = Mapping[str, Any]

MEANING: Final = {
    "nodes": ("ports", "variable_mappings"),
    "edges": ("source_port", "target_port", "data_type"),
}
"""V2's own keys of nodes and edges: without them a draft does something else."""

_NODE: Final = frozenset({"id", "type", "position", "data"})
_EDGE: Final = frozenset({"id", "source", "target", "type", "data"})
_PORT: Final = frozenset({"name", "type", "required", "description", "display_name", "default"})
_MAPPING: Final = frozenset({"variable", "value_type"})


def compare(written: bytes, found: bytes) -> Saved:
    """What became of the draft `written`, by what is `found` in its place; both are JSON.

    >>> compare(b'{"nodes": [], "edges": [], "zoom": 2}', b'{"nodes": [], "edges": []}')
    'saved'
    >>> compare(b'{"nodes": [], "edges": []}', b'{"nodes": [], "edges": [], "zoom": 2}')
    'edited'
    """
    try:
        before, after = _loads(written), _loads(found)
        if not _is_graph(before) or not _is_graph(after):
            return "edited"
        stripped = _dropped_everywhere(before, after)
        return _judge(before, after, stripped)
    except RecursionError:  # deeper than any draft of ours
        return "edited"


def _judge(before: Object, after: Object, stripped: Mapping[str, frozenset[str]]) -> Saved:
    node_keys = _NODE | frozenset(MEANING["nodes"]) - stripped["nodes"]
    edge_keys = _EDGE | frozenset(MEANING["edges"]) - stripped["edges"]
    kept = (
        _is_saved(before, after, frozenset({"nodes", "edges"}), {"nodes": _any, "edges": _any})
        and _each(before["nodes"], after["nodes"], lambda old, new: _node(old, new, node_keys))
        and _each(before["edges"], after["edges"], lambda old, new: _edge(old, new, edge_keys))
    )
    if not kept:
        return "edited"
    return "stripped" if any(stripped.values()) else "saved"


def _dropped_everywhere(before: Object, after: Object) -> dict[str, frozenset[str]]:
    """V2's keys of nodes and edges that the draft had, and that none of them has any more."""
    return {
        part: frozenset(
            key
            for key in keys
            if any(key in one for one in before[part])
            and after[part]
            and not any(_is_given(one, key) for one in after[part])
        )
        for part, keys in MEANING.items()
    }


# -- the parts of a draft --------------------------------------------------------------------------


def _node(old: Object, new: Object, known: frozenset[str]) -> bool:
    parts: dict[str, Compare] = {
        "position": _position,
        "ports": _ports,
        "variable_mappings": _mappings,
    }
    return _is_saved(old, new, known, parts)


def _edge(old: Object, new: Object, known: frozenset[str]) -> bool:
    return _is_saved(old, new, known, {"data": _edge_data})


def _ports(old: Any, new: Any) -> bool:
    inside = {"inputs": _port_list, "outputs": _port_list}
    return _object(old, new, frozenset(inside), inside)


def _port_list(old: Any, new: Any) -> bool:
    if not isinstance(old, list) or not isinstance(new, list):
        return is_same_json(old, new)
    return _each(old, new, lambda one, other: _object(one, other, _PORT))


def _mappings(old: Any, new: Any) -> bool:
    """Every input is mapped as it was: an input is never an unknown key."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return is_same_json(old, new)
    return old.keys() == new.keys() and all(_object(old[one], new[one], _MAPPING) for one in old)


# -- comparing -------------------------------------------------------------------------------------

Compare = Callable[[Any, Any], bool]


def _object(
    old: Any, new: Any, known: frozenset[str], inside: Mapping[str, Compare] | None = None
) -> bool:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return is_same_json(old, new)
    return _is_saved(old, new, known, inside or {})


_position = partial(_object, known=frozenset({"x", "y"}))
_edge_data = partial(_object, known=frozenset({"source_type", "target_type"}))


def _is_saved(
    old: Object, new: Object, known: frozenset[str], inside: Mapping[str, Compare]
) -> bool:
    """Whether `new` is `old` without some keys that are not `known`, and with empty ones at most.

    The values of `inside` are compared by its functions, all others as JSON.
    """
    for key in new:
        if key not in old and not _says_nothing(new[key]):
            return False
    for key, value in old.items():
        if not _is_given(new, key):
            if key in known and not _says_nothing(value):
                return False
        elif not inside.get(key, is_same_json)(value, new[key]):
            return False
    return True


def _each(old: list[Any], new: list[Any], compare: Compare) -> bool:
    return len(old) == len(new) and all(map(compare, old, new))


def _any(_old: Any, _new: Any) -> bool:
    return True


def _says_nothing(value: Any) -> bool:
    return value is None or value is False or value in ("", [], {})


def _is_given(one: Object, key: str) -> bool:
    return one.get(key) is not None


def _is_graph(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(part), list) and all(isinstance(one, dict) for one in value[part])
        for part in MEANING
    )


def _loads(text: bytes) -> Any:
    return json.loads(text, parse_int=_double, parse_float=_double)


def _double(digits: str) -> float | None:
    """A number as a browser holds it, and null where it is too large: so it writes infinity."""
    number = float(digits)
    return number if math.isfinite(number) else None
