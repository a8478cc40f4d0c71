"""What the platform refuses before it runs a graph, and what it fills in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from worker.core.codes import Issue, quote
from worker.core.targets.answer.filling import mappings, ports_of
from worker.core.targets.answer.ports import ANSWER_TYPE, IF_ELSE, PORTS, TEMPLATE_TRANSFORM
from worker.core.targets.answer.templates import (
    MAX_CHARACTERS,
    MAX_VARIABLES,
    OUTER_VARIABLES,
    OWN_INPUTS,
    variables,
)
from worker.core.workflow.calls import NodeRecord
from worker.core.workflow.draft import Draft
from worker.core.workflow.v2 import DrawnGraph, DrawnNode, Graph, Ports

_BRANCHES: Final = (IF_ELSE, "question-classifier")
_ANSWERS_MAY_NAME: Final = ("sys", "env", "conv")
_ALWAYS_NAMED: Final = ("env.", "conv.", "conversation.", "sys.")
_UNMAPPED_BY_MAPPINGS: Final = ("env.", "conv.", "sys.")


# The outputs that an LLM may name of any node that ran, whether mapped or not.
_LLM_MAY_NAME: Final = frozenset(
    {
        *("output", "response", "result", "results", "query", "value", "session_id", "text"),
        *("tokens", "model", "data", "content", "answer", "question", "context", "summary"),
        *("extracted", "processed", "transformed"),
    }
)
_LLM_INPUTS: Final = frozenset(port.name for port in PORTS["llm"].inputs)


class _Data(msgspec.Struct, frozen=True):
    """What the platform's validation reads of a node's data."""

    type: Any = None
    template: Any = None
    prompt_template: Any = None


class _Node(NamedTuple):
    drawn: DrawnNode
    kind: Any  # `data.type`
    template: Any  # an answer's or an LLM's
    ports: Ports


_data = msgspec.json.Decoder(_Data)
_every_data = msgspec.json.Decoder(list[_Data])


def refuse(graph: DrawnGraph) -> str | None:
    """Why the platform does not run a graph, None if it does; only the first reason is returned."""
    nodes = {drawn.id: _read(drawn) for drawn in graph.nodes}
    for look in _LOOKS:
        for why in look(graph, nodes):
            return why
    return None


def _read(drawn: DrawnNode) -> _Node:
    try:
        data = _data.decode(drawn.data)
    except msgspec.DecodeError:
        data = _Data()
    return _Node(drawn, data.type, data.template or data.prompt_template, ports_of(drawn))


_Nodes = Mapping[str, _Node]


def _kinds(graph: DrawnGraph, nodes: _Nodes) -> Iterator[str]:
    counted = Counter(drawn.type for drawn in graph.nodes)
    if counted["start"] != 1:
        yield f"{counted['start']} start nodes; exactly one is needed"
    branching = any(
        kind in _BRANCHES for one in nodes.values() for kind in (one.drawn.type, one.kind)
    )
    if not counted["end"] or (counted["end"] > 1 and not branching):
        yield f"{counted['end']} end nodes; one is needed, or several behind a branch"
    if not any(one.kind == ANSWER_TYPE for one in nodes.values()):
        yield "there is no answer node (one whose data.type is answer)"


def _answers(graph: DrawnGraph, nodes: _Nodes) -> Iterator[str]:
    for name, one in nodes.items():
        if one.kind != ANSWER_TYPE:
            continue
        if not isinstance(one.template, str) or not one.template.strip():
            yield f"the template of the answer {quote(name)} is blank"
            continue
        selectors = _selectors(one.template)
        if selectors is None:
            yield f"the template of the answer {quote(name)} is too long, or has too many variables"
        for selector in selectors or ():
            first = selector.split(".", 1)[0]
            if first not in _ANSWERS_MAY_NAME and first not in nodes:
                yield f"the answer {quote(name)} names {quote(selector)}, and there is no such node"
    ends = {name for name, one in nodes.items() if one.kind == "end"}
    answers = {name for name, one in nodes.items() if one.kind == ANSWER_TYPE}
    joined = any(edge.source in answers and edge.target in ends for edge in graph.edges)
    if ends and not joined:
        yield "no answer leads to an end"


def _selectors(template: str) -> list[str] | None:
    """The different variables of a template; None if they, or the template, are beyond the limits."""
    if len(template) > MAX_CHARACTERS:
        return None
    found = list(dict.fromkeys(one.selector for one in variables(template)))
    return found if len(found) <= MAX_VARIABLES else None


def _edges(graph: DrawnGraph, nodes: _Nodes) -> Iterator[str]:
    for node_id in nodes:
        if node_id.lower() in OUTER_VARIABLES or node_id == OWN_INPUTS:
            yield f"the id {quote(node_id)} is the platform's own"
    for index, edge in enumerate(graph.edges):
        if edge.source == edge.target:
            yield f"edges[{index}] leads from a node to itself"
        outputs = (port.name for port in nodes[edge.source].ports.outputs)
        inputs = (port.name for port in nodes[edge.target].ports.inputs)
        if edge.source_port not in outputs:
            yield f"edges[{index}]: its source has no output {quote(edge.source_port)}"
        if edge.target_port and edge.target_port not in inputs:
            yield f"edges[{index}]: its target has no input {quote(edge.target_port)}"


def _ways(graph: DrawnGraph, nodes: _Nodes) -> Iterator[str]:
    left, entered = {edge.source for edge in graph.edges}, {edge.target for edge in graph.edges}
    for name, one in nodes.items():
        kind = one.drawn.type
        if kind not in ("start", "end", *_BETWEEN):
            continue
        for way, there, cannot in (("in", name in entered, "start"), ("out", name in left, "end")):
            if there == (kind == cannot):
                said = f"an edge {way}, which it cannot have" if there else f"no edge {way}"
                yield f"{quote(name)} (a node of type {kind}) has {said}"


_BETWEEN: Final = ("knowledge-retrieval", "llm")


def _mapped(graph: DrawnGraph, nodes: _Nodes) -> Iterator[str]:
    for name, one in nodes.items():
        inputs = {port.name: port for port in one.ports.inputs}
        found = mappings(graph, one.drawn)
        for port in inputs.values():
            if port.required and port.name not in found:
                yield f"the required input {quote(port.name)} of {quote(name)} is not mapped"
        for port_name, mapping in found.items():
            if port_name not in inputs:
                yield f"{quote(name)} maps {quote(port_name)}, which is no input of it"
            elif not mapping.variable.startswith(_UNMAPPED_BY_MAPPINGS):
                source, _, output = mapping.variable.partition(".")
                ports = nodes[source].ports.outputs if source in nodes else ()
                if output not in (given.name for given in ports):
                    yield f"{quote(name)} maps {quote(mapping.variable)}, which does not exist"


def _named(graph: DrawnGraph, nodes: _Nodes) -> Iterator[str]:
    entering: dict[str, set[str]] = defaultdict(set)
    for edge in graph.edges:
        entering[edge.target].add(edge.source)
    for name, one in nodes.items():
        if one.kind not in (ANSWER_TYPE, "llm") or not isinstance(one.template, str):
            continue
        mapped = {mapping.variable for mapping in mappings(graph, one.drawn).values()}
        own = {f"{OWN_INPUTS}.{port.name}" for port in one.ports.inputs}
        for selector in _selectors(one.template) or ():
            if selector in mapped or selector in own or selector.startswith(_ALWAYS_NAMED):
                continue
            source, dot, _ = selector.partition(".")
            if not dot or source not in entering[name]:
                yield f"{quote(name)} names {quote(selector)} without an edge or a mapping"
        if one.drawn.type == "llm":
            yield from _not_for_an_llm(name, one.template, mapped)
        elif any(one.startswith(f"{OWN_INPUTS}.") for one in _selectors(one.template) or ()):
            yield f"{quote(name)} names its own inputs: what the platform gives then is not known here"


def _not_for_an_llm(name: str, template: str, mapped: set[str]) -> Iterator[str]:
    """Variables that the platform finds in order, and does not give to an LLM when it runs."""
    for selector in _selectors(template) or ():
        source, _, output = selector.partition(".")
        own = source == OWN_INPUTS and output in _LLM_INPUTS
        conversation = source in ("conv", "conversation")
        node = source.lower() not in OUTER_VARIABLES and output in _LLM_MAY_NAME
        if not (selector in mapped or own or conversation or node):
            yield f"the LLM {quote(name)} may not name {quote(selector)} without a mapping"


def _jinja_behind_llms(graph: DrawnGraph, nodes: _Nodes) -> Iterator[str]:
    templates = [one.template for one in nodes.values() if one.drawn.type == "llm"]
    with_variables = any(
        True for text in templates if isinstance(text, str) for _ in variables(text)
    )
    behind = _behind_llms(graph, nodes)
    for name, one in nodes.items():
        if one.drawn.type == TEMPLATE_TRANSFORM and name in behind and with_variables:
            yield f"the template-transform {quote(name)} runs behind an LLM: it gives nothing there"


def _behind_llms(graph: DrawnGraph, nodes: _Nodes) -> set[str]:
    targets: dict[str, list[str]] = defaultdict(list)
    for edge in graph.edges:
        targets[edge.source].append(edge.target)
    waiting = [name for name, one in nodes.items() if one.drawn.type == "llm"]
    seen: set[str] = set()
    while waiting:
        for target in targets[waiting.pop()]:
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return seen


_Look = Callable[[DrawnGraph, _Nodes], Iterator[str]]
_LOOKS: Final[tuple[_Look, ...]] = (
    *(_kinds, _answers, _edges, _ways, _mapped, _named, _jinja_behind_llms),
)


def answer(response: str, nodes: Sequence[NodeRecord]) -> str:  # noqa: ARG001
    """The answer of the last end that ran; where it is empty, what some LLM said that ran.

    Which one the platform takes of several is chance; here it is the first.
    """
    ran = [node for node in nodes if node.status == "succeeded"]
    ends = [node.outputs["final_output"]["response"] for node in ran if node.type == "end"]
    said = [node.outputs["response"] for node in ran if node.type == "llm"]
    return str((ends[-1] if ends else "") or (said[0] if said else ""))


def rule(graph: Graph) -> Iterable[Issue]:
    """What this platform wants of a draft beyond the checklist."""
    for node in graph.nodes:
        if (kind := _read(node).kind) != node.type:
            yield Issue("target", quote(node.id), f"its data.type is {kind!r}, not its type")
    ids = {node.id for node in graph.nodes}
    leads_somewhere = all(edge.source in ids and edge.target in ids for edge in graph.edges)
    if leads_somewhere and (why := refuse(graph)) is not None:
        yield Issue("target", "", why)


def reading(draft: Draft) -> object:
    """What `rule` reads of the ids and the data of a draft, by place.

    Of the types, and of the variables that templates hold, by place what they name. A draft of the same
    plan of which this is equal gets the same answer, where ids are sound (`ids.are_sound`). Of one that
    holds something else than drafts of ours do it is equal to none.
    """
    if any(one.lower() in OUTER_VARIABLES for one in draft.ids):
        return object()
    place = {node_id: number for number, node_id in enumerate(draft.ids)}
    found: list[object] = []
    try:
        read = _every_data.decode(b"[%b]" % b",".join(draft.data))
    except msgspec.DecodeError:
        return object()
    for data in read:
        template = data.template or data.prompt_template
        if template is None:
            found.append((data.type, False))
            continue
        selectors = _selectors(template) if isinstance(template, str) else None
        if selectors is None:
            return object()
        named = [one.partition(".") for one in selectors]
        by_place = frozenset([(place.get(one[0], one[0]), *one[1:]) for one in named])
        found.append((data.type, bool(template.strip()), by_place))
    return tuple(found)
