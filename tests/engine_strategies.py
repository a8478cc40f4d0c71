"""Any workflow that V1 runs: odd ids, braces, several searches, chains, branches, doubled edges."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st

IDS = (
    "start-1", "llm-1", "llm.1", "a.b", "a_b", "env", "env_node", "sys", "self", "conversation",
    "text-join-1", "text-join-2", "한국어", "{question}", "{context}", " ", "0", "end", "x\n", '"',
    "system", "llm-1.response", "🙂", "knowledge", "after",
)  # fmt: skip
FRAGMENTS = (
    "{question}", "{context}", "{", "}", "{{question}}", "{query}", "{system_prompt}", "{x}",
    "\\n", "\n\n", "환불", "%s", "$1", "\\", "", " ", "{ques{context}tion}", "🙂", "\x01",
)  # fmt: skip
MODELS: tuple[Any, ...] = (
    "gpt-4o", "claude-3-haiku", "gemini-1.5-pro", "openai/x", "anthropic/y", "o1-mini", "solar",
    "", None, {"provider": "Anthropic", "name": "m"}, {"id": "gpt-4"}, {"name": ""},
)  # fmt: skip

texts = st.lists(st.sampled_from(FRAGMENTS), max_size=6).map("".join)
free_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
messages = texts | free_texts
_some_ids = st.lists(st.sampled_from(("doc-1", "doc-2", "*", "{context}")), max_size=3)


def _maybe(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


knowledge_data = st.one_of(
    _maybe(document_ids=_some_ids, top_k=st.integers(1, 20), dataset_id=st.just("ds-1")),
    _maybe(documentIds=_some_ids, topK=st.integers(1, 20), dataset=st.just("ds-2")),
)


def llm_data(ids: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """An LLM's data; `ids` are the workflow's, and one more that does not exist."""
    return _maybe(
        model=st.sampled_from(MODELS),
        provider=st.sampled_from(("OpenAI", "azure")),
        prompt_template=texts,
        prompt=texts,
        temperature=st.sampled_from((0, 1, 0.0, 0.25, 1.0, 0.7000000000000001)),
        max_tokens=st.integers(1, 8192),
        use_context_from=st.lists(st.sampled_from([*ids, "nobody"]), max_size=4),
    )


own_data = _maybe(
    terms=st.dictionaries(st.sampled_from((*FRAGMENTS, "h")), texts, max_size=3),
    quiet=st.booleans(),
)


@st.composite
def workflows(
    draw: st.DrawFn, max_middle: int = 6, own_types: Sequence[str] = ()
) -> dict[str, Any]:
    """A workflow: a random acyclic graph in which every node has what V1 wants before and behind it.

    `own_types` are types of an installation's own that it may have too.
    """
    order = Random(draw(st.integers(0, 2**16)))  # edges and orders drawn one by one take long
    kinds = draw(
        st.lists(
            st.sampled_from(("llm", "llm", "knowledge-retrieval", "knowledge", *own_types)),
            max_size=max_middle,
        )
    )
    types = ["start", *kinds, "end"]
    ids = order.sample(IDS, len(types))
    last = len(types) - 1
    pairs = [
        (order.randrange(place), place)
        for place in range(1, last + 1)
        for _ in range(order.randint(1, 2))
    ]
    led_on = {source for source, _ in pairs}
    pairs += [
        (place, order.randint(place + 1, last)) for place in range(last) if place not in led_on
    ]
    nodes = []
    for node_id, kind in zip(ids, types, strict=True):
        data: dict[str, Any] = {"title": "x"}
        if kind == "llm":
            data |= draw(llm_data(ids))
        elif kind.startswith("knowledge"):
            data |= draw(knowledge_data)
        elif kind in own_types:
            data |= draw(own_data)
        drawn_type = kind
        if order.random() < 0.3:
            drawn_type, data["type"] = "custom", kind
        nodes.append({"id": node_id, "type": drawn_type, "data": data})
    order.shuffle(nodes)
    order.shuffle(pairs)
    return {
        "nodes": nodes,
        "edges": [{"source": ids[a], "target": ids[b]} for a, b in pairs],
    }
