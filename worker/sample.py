"""A sample fleet: bots as people make them, some broken, some without a workflow, some on V2.

The same number of bots is always the same fleet, so that a second run finds everything unchanged.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

import msgspec
import psycopg

from worker.core.targets.convert import convert_text
from worker.core.targets.registry import DEFAULT
from worker.core.targets.target import Target
from worker.core.workflow.config import Defaults

PREFIX = "sample-"

ANSWER_COLUMNS: Final = """
    ALTER TABLE bot_workflow_versions
        ADD COLUMN IF NOT EXISTS is_in_library boolean NOT NULL DEFAULT false,
        ADD COLUMN IF NOT EXISTS input_schema jsonb,
        ADD COLUMN IF NOT EXISTS output_schema jsonb,
        ADD COLUMN IF NOT EXISTS node_count integer,
        ADD COLUMN IF NOT EXISTS edge_count integer,
        ADD COLUMN IF NOT EXISTS port_definitions jsonb,
        ADD COLUMN IF NOT EXISTS api_endpoint_alias varchar(100) UNIQUE,
        ADD COLUMN IF NOT EXISTS api_default_response_mode varchar(20);
    ALTER TABLE workflow_execution_runs
        ADD COLUMN IF NOT EXISTS api_key_id integer,
        ADD COLUMN IF NOT EXISTS api_request_id varchar(100);
"""
"""What makes sample tables those of a platform of the target `answer`. Safe to repeat."""

SMALLEST = b"""{
    "nodes": [{"id": "start", "type": "start"}, {"id": "llm", "type": "llm"},
              {"id": "end", "type": "end"}],
    "edges": [{"id": "1", "source": "start", "target": "llm"},
              {"id": "2", "source": "llm", "target": "end"}]
}"""
"""The smallest workflow that V1 runs and that asks a model."""

_NAMES = (
    "고객지원",
    "환불 안내",
    "예약 도우미",
    "사내 규정",
    "배송 조회",
    "제품 추천",
    "FAQ",
    "인사팀",
)
_PROMPTS = (
    "당신은 친절한 상담원입니다. 아래 자료만 보고 답하세요.\n\n{context}\n\n질문: {question}\n답변:",
    "Context: {context}\nQuestion: {question}\nAnswer:",
    "자료:\n{context}\n\n위 자료에 없는 내용은 모른다고 답하세요. 질문: {question}",
    "Answer in one sentence. {question}",
)
_MODELS: tuple[Any, ...] = (
    "gpt-4o-mini",
    "gpt-4",
    {"provider": "Anthropic", "name": "claude-3-haiku"},
    {"id": "gemini-1.5-pro"},
    "solar-pro",
)

Node = dict[str, Any]


class SampleBot(msgspec.Struct, frozen=True):
    """A row of `bots`."""

    bot_id: str
    name: str
    workflow: bytes | None
    uses_v2: bool


Fleet = Callable[[int, int], Iterator[SampleBot]]
"""The bots numbered from the second number on, as many as the first says, in key order."""


def sample_bots(count: int, first: int = 0) -> Iterator[SampleBot]:
    """The bots numbered `first` to `first + count - 1`, in key order."""
    for number in range(first, first + count):
        # Seeded by the number alone: a bot is the same however many there are.
        chance = random.Random(number)  # noqa: S311
        kind = number % 100
        workflow = None if kind == 13 else msgspec.json.encode(_workflow(chance, kind))
        name = f"{chance.choice(_NAMES)} {number}호"
        yield SampleBot(f"{PREFIX}{number:08d}", name, workflow, kind == 42)


def insert_sample(
    connection: psycopg.Connection[Any],
    count: int,
    target: Target = DEFAULT,
    fleet: Fleet = sample_bots,
) -> int:
    """Add the bots of a fleet that are not there yet; returns how many were added. Commits.

    What the bots on V2 run is of `target`.
    """
    added = 0
    with connection.cursor() as cursor:
        for first in range(0, count, 1000):
            page = list(fleet(min(1000, count - first), first))
            cursor.execute(
                "INSERT INTO bots (bot_id, name, workflow, use_workflow_v2) "
                "SELECT i, n, w::json, v FROM unnest(%s::text[], %s::text[], %s::text[], %s::bool[])"
                " AS s (i, n, w, v) ON CONFLICT DO NOTHING",
                (
                    [bot.bot_id for bot in page],
                    [bot.name for bot in page],
                    [None if bot.workflow is None else bot.workflow.decode() for bot in page],
                    [bot.uses_v2 for bot in page],
                ),
            )
            added += cursor.rowcount
            cursor.executemany(
                "INSERT INTO bot_workflow_versions (id, bot_id, version, status, graph) VALUES "
                "(gen_random_uuid(), %s, 'v1.0', 'published', %s::jsonb) ON CONFLICT DO NOTHING",
                _published(page, target),
            )
            connection.commit()
    return added


def _published(bots: list[SampleBot], target: Target) -> list[tuple[str, str]]:
    """The versions that the bots on V2 run: (bot_id, graph)."""
    return [
        (bot.bot_id, convert_text(bot.workflow, Defaults(), target).graph.decode())
        for bot in bots
        if bot.uses_v2 and bot.workflow is not None
    ]


def _workflow(chance: random.Random, kind: int) -> dict[str, Any]:
    """A workflow; kinds 90 and up are broken, each in its own way."""
    searches = chance.choice((0, 1, 1, 1, 1, 2, 3))
    models = chance.choice((1, 1, 1, 1, 2))
    nodes = [a_node("start-1", "start", 0, {"title": "시작"})]
    nodes += [a_search(chance, number) for number in range(1, searches + 1)]
    nodes += [an_llm(chance, number) for number in range(1, models + 1)]
    nodes.append(a_node("end-1", "end", 9, {"title": "끝"}))
    edges = _edges(nodes, in_a_row=chance.random() < 0.5)
    workflow = {"nodes": nodes, "edges": edges, "viewport": {"x": 0, "y": 0, "zoom": 0.85}}
    if kind >= 90:
        spoil(workflow, kind)
    return workflow


def a_node(node_id: str, node_type: str, column: int, data: dict[str, Any]) -> Node:
    """A node as V1's editor saves it."""
    return {
        "id": node_id,
        "type": node_type,
        "position": {"x": 120 + 260 * column, "y": 180},
        "data": {**data, "type": node_type},
        "width": 240,
        "selected": False,
    }


def a_search(chance: random.Random, number: int) -> Node:
    """A knowledge node with a config by chance."""
    documents = [f"doc-{chance.randrange(1000)}" for _ in range(chance.randrange(3))]
    key, top_k = chance.choice((("document_ids", "top_k"), ("documentIds", "topK")))
    data = {"title": "지식 검색", "dataset_id": f"ds-{chance.randrange(90)}", "mode": "semantic"}
    return a_node(
        f"knowledge-{number}",
        "knowledge-retrieval",
        number,
        {**data, key: documents, top_k: chance.randrange(1, 21)},
    )


def an_llm(chance: random.Random, number: int) -> Node:
    """An LLM node with a config by chance."""
    data = {
        "title": "LLM",
        "desc": "언어 모델이 답변을 생성합니다",
        "model": chance.choice(_MODELS),
        "temperature": chance.choice((0, 0.2, 0.7, 1.0)),
        "max_tokens": chance.choice((500, 1000, 4000)),
        chance.choice(("prompt_template", "prompt")): chance.choice(_PROMPTS),
    }
    return a_node(f"llm-{number}", "llm", 4 + number, data)


def _edges(nodes: list[Node], *, in_a_row: bool) -> list[dict[str, Any]]:
    """Everything one after another, or every search at once, then every LLM."""
    ids = [node["id"] for node in nodes]
    if in_a_row:
        return [an_edge(one, other) for one, other in pairwise(ids)]
    searches = [node["id"] for node in nodes if node["type"] == "knowledge-retrieval"]
    llms = [node["id"] for node in nodes if node["type"] == "llm"]
    pairs = [(ids[0], search) for search in searches]
    pairs += [(source, llm) for source in searches or ids[:1] for llm in llms]
    return [an_edge(*pair) for pair in [*pairs, *((llm, ids[-1]) for llm in llms)]]


def an_edge(source: str, target: str) -> dict[str, Any]:
    """An edge as V1's editor saves it."""
    return {"id": f"e-{source}-{target}", "source": source, "target": target, "animated": True}


def spoil(workflow: dict[str, Any], kind: int) -> None:
    """Break a workflow in the way of its kind, 90 to 95."""
    nodes, edges = workflow["nodes"], workflow["edges"]
    llm = next(node for node in nodes if node["type"] == "llm")
    if kind == 90:
        llm["data"]["temperature"] = 1.5
    elif kind == 91:
        nodes.pop()
    elif kind == 92:
        edges.append(an_edge("llm-1", "ghost"))
    elif kind == 93:
        edges.append(an_edge("llm-1", "start-1"))
    elif kind == 94:
        llm["type"] = llm["data"]["type"] = "teleport"
    elif kind == 95:
        llm["data"]["title"] = "\x00"
