"""Which target a platform has: by its own columns, and by the graphs that it has published.

Columns decide, since the platform's own code adds them. Node types of published graphs decide where
no column does: an engine without a type refuses the graph. Where the two contradict each other that
is a finding, with what to set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from worker.core.targets.registry import DEFAULT, TARGETS
from worker.core.targets.target import Target

AUTO: Final = "auto"
CHOICES: Final = (AUTO, *TARGETS)
SETTING: Final = "FLOWSHIFT_TARGET"

_NAMED: Final = 3
# The last in the registry first: a platform keeps the columns and node types of those before it.
_OTHERS: Final = tuple(one for one in reversed(tuple(TARGETS.values())) if one is not DEFAULT)


class Published(msgspec.Struct, frozen=True):
    """A published graph: its node types, and whether every node says its own in `data.type`."""

    types: frozenset[str]
    says_types: bool


class Evidence(msgspec.Struct, frozen=True):
    """What a database shows: columns as `table.column`, and a sample of the published graphs."""

    columns: frozenset[str] = frozenset()
    published: tuple[Published, ...] = ()


class Choice(msgspec.Struct, frozen=True):
    """The target's name and why; `finding` says what contradicts it, and what to set."""

    target: str
    reason: str
    finding: str | None = None


def without_database(asked: str | None, setting: str) -> Target:
    """The target where no database can be looked at: what is asked for, else the setting's; `auto` is
    the default.
    """
    name = setting if asked is None else asked
    return DEFAULT if name == AUTO else TARGETS[name]


class _Types(msgspec.Struct, frozen=True):
    class Node(msgspec.Struct, frozen=True):
        type: str = ""

    nodes: list[Node] = []


_types = msgspec.json.Decoder(_Types)


def written_for(graph: bytes) -> Target:
    """The target that a draft was written for, by its node types; the default where none tells.

    >>> written_for(b'{"nodes": [{"type": "start"}, {"type": "answer"}]}').name
    'answer'
    >>> written_for(b'{"nodes": [{"type": "start"}]}').name
    'guide'
    """
    try:
        return of_types(node.type for node in _types.decode(graph).nodes)
    except (msgspec.DecodeError, RecursionError):
        return DEFAULT


def of_types(types: Iterable[str]) -> Target:
    """The target whose own node types are among these; the default if there are none."""
    found = frozenset(types)
    return next((target for target in _OTHERS if target.types & found), DEFAULT)


def decide(evidence: Evidence) -> Choice:
    """The target of the platform that shows this.

    >>> decide(Evidence(frozenset({"bot_workflow_versions.is_in_library"}))).reason
    'bot_workflow_versions has is_in_library; no published graph was found'
    """
    named = {target.name: columns_of(target, evidence.columns) for target in TARGETS.values()}
    counts = {target.name: _count(target, evidence.published) for target in TARGETS.values()}
    by_columns = next((one for one in _OTHERS if _is_named(one, named[one.name])), None)
    by_graphs = next((one for one in _OTHERS if counts[one.name]), None)
    target = by_columns or by_graphs or DEFAULT
    return Choice(
        target.name,
        f"{_columns_text(target, named)}; {_graphs_text(target, evidence.published)}",
        _finding(target, by_columns, named, evidence.published),
    )


def choose(asked: str, origin: str, found: Choice) -> Choice:
    """What a person asked for, or what the database shows where that is `auto`.

    `origin` names what was asked with: the option or the setting. Where the database shows another
    target, that is the finding.
    """
    if asked == AUTO:
        return found
    reason = reason_of(origin)
    if asked == found.target:
        return Choice(asked, reason)
    finding = (
        f"{origin} says {asked}, but the database looks like one of {found.target} ({found.reason}): "
        f"set {SETTING}={found.target}, unless you know that this platform runs {asked}"
    )
    return Choice(asked, reason, finding)


def reason_of(origin: str) -> str:
    """Why it is the target that an option, a setting or a run names."""
    return f"{origin} says so"


def columns_of(target: Target, columns: Iterable[str]) -> list[str]:
    """Those of the columns by which a target is known, in the order in which it names them."""
    there = sorted(columns)
    signs = (*target.columns, *target.shared_columns)
    found = (name for sign in signs for name in there if fnmatchcase(name, sign))
    return list(dict.fromkeys(found))


def or_(names: Iterable[str]) -> str:
    """Names in words.

    >>> or_(["a", "b", "c"])
    'a, b or c'
    """
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _is_named(target: Target, found: Sequence[str]) -> bool:
    """Whether the columns that were found say that it is this target."""
    alone = any(fnmatchcase(name, sign) for name in found for sign in target.columns)
    return alone or len(found) > 1


def _count(target: Target, published: Iterable[Published]) -> int:
    return sum(bool(one.types & target.types) for one in published)


def _columns_text(target: Target, named: Mapping[str, Sequence[str]]) -> str:
    if found := named[target.name]:
        return " and ".join(_by_table(found))
    if target is DEFAULT and not any(named.values()):
        return f"no column of {or_(one.name for one in _OTHERS)} is there"
    others = [name for one in _OTHERS for name in named[one.name]]
    if others:
        return f"of another target's columns only {', '.join(others)} is there"
    return f"no column of {target.name} is there"


def _by_table(columns: Sequence[str]) -> list[str]:
    """`table has a, b and 3 more`, for each table."""
    tables: dict[str, list[str]] = {}
    for name in columns:
        table, _, column = name.partition(".")
        tables.setdefault(table, []).append(column)
    return [f"{table} has {_some(names)}" for table, names in tables.items()]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _graphs_text(target: Target, published: Sequence[Published]) -> str:
    if not published:
        return "no published graph was found"
    if target is DEFAULT and not _count(target, published):
        return f"none of {len(published)} published graphs has a node of another target's types"
    count = _count(target, published)
    return f"{count} of {len(published)} published graphs have {_node(target)}"


def _finding(
    target: Target,
    by_columns: Target | None,
    named: Mapping[str, Sequence[str]],
    published: Sequence[Published],
) -> str | None:
    """What contradicts the choice, None if nothing does."""
    said = f"set {SETTING} to the one that this platform runs ({or_(TARGETS)})"
    if by_columns is None and target is not DEFAULT:
        return f"published graphs have {_node(target)}, but no column of {target.name} is there: {said}"
    if by_columns is not None and published and not _count(by_columns, published):
        silent = sum(not one.says_types for one in published)
        besides = f", and {silent} have nodes without data.type" if silent else ""
        return (
            f"the columns are those of {by_columns.name}, but none of {len(published)} published graphs "
            f"has {_node(by_columns)}{besides}: {said}"
        )
    if target is DEFAULT and (lone := [name for one in _OTHERS for name in named[one.name]]):
        return f"{lone[0]} is there, as with another target, but nothing else of it is: {said}"
    return None


def _node(target: Target) -> str:
    return f"a node of type {or_(sorted(target.types))}"
