"""The target `guide`: the engine of the platform guide's day.

Its node types are start, knowledge-retrieval, llm and end, and flowshift's own text-join, which the
platform has to register.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Raw

from worker.core.codes import quote
from worker.core.engine.conditions import IfElse
from worker.core.engine.nodes import End, KnowledgeRetrieval, Start, as_text
from worker.core.engine.registry import register
from worker.core.engine.rules import DrawnGraph, Rules
from worker.core.targets.target import AS_THE_PLATFORM, KnownDifference, Target
from worker.core.workflow import config
from worker.core.workflow.calls import Providers
from worker.core.workflow.config import LlmConfig
from worker.core.workflow.draft import Draft, DraftBuilder, DraftNode, after_port, mapping
from worker.core.workflow.draft import End as EdgeEnd
from worker.core.workflow.node_types import Node
from worker.core.workflow.plan import Plan, listed
from worker.core.workflow.roles import Role
from worker.core.workflow.v1 import Workflow
from worker.core.workflow.v1_texts import NO_LLM_ANSWER, SEPARATOR, own_prompt
from worker.core.workflow.v2 import COMMON_PORTS, QUERY_IN, RESERVED_IDS, Port, Ports
from worker.errors import BotError

TEXT_JOIN: Final = "text-join"

PORTS: Final[Mapping[str, Ports]] = {
    **COMMON_PORTS,
    "llm": Ports(
        inputs=(
            QUERY_IN,
            Port("context", "string", False, "프롬프트의 {context}에 들어갈 텍스트", "컨텍스트"),
            Port("system_prompt", "string", False, "모델에 주는 지시", "시스템 프롬프트"),
        ),
        outputs=(
            Port("response", "string", True, "모델의 응답", "응답"),
            Port("tokens", "number", False, "사용한 토큰 수", "토큰"),
            Port("model", "string", False, "사용한 모델", "모델"),
        ),
    ),
    TEXT_JOIN: Ports(
        outputs=(Port("text", "string", False, "빈 입력을 뺀 텍스트를 이어 붙인 것", "텍스트"),)
    ),
}

ROLES: Final[Mapping[str, Role]] = {
    "start": Role(PORTS["start"], gives={"message": "query"}),
    "knowledge-retrieval": Role(
        PORTS["knowledge-retrieval"], takes={"message": "query"}, gives={"context": "context"}
    ),
    "llm": Role(
        PORTS["llm"],
        takes={"message": "query", "context": "context"},
        gives={"response": "response"},
    ),
    "end": Role(PORTS["end"], takes={"response": "response"}),
}

# One text-join input for each search that each LLM sees: bounds a draft's size, which may otherwise
# grow with the square of the workflow's.
MAX_JOIN_INPUTS: Final = 20_000
# Placeholders that this engine replaces and V1 leaves alone, and what comes out as them here: the
# engine replaces `{system_prompt}` last, and by nothing where no system prompt is mapped.
_CARRIED: Final = {
    "{query}": "{{system_prompt}query}",
    "{system_prompt}": "{sys{system_prompt}tem_prompt}",
}
_PLACEHOLDER: Final = re.compile(r"\{query\}|\{system_prompt\}")

_BLANK_LINES: Final = re.compile(r"\n{3,}")
_encode = msgspec.json.Encoder().encode
_STANDARD_PORTS: Final = {node_type: Raw(_encode(ports)) for node_type, ports in PORTS.items()}


# -- the engine's node types -----------------------------------------------------------------------


class LlmData(msgspec.Struct, frozen=True):
    """What a model is asked with; a graph that leaves something out gets these."""

    model: str = config.Defaults().model
    provider: str = config.Defaults().provider
    prompt_template: str = config.DEFAULT_TEMPLATE
    temperature: int | float = 0.7
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 4000


class Llm(Node[LlmData]):
    """Asks a model."""

    type = "llm"
    ports = PORTS["llm"]
    data_type = LlmData

    def run(self, inputs: Mapping[str, Any], data: LlmData, providers: Providers) -> dict[str, Any]:
        prompt = render(
            data.prompt_template,
            query=as_text(inputs["query"]),
            context=as_text(inputs.get("context")),
            system_prompt=as_text(inputs.get("system_prompt")),
        )
        response, tokens = providers.generate(
            prompt, data.model, data.provider, data.temperature, data.max_tokens
        )
        return {"response": response, "tokens": tokens, "model": data.model}


def render(template: str, *, query: str, context: str, system_prompt: str) -> str:
    """The prompt of this engine: four replacements, each in what the last gave, then trimmed.

    >>> render("{query}: {context}", query="{context}?", context="{query}", system_prompt="")
    '{query}?: {query}'
    """
    prompt = template.replace("{query}", query).replace("{question}", query)
    prompt = prompt.replace("{context}", context).replace("{system_prompt}", system_prompt)
    return trimmed(prompt)


def trimmed(prompt: str) -> str:
    """What this engine makes of every prompt: blank lines squeezed, outer blanks stripped.

    >>> trimmed(" a\\n\\n\\nb ")
    'a\\n\\nb'
    """
    return _BLANK_LINES.sub("\n\n", prompt).strip()


class TextJoinData(msgspec.Struct, frozen=True):
    """What joins the texts, and what stands for none."""

    separator: str = SEPARATOR
    default: str = ""


class TextJoin(Node[TextJoinData]):
    """Joins its inputs that are not empty, in port order."""

    type = TEXT_JOIN
    ports = PORTS[TEXT_JOIN]
    data_type = TextJoinData

    def run(
        self,
        inputs: Mapping[str, Any],
        data: TextJoinData,
        providers: Providers,  # noqa: ARG002
    ) -> dict[str, Any]:
        texts = [text for value in inputs.values() if (text := as_text(value))]
        return {"text": data.separator.join(texts) if texts else data.default}


def refuse(graph: DrawnGraph) -> str | None:
    """Why this engine does not run a graph; None where it does."""
    starts = sum(node.type == "start" for node in graph.nodes)
    return None if starts == 1 else f"{starts} start nodes; exactly one is needed"


# -- writing a draft -------------------------------------------------------------------------------


def usable_id(node_id: str) -> str:
    """The id itself where a selector can name it, else one near it.

    >>> usable_id("llm-1"), usable_id("a.b"), usable_id("sys")
    ('llm-1', 'a_b', 'sys_node')
    """
    return f"{node_id}_node" if node_id in RESERVED_IDS else node_id.replace(".", "_")


def write(workflow: Workflow) -> Draft:
    """The draft of a workflow.

    Raises:
        BotError: `too_large`, where its LLM nodes see more searches together than a draft can hold.
    """
    return _Writer(Plan(workflow, ROLES, usable_id)).draft()


class _Writer:
    """One draft being written."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.builder = DraftBuilder(plan, _STANDARD_PORTS)
        self.join_inputs = 0
        self.warned_of_trimming = False

    def draft(self) -> Draft:
        plan, builder = self.plan, self.builder
        for one in plan.nodes.values():
            if "message" in one.role.takes:
                builder.map("message", plan.start.id, one.id)
        for one in plan.in_order:
            node = builder.nodes[one.id]
            if len(one.context) == 1:
                builder.map_and_connect("context", one.context[0], one.id)
            elif one.context:
                self._join(node)
            if one.response is not None and one is not plan.end:
                builder.map_and_connect("response", one.response, one.id)
            if isinstance(one.node.config, LlmConfig):
                self._write_prompt(node, one.node.config)
        if plan.end.response is not None:
            builder.map_and_connect("response", plan.end.response, plan.end.id)
        else:
            self._answer_without_llm()
        return builder.draft()

    def _join(self, node: DraftNode) -> None:
        """Put a text-join in front of a node's context."""
        plan, builder, target = self.plan, self.builder, node.planned
        sources, port = target.context, target.role.takes["context"]
        self.join_inputs += len(sources)
        if self.join_inputs > MAX_JOIN_INPUTS:
            raise BotError(
                "too_large",
                f"its LLM nodes see more than {MAX_JOIN_INPUTS:,} searches together, "
                "which a draft would have to spell out",
            )
        names = [f"text_{number}" for number in range(1, len(sources) + 1)]
        outputs = [plan.nodes[source].role.gives["context"] for source in sources]
        join = self._add_join(
            node,
            default="",
            inputs=[Port(name, "string", False, "이어 붙일 텍스트", name) for name in names],
            mappings={
                name: mapping(plan.new_ids[source], output)
                for name, source, output in zip(names, sources, outputs, strict=True)
            },
        )
        for name, source, output in zip(names, sources, outputs, strict=True):
            builder.connect(builder.end(source, output), EdgeEnd(join, TEXT_JOIN, name))
        node.mappings[port] = mapping(join, "text")
        builder.connect(EdgeEnd(join, TEXT_JOIN, "text"), builder.end(target.id, port))
        builder.warn(
            "join_node",
            target.id,
            f"{quote(join)} joins what {listed(dict.fromkeys(sources))} found: "
            f"the platform must have the node type {TEXT_JOIN}",
        )

    def _answer_without_llm(self) -> None:
        """A text-join that holds V1's fixed sentence: it has no text inputs, so it gives its default.

        The edge from the start makes it reachable; its port stays unmapped, so that nothing is
        joined.
        """
        plan, builder = self.plan, self.builder
        end = builder.nodes[plan.end.id]
        join = self._add_join(
            end, default=NO_LLM_ANSWER, inputs=[after_port("after", "string")], mappings={}
        )
        start = builder.end(plan.start.id, "query")
        builder.connect(start, EdgeEnd(join, TEXT_JOIN, "after"))
        builder.connect(EdgeEnd(join, TEXT_JOIN, "text"), builder.end(plan.end.id, "response"))
        end.mappings["response"] = mapping(join, "text")

    def _add_join(
        self, node: DraftNode, *, default: str, inputs: list[Port], mappings: Mapping[str, bytes]
    ) -> str:
        join = self.builder.free_id("text-join-{}")
        self.builder.add_node(
            join,
            TEXT_JOIN,
            beside=node.planned.id,
            data={"separator": SEPARATOR, "default": default},
            ports=Ports(tuple(inputs), PORTS[TEXT_JOIN].outputs),
            mappings=mappings,
        )
        return join

    def _write_prompt(self, node: DraftNode, config: LlmConfig) -> None:
        if not config.template:
            self._write_own_prompt(node)
            return
        template = carried(config.template)
        if template != config.template:
            node.data["prompt_template"] = Raw(_encode(template))
            found = dict.fromkeys(_PLACEHOLDER.findall(config.template))
            self.builder.warn(
                "query_placeholder",
                node.planned.id,
                f"its prompt holds {' and '.join(found)}: plain text in V1, a placeholder in V2, so "
                f"the draft says {' and '.join(_CARRIED[name] for name in found)}",
            )
        if trimmed(config.template) != config.template:
            self._warn_of_trimming(node)

    def _write_own_prompt(self, node: DraftNode) -> None:
        """V1's prompt for an empty template.

        V1 replaces nothing in what it fills in, so the message comes in by the last replacement.
        """
        with_context = bool(node.planned.context)
        template = own_prompt("{system_prompt}", "{context}" if with_context else "")
        node.data["prompt_template"] = Raw(_encode(template))
        node.mappings["system_prompt"] = node.mappings["query"]
        if with_context:
            self.builder.warn(
                "empty_template",
                node.planned.id,
                "where a search finds nothing V1 leaves the context line out; the draft keeps it",
            )

    def _warn_of_trimming(self, node: DraftNode) -> None:
        if not self.warned_of_trimming:
            self.warned_of_trimming = True
            self.builder.warn("prompt_trimmed", node.planned.id, TRIMMED.message)


def carried(template: str) -> str:
    """A template of V1 that this engine renders as V1 does, where no system prompt is mapped.

    >>> carried("{query} {question}")
    '{{system_prompt}query} {question}'
    """
    return _PLACEHOLDER.sub(lambda found: _CARRIED[found[0]], template)


TRIMMED: Final = KnownDifference(
    "prompt_trimmed",
    trimmed,
    "V2 strips a prompt and squeezes its blank lines; V1 sends it as it is",
)
REMOVED: Final = KnownDifference(
    "placeholder_removed",
    lambda prompt: prompt.replace("{system_prompt}", ""),
    "V2 removes {system_prompt} from what messages and documents bring; V1 leaves it",
)

GUIDE: Final = Target(
    name="guide",
    title="the engine of the platform guide's day",
    write=write,
    usable_id=usable_id,
    rules=Rules(
        register({}, Start(), KnowledgeRetrieval(), Llm(), TextJoin(), IfElse(), End()),
        refuse=refuse,
    ),
    recording=AS_THE_PLATFORM,
    differences=(REMOVED, TRIMMED),
    types=frozenset({TEXT_JOIN}),
)
