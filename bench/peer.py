"""The peer: the same fleet converted by a plain script, in the way in which a platform writes its own.

SQLAlchemy's ORM, one process, one connection, row by row: read a page of bots, convert each by a
function that is written straight from the picture, add a row, keep the old workflow, commit the page.

What it does not do, and flowshift does:

- It does not say what V1 did without saying it: an LLM that sees a search it is not connected to, two
  searches joined, the end's first LLM. Such drafts look right, and answer otherwise.
- It reads configs as they usually are, refuses only what it cannot go on with, and checks no draft.
- A second start converts bots that have a draft not again, whatever that draft says. An edited draft
  or a workflow that changed since is not seen.
- It locks nothing: a workflow that is saved while its page is converted is converted from the old text.
- It executes nothing beside V1, counts nothing by bot, reports no progress, waits for nobody, and what
  it dies of is a traceback: the page is lost, the bot that did it unknown.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

PAGE: Final = 500
"""Bots of one commit: as many as a batch of flowshift has."""

Json = dict[str, Any]


class Base(DeclarativeBase):
    """The models of the script."""


class Bot(Base):
    """A bot, of a copy of the platform's table."""

    __tablename__ = "peer_bots"

    bot_id: Mapped[str] = mapped_column(sa.String(50), primary_key=True)
    workflow: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    legacy_workflow: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    use_workflow_v2: Mapped[bool]


class Version(Base):
    """A version of a bot's workflow, of a copy of the platform's table."""

    __tablename__ = "peer_versions"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    bot_id: Mapped[str] = mapped_column(sa.ForeignKey("peer_bots.bot_id"))
    version: Mapped[str] = mapped_column(sa.String(50), default="draft")
    status: Mapped[str] = mapped_column(sa.String(20), default="draft")
    graph: Mapped[Json] = mapped_column(JSONB)


class Result(msgspec.Struct, frozen=True):
    """What the script did in `seconds`; `converted` bots have a draft, `failed` were refused."""

    seconds: float
    converted: int
    failed: int


class RefusedError(ValueError):
    """A workflow that the script cannot convert."""


# -- the database ----------------------------------------------------------------------------------


def measure_peer(engine: sa.Engine) -> Result:
    """Run the script over copies of the fleet's tables; the database is left as it was."""
    with engine.begin() as connection:
        for statement in _COPIES:
            connection.execute(sa.text(statement))
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as vacuum:
            vacuum.execute(sa.text("VACUUM ANALYZE peer_bots"))
            vacuum.execute(sa.text("CHECKPOINT"))
        plain = sa.create_engine(engine.url)  # a script has none of what our sessions set
        try:
            return migrate(plain)
        finally:
            plain.dispose()
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE peer_versions, peer_bots"))


_COPIES: Final = (
    "CREATE TABLE peer_versions (LIKE bot_workflow_versions INCLUDING ALL)",
    "CREATE TABLE peer_bots (LIKE bots INCLUDING ALL)",
    """
    INSERT INTO peer_bots (bot_id, name, workflow, use_workflow_v2)
    SELECT bot_id, name, workflow, use_workflow_v2 FROM bots
    """,
    "ALTER TABLE peer_versions ADD FOREIGN KEY (bot_id) REFERENCES peer_bots (bot_id) ON DELETE CASCADE",
)


def migrate(engine: sa.Engine) -> Result:
    """Give each bot that has none a draft, page by page in key order."""
    started = time.perf_counter()
    converted = failed = 0
    after = ""
    with Session(engine) as session:
        while bots := _bots(session, after):
            after = bots[-1].bot_id
            drafts = _drafts(session, bots)
            converted, failed = converted + drafts, failed + len(bots) - drafts
            session.commit()
            session.expunge_all()
    return Result(time.perf_counter() - started, converted, failed)


def _bots(session: Session, after: str) -> Sequence[Bot]:
    return session.scalars(_page(after)).all()


def _page(after: str) -> sa.Select[Any]:
    has_draft = sa.exists().where(Version.bot_id == Bot.bot_id, Version.status == "draft")
    return (
        sa.select(Bot)
        .where(Bot.bot_id > after, Bot.workflow.is_not(None), ~Bot.use_workflow_v2, ~has_draft)
        .order_by(Bot.bot_id)
        .limit(PAGE)
    )


def _drafts(session: Session, bots: Sequence[Bot]) -> int:
    count = 0
    for bot in bots:
        try:
            graph = convert(bot.workflow or {})
        except RefusedError:
            continue
        session.add(Version(bot_id=bot.bot_id, graph=graph))
        if bot.legacy_workflow is None:
            bot.legacy_workflow = bot.workflow
        count += 1
    return count


# -- one workflow ----------------------------------------------------------------------------------


def convert(workflow: Json) -> Json:
    """The draft of a workflow, by its picture: ports by type, mappings along its edges.

    Raises:
        RefusedError: it has not one start and one end, a type is unknown, an edge leads nowhere, or
            what is stored could not be.
    """
    nodes = {node["id"]: node for node in workflow["nodes"]}
    types = {node_id: _type(node) for node_id, node in nodes.items()}
    for only in ("start", "end"):
        if list(types.values()).count(only) != 1:
            raise RefusedError(f"there must be one {only}")
    start = next(node_id for node_id, one in types.items() if one == "start")
    edges = [_edge(edge, types) for edge in workflow["edges"]]
    return {
        **workflow,
        "nodes": [
            _node(node, types[node_id], _mappings(node_id, types, edges, start))
            for node_id, node in nodes.items()
        ],
        "edges": edges,
    }


def _type(node: Json) -> str:
    node_type: str = node["data"].get("type") if node["type"] == "custom" else node["type"]
    node_type = "knowledge-retrieval" if node_type == "knowledge" else node_type
    if node_type not in _PORTS:
        raise RefusedError(f"unknown type {node_type}")
    return node_type


def _node(node: Json, node_type: str, mappings: Json) -> Json:
    inputs, outputs = _PORTS[node_type]
    data = {**node.get("data", {}), **_CONFIGS.get(node_type, _no_config)(node.get("data", {}))}
    if "\x00" in str(data.get("title", "")):
        raise RefusedError("PostgreSQL cannot store it")
    ports = {"inputs": inputs, "outputs": outputs}
    return {**node, "type": node_type, "data": data, "ports": ports, "variable_mappings": mappings}


def _edge(edge: Json, types: dict[str, str]) -> Json:
    if edge["source"] not in types or edge["target"] not in types:
        raise RefusedError("an edge leads nowhere")
    source, target = types[edge["source"]], types[edge["target"]]
    target_port = "context" if (source, target) == ("knowledge-retrieval", "llm") else _FED[target]
    return {
        **edge,
        "type": edge.get("type", "custom"),
        "source_port": _GIVES[source],
        "target_port": target_port,
        "data_type": "string",
        "data": {"source_type": source, "target_type": target},
    }


def _mappings(node_id: str, types: dict[str, str], edges: list[Json], start: str) -> Json:
    """Each input by the edge that comes in; a question always from the start."""
    found = {
        edge["target_port"]: _from(edge["source"], edge["source_port"])
        for edge in edges
        if edge["target"] == node_id
    }
    if types[node_id] in ("knowledge-retrieval", "llm"):
        found["query"] = _from(start, "query")
    return found


def _from(source: str, port: str) -> Json:
    return {"variable": f"{source}.{port}", "value_type": "string"}


def _llm_config(data: Json) -> Json:
    model = data.get("model") or "gpt-3.5-turbo"
    if isinstance(model, dict):
        model = model.get("name") or model.get("id") or "gpt-3.5-turbo"
    temperature = data.get("temperature", 0.7)
    if not 0 <= temperature <= 1:
        raise RefusedError("temperature must be from 0 to 1")
    return {
        "model": model,
        "provider": data.get("provider") or _provider(model),
        "temperature": temperature,
        "max_tokens": data.get("max_tokens", 4000),
        "prompt_template": data.get("prompt_template") or data.get("prompt") or _TEMPLATE,
    }


def _provider(model: str) -> str:
    for start, provider in (("claude", "anthropic"), ("gemini", "google")):
        if model.startswith(start):
            return provider
    return "openai"


def _knowledge_config(data: Json) -> Json:
    documents = data.get("document_ids") or data.get("documentIds")
    return {
        "document_ids": documents or [data.get("dataset_id") or "default-dataset"],
        "top_k": data.get("top_k") or data.get("topK") or 5,
        "mode": data.get("mode", "semantic"),
    }


def _no_config(_: Json) -> Json:
    return {}


_CONFIGS: Final = {"llm": _llm_config, "knowledge-retrieval": _knowledge_config}
_TEMPLATE: Final = "Context: {context}\nQuestion: {question}\nAnswer:"
_GIVES: Final = {
    "start": "query",
    "knowledge-retrieval": "context",
    "llm": "response",
    "end": "final_output",
}
_FED: Final = {"start": "query", "knowledge-retrieval": "query", "llm": "query", "end": "response"}


def _port(name: str, port_type: str, description: str, display_name: str, required: bool) -> Json:
    return {
        "name": name,
        "type": port_type,
        "required": required,
        "description": description,
        "display_name": display_name,
    }


_PORTS: Final[dict[str, tuple[list[Json], list[Json]]]] = {
    "start": (
        [],
        [
            _port("query", "string", "사용자가 보낸 메시지", "질문", True),
            _port("session_id", "string", "대화 세션의 식별자", "세션 ID", False),
        ],
    ),
    "knowledge-retrieval": (
        [_port("query", "string", "사용자 메시지", "질문", True)],
        [
            _port("context", "string", "검색된 문서의 내용을 이어 붙인 텍스트", "컨텍스트", True),
            _port("documents", "array", "검색된 문서 목록", "문서", False),
            _port("doc_count", "number", "검색된 문서의 수", "문서 수", False),
        ],
    ),
    "llm": (
        [
            _port("query", "string", "사용자 메시지", "질문", True),
            _port("context", "string", "프롬프트의 {context}에 들어갈 텍스트", "컨텍스트", False),
            _port("system_prompt", "string", "모델에 주는 지시", "시스템 프롬프트", False),
        ],
        [
            _port("response", "string", "모델의 응답", "응답", True),
            _port("tokens", "number", "사용한 토큰 수", "토큰", False),
            _port("model", "string", "사용한 모델", "모델", False),
        ],
    ),
    "end": (
        [_port("response", "string", "사용자에게 보낼 응답", "응답", True)],
        [_port("final_output", "object", "워크플로우의 결과", "결과", True)],
    ),
}
