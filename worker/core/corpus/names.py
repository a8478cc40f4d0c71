"""Workflows by the ids of their nodes, and by what else people's data holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from worker.core.corpus.building import Case, NodeId, chain, end, knowledge, llm, start

IDS: Final[Mapping[str, tuple[NodeId, NodeId, NodeId, NodeId]]] = {
    "blanks": (" a ", " b", "c ", "d e"),
    "hashes": ("#s", "#k", "#l#", "e#"),
    "braces": ("s}", "{k", "}}l{{", "{e}"),
    "dots": ("s.1", "k.1.2", ".l", "e."),
    "numbers": (1, 2, 3, 4),
    "digits": ("1", "2", "03", "4"),
    "korean": ("시작", "지식 검색", "모델-1", "끝"),
    "reserved": ("sys", "env", "conversation", "self"),
    "reserved-upper": ("SYS", "Env", "Conv", "SYSTEM"),
    "types": ("end", "start", "knowledge-retrieval", "llm"),
    "ours": ("after", "text-join-1", "answer-1", "branch-1"),
    "quotes": ("s'", 'k"', "l\\", "e`"),
    "lines": ("s\n1", "k\t1", "l\r1", "e\u20281"),
    "long": ("s" * 200, "k" * 200, "l" * 200, "e" * 200),
    "emoji": ("🟢", "🔍", "🤖", "🏁"),
}


def names() -> Iterator[Case]:
    """Ids that selectors and templates cannot hold, and keys that mean something in a V2."""
    for name, (first, search, model, last) in IDS.items():
        nodes = start(first), knowledge(search), llm(model), end(last)
        yield chain("ids", name, *nodes)
        built = start(first), knowledge(search), llm(model, " {query}{context}|{{x}}"), end(last)
        yield chain("ids_built", name, *built)
    yield _stray()
    yield _junk_types()


def _stray() -> Case:
    """Keys that V1 never looked at."""
    return chain(
        "stray",
        "keys",
        start(ports=[], output_schema={"x": 1}, port_bindings={"query": "x"}),
        knowledge(
            document_ids=["faq"],
            top_k=2,
            similarity_threshold=2,
            persist_to_conversation=True,
            conversation_context_key="x",
        ),
        llm(
            template="{{x}}", allow_conversation_context_fallback=True, conversation_context_key="x"
        ),
        end(template="no", ports={"inputs": []}),
    )


def _junk_types() -> Case:
    """`data.type` says something else than `type`, which counts."""
    return chain(
        "junk_type",
        "data",
        start(type="end"),
        knowledge(type="answer", document_ids=["faq"]),
        llm(type="template-transform"),
        end(type="assigner"),
    )
