"""What kinds of workflow there are: names for what a generated example holds.

A property is worth as much as the examples it is tried on; a test counts them by these names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from typing import Any

from tests.builders import DEFAULTS
from worker.core.codes import WARNING_CODES, WarningCode
from worker.core.targets.convert import convert
from worker.core.targets.registry import DEFAULT
from worker.core.workflow import v1
from worker.core.workflow.config import KnowledgeConfig, LlmConfig
from worker.core.workflow.json_values import NodeId, id_text
from worker.core.workflow.v1_texts import DEFAULT_TEMPLATE
from worker.core.workflow.v2 import RESERVED_IDS


class Example:
    """A column's text and a message, and what can be asked about them."""

    def __init__(self, text: bytes, message: str) -> None:
        self.text, self.message = text, message
        self.workflow = workflow = v1.decode(text, DEFAULTS)
        self.place = {node_id: place for place, node_id in enumerate(workflow.order)}
        self.nodes = sorted(workflow.nodes, key=lambda node: self.place[node.id])
        self.ids = {node.id: node.keys["id"] for node in workflow.nodes}
        self.kinds = {node.id: node.type for node in workflow.nodes}
        self.searches = {
            n.id: n.config for n in self.nodes if isinstance(n.config, KnowledgeConfig)
        }
        self.llms = {n.id: n.config for n in self.nodes if isinstance(n.config, LlmConfig)}
        self.edges = Counter((edge.source, edge.target) for edge in workflow.edges)
        self.warnings = {warning.code for warning in convert(workflow).warnings}
        self.renamed = {old for old, new in DEFAULT.new_ids(workflow.nodes).items() if old != new}
        self.keys = {key for node in workflow.nodes for key in node.data}
        self.before = self._before()

    def _before(self) -> dict[NodeId, set[NodeId]]:
        """The nodes from which edges lead to a node, by node."""
        before: dict[NodeId, set[NodeId]] = {}
        for node in self.nodes:
            sources = {source for source, target in self.edges if target == node.id}
            before[node.id] = sources.union(*(before[source] for source in sources))
        return before

    def seen_by(self, llm: NodeId) -> list[NodeId]:
        """The searches that ran before an LLM."""
        return [search for search in self.searches if self.place[search] < self.place[llm]]

    def uses(self, holds: Callable[[NodeId, str], bool]) -> bool:
        """Whether a name in a `use_context_from` has a property, given (LLM, name)."""
        return any(
            holds(llm, name)
            for llm, config in self.llms.items()
            for name in config.use_context_from
        )

    def raw(self, key: str, holds: Callable[[bytes], Any]) -> bool:
        """Whether a node's datum has a property, given its JSON."""
        data = (node.data.get(key) for node in self.nodes)
        return any(holds(bytes(value)) for value in data if value is not None)


Holds = Callable[[Example], Any]


def _spelling(key: str) -> Holds:
    return lambda x: key in x.keys


def _warning(code: WarningCode) -> Holds:
    return lambda x: code in x.warnings


# An implicit response takes a type of an installation's own: tests/unit/core/engine/test_custom.py.
# What a message brings is a trial's to find; the others are the target `answer`'s: test_answer.py.
_ELSEWHERE = frozenset(
    {
        *("implicit_response", "placeholder_removed"),
        *("second_search", "search_errors", "context_in_message"),
    }
)

SHAPES: dict[str, Holds] = {
    # the graph
    "no LLM": lambda x: not x.llms,
    "a start and an end alone": lambda x: len(x.nodes) == 2,
    "nine nodes and more": lambda x: len(x.nodes) >= 9,
    "parallel LLMs": lambda x: any(a not in x.before[b] for a, b in combinations(x.llms, 2)),
    "a chain of LLMs": lambda x: any(a in x.before[b] for a, b in combinations(x.llms, 2)),
    "a chain of searches": lambda x: any(a in x.before[b] for a, b in combinations(x.searches, 2)),
    "parallel searches": lambda x: any(
        a not in x.before[b] for a, b in combinations(x.searches, 2)
    ),
    "several searches before an LLM": lambda x: any(len(x.seen_by(llm)) > 1 for llm in x.llms),
    "a search seen without a path": lambda x: any(
        set(x.seen_by(llm)) - x.before[llm] for llm in x.llms
    ),
    "a search after an LLM": lambda x: any(x.before[k] & x.llms.keys() for k in x.searches),
    "a search beside an LLM": lambda x: any(
        x.place[llm] < x.place[k] and llm not in x.before[k] for llm in x.llms for k in x.searches
    ),
    "one search twice": lambda x: len(set(x.searches.values())) < len(x.searches),
    "a doubled edge": lambda x: max(x.edges.values()) > 1,
    "an edge from start to end": lambda x: (x.nodes[0].id, x.nodes[-1].id) in x.edges,
    "nodes in another order than they run": lambda x: (
        [node.id for node in x.workflow.nodes] != list(x.workflow.order)
    ),
    # use_context_from
    "uses one search": lambda x: x.uses(lambda _, name: name in x.searches),
    "uses a later search": lambda x: x.uses(
        lambda llm, name: name in x.searches and x.place[name] > x.place[llm]
    ),
    "uses a search twice": lambda x: any(
        config.use_context_from.count(k) > 1 and k in x.seen_by(llm)
        for llm, config in x.llms.items()
        for k in x.searches
    ),
    "uses searches in another order": lambda x: any(
        [x.place[k] for k in config.use_context_from if k in x.searches]
        != sorted(x.place[k] for k in config.use_context_from if k in x.searches)
        for config in x.llms.values()
    ),
    "uses what is unknown": lambda x: x.uses(lambda _, name: name not in x.place),
    "uses an LLM": lambda x: x.uses(lambda _, name: name in x.llms),
    "uses the start or the end": lambda x: x.uses(
        lambda _, name: x.kinds.get(name) in ("start", "end")
    ),
    "uses itself": lambda x: x.uses(lambda llm, name: llm == name),
    "uses a renamed search": lambda x: x.uses(
        lambda _, name: name in x.searches.keys() & x.renamed
    ),
    "uses nothing that ran, though searches did": lambda x: any(
        config.use_context_from
        and x.seen_by(llm)
        and not set(config.use_context_from) & set(x.seen_by(llm))
        for llm, config in x.llms.items()
    ),
    "an empty use_context_from": lambda x: x.raw("use_context_from", lambda raw: raw == b"[]"),
    # ids
    "a dotted id": lambda x: any("." in id_text(node_id) for node_id in x.place),
    "a reserved id": lambda x: x.place.keys() & RESERVED_IDS,
    "a renamed start": lambda x: any(x.kinds[one] == "start" for one in x.renamed),
    "a renamed end": lambda x: any(x.kinds[one] == "end" for one in x.renamed),
    "a renamed LLM": lambda x: x.renamed & x.llms.keys(),
    "a renamed search": lambda x: x.renamed & x.searches.keys(),
    "a new id that was taken": lambda x: any(
        id_text(one).replace(".", "_") in x.place or f"{one}_node" in x.place for one in x.renamed
    ),
    "a join's id that was taken": lambda x: (
        "text-join-1" in x.place and x.warnings & {"join_node", "no_llm"}
    ),
    "an id with braces": lambda x: any("{" in id_text(node_id) for node_id in x.place),
    "an id beyond ASCII": lambda x: any(not id_text(node_id).isascii() for node_id in x.place),
    "a number for an id": lambda x: any(not isinstance(node_id, str) for node_id in x.place),
    "a number for an id, and its text for another": lambda x: any(
        not isinstance(node_id, str) and id_text(node_id) in x.place for node_id in x.place
    ),
    "an edge that writes a number otherwise": lambda x: any(
        bytes(edge.keys["source"]) != bytes(x.ids[edge.source])
        for edge in x.workflow.edges
        if not isinstance(edge.source, str)
    ),
    "uses the text of a number": lambda x: x.uses(
        lambda _, name: name not in x.place and name in {id_text(one) for one in x.searches}
    ),
    # what the editor needs
    "no position": lambda x: any("position" not in node.keys for node in x.nodes),
    "an edge with data": lambda x: any("data" in edge.keys for edge in x.workflow.edges),
    "an edge with a type": lambda x: any("type" in edge.keys for edge in x.workflow.edges),
    # spellings
    "a custom type": lambda x: any(bytes(n.keys["type"]) == b'"custom"' for n in x.nodes),
    "knowledge for short": lambda x: b'"knowledge"' in x.text,
    **{
        f"the spelling {key}": _spelling(key)
        for key in ("documentIds", "dataset", "topK", "prompt", "dataset_id", "provider")
    },
    "the default documents": lambda x: any(
        config.document_ids == ("default-dataset",) for config in x.searches.values()
    ),
    "many documents": lambda x: any(len(c.document_ids) > 20 for c in x.searches.values()),
    "a document twice": lambda x: any(
        len(set(c.document_ids)) < len(c.document_ids) for c in x.searches.values()
    ),
    "a model object": lambda x: x.raw("model", lambda raw: raw[:1] == b"{"),
    "no usable model": lambda x: any(c.model == DEFAULTS.model for c in x.llms.values()),
    "a number as a text": lambda x: x.raw("temperature", lambda raw: raw[:1] == b'"'),
    "a whole number with a point": lambda x: x.raw("top_k", lambda raw: b"." in raw),
    # texts
    "an empty template": lambda x: any(not c.template for c in x.llms.values()),
    "V1's default template": lambda x: any(
        config.template == DEFAULT_TEMPLATE for config in x.llms.values()
    ),
    "a placeholder twice": lambda x: any(
        max(c.template.count("{context}"), c.template.count("{question}")) > 1
        for c in x.llms.values()
    ),
    "a placeholder in braces": lambda x: any("{{question}}" in c.template for c in x.llms.values()),
    "a placeholder in a placeholder": lambda x: any(
        "{ques{context}tion}" in c.template for c in x.llms.values()
    ),
    "V2's placeholders": lambda x: any("{query}" in c.template for c in x.llms.values()),
    "a message with {question}": lambda x: "{question}" in x.message,
    "a message with {context}": lambda x: "{context}" in x.message,
    "a message beyond ASCII": lambda x: not x.message.isascii(),
    "a message beyond the basic plane": lambda x: max(x.message, default="") > "\uffff",
    "an empty message": lambda x: not x.message,
    # the column's text
    "an escaped text": lambda x: re.search(rb'"[^"]*\\u[0-9a-f]{4}', x.text),
    "an escaped key": lambda x: re.search(rb'\\u[0-9a-f]{4}"\s*:', x.text),
    "an escaped surrogate pair": lambda x: re.search(rb"\\ud8[0-9a-f]{2}\\ud[c-f]", x.text),
    "whitespace": lambda x: re.search(rb"\{\s", x.text),
    "text as it stands": lambda x: rb"\u" not in x.text and max(x.text) > 127,
    # what the draft needs
    **{f"the warning {code}": _warning(code) for code in WARNING_CODES if code not in _ELSEWHERE},
}


def shapes(text: bytes, message: str) -> set[str]:
    """The names of what an example holds."""
    example = Example(text, message)
    return {name for name, holds in SHAPES.items() if holds(example)}
