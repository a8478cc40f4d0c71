"""Workflows by how they are drawn: what flows where, and what V1 does beside the picture."""

from __future__ import annotations

from collections.abc import Iterator

from worker.core.corpus.building import Case, Line, Node, case, chain, end, knowledge, llm, start


def shapes() -> Iterator[Case]:
    """Chains, searches side by side, several LLMs, none."""
    yield chain("plain", "one-llm", start(), llm(), end())
    yield chain("plain", "one-search", start(), knowledge(), llm(), end())
    yield chain("knowledge_chain", "two", start(), _search(1), _search(2), llm(), end())
    yield chain("knowledge_chain", "after", start(), llm(), _search(1), end())
    yield chain(
        "llm_chain",
        "two",
        start(),
        _search(1),
        llm("llm-1"),
        llm("llm-2", "다시: {context}"),
        end(),
    )
    yield chain("llm_chain", "no-search", start(), llm("llm-1"), llm("llm-2", "{question}!"), end())
    yield chain("no_llm", "bare", start(), end())
    yield chain("no_llm", "search", start(), knowledge(), end())
    yield _fan_in(2)
    yield _fan_in(5)
    yield _parallel()
    yield _diamond()
    yield _chosen_context()
    yield _wide()


def _search(number: int) -> Node:
    return knowledge(f"knowledge-{number}", document_ids=[f"doc-{number}"], top_k=number)


def _fan_in(count: int) -> Case:
    searches = [_search(number) for number in range(1, count + 1)]
    ids = [node["id"] for node in searches]
    lines: list[Line] = [("start-1", one) for one in ids] + [(one, "llm-1") for one in ids]
    nodes = [start(), *searches, llm(), end()]
    return case("fan_in", str(count), nodes, [*lines, ("llm-1", "end-1")])


def _parallel() -> Case:
    """Two LLMs side by side: V1 answers with the first, and shows both what the search found."""
    nodes = [start(), knowledge(), llm("llm-1"), llm("llm-2", "Short: {question}"), end()]
    lines: list[Line] = [
        ("start-1", "knowledge-1"),
        ("knowledge-1", "llm-1"),
        ("start-1", "llm-2"),
        ("llm-1", "end-1"),
        ("llm-2", "end-1"),
    ]
    return case("llm_parallel", "end-takes-the-first", nodes, lines)


def _diamond() -> Case:
    """Nodes in another order than they run, and an edge along which nothing flows."""
    nodes = [end(), llm("b"), knowledge("k"), llm("a", "{context}|{question}"), start("s")]
    lines: list[Line] = [("s", "k"), ("k", "a"), ("s", "b"), ("a", "end-1"), ("b", "a")]
    return case("dag", "diamond", nodes, lines)


def _chosen_context() -> Case:
    nodes = [
        start(),
        _search(1),
        _search(2),
        llm("llm-1", use_context_from=["knowledge-2", "nowhere"]),
        end(),
    ]
    lines: list[Line] = [
        ("start-1", "knowledge-1"),
        ("start-1", "knowledge-2"),
        ("knowledge-1", "llm-1"),
        ("knowledge-2", "llm-1"),
        ("llm-1", "end-1"),
    ]
    return case("dag", "use-context-from", nodes, lines)


def _wide() -> Case:
    """Many searches and LLMs, each LLM behind every search."""
    searches = [_search(number) for number in range(1, 9)]
    models = [llm(f"llm-{number}", f"{number}: {{context}}") for number in range(1, 9)]
    lines: list[Line] = []
    for search, model in zip(searches, models, strict=True):
        lines += [
            ("start-1", search["id"]),
            (search["id"], model["id"]),
            (model["id"], "end-1"),
        ]
    return case("wide", "eight", [start(), *searches, *models, end()], lines)
