"""The node types of the engine `answer`, as far as drafts of ours and the corpus need them.

What is not known of the platform is refused in words, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, cast

import msgspec

from worker.core.engine.nodes import EVERY_DOCUMENT, End, NoData
from worker.core.targets.answer.ports import (
    ANSWER_TYPE,
    ASSIGNER,
    IF_ELSE,
    PORTS,
    TEMPLATE_TRANSFORM,
    result_port,
    target_port,
    value_port,
)
from worker.core.targets.answer.templates import OUTER_VARIABLES, OWN_INPUTS, render, variables
from worker.core.workflow.calls import Providers
from worker.core.workflow.node_types import Node, variable_input
from worker.core.workflow.v1_texts import SEPARATOR
from worker.core.workflow.v2 import Port, Ports

NOTHING_FOUND: Final = (
    "검색 결과가 없습니다. 해당 질문에 대한 정보가 RAG 문서에 등록되지 않았습니다. "
    "다른 질문을 시도해주시거나, 필요한 문서를 업로드해주세요."
)
"""The context that the platform gives where both searches find nothing."""

SIMPLE_NAMES: Final = ("{query}", "{question}", "{context}", "{system_prompt}")
"""What an LLM's prompt may hold besides variables, in the order in which they are replaced."""

_Inputs = Mapping[str, Any]


# -- selectors -------------------------------------------------------------------------------------


def outputs_named(selectors: Sequence[str]) -> tuple[str, ...]:
    """The outputs (`<node id>.<port>`) that selectors lead to; those of the node itself left out."""
    named = (_output_named(selector) for selector in selectors)
    return tuple(dict.fromkeys(one for one in named if one is not None))


def value_named(inputs: _Inputs, selector: str) -> Any:
    """What a selector names, None where there is nothing."""
    parts = _parts(selector)
    if parts[:1] == [OWN_INPUTS]:
        return inputs.get(".".join(parts[1:]))
    named = _output_named(selector)
    value = None if named is None else inputs.get(variable_input(named))
    if parts and parts[0] in OUTER_VARIABLES:
        return value
    for part in parts[2:]:
        value = _inside(value, part)
    return value


def _parts(selector: str) -> list[str]:
    return [part for part in selector.strip().split(".") if part]


def _output_named(selector: str) -> str | None:
    parts = _parts(selector)
    if len(parts) < 2 or parts[0] == OWN_INPUTS:
        return None
    return ".".join(parts if parts[0] in OUTER_VARIABLES else parts[:2])


def _inside(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, list | tuple) and part.isdecimal():
        return value[int(part)] if int(part) < len(value) else None
    return None


# -- the types -------------------------------------------------------------------------------------


class Start(Node[NoData]):
    """Hands on the message; there is none without a character."""

    type = "start"
    ports = PORTS["start"]
    data_type = NoData

    def run(self, inputs: _Inputs, data: NoData, providers: Providers) -> dict[str, Any]:  # noqa: ARG002
        if not inputs["query"]:
            raise ValueError(
                "the message is empty: the platform does not run a workflow on nothing"
            )
        return dict(inputs)


class KnowledgeData(msgspec.Struct, frozen=True):
    """What a search reads of its data."""

    document_ids: tuple[str, ...] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=1)] = 5
    similarity_threshold: int | float = 0.4


class Knowledge(Node[KnowledgeData]):
    """Searches for its query, and without its documents once more where it finds nothing."""

    type = "knowledge-retrieval"
    ports = PORTS["knowledge-retrieval"]
    data_type = KnowledgeData

    def run(self, inputs: _Inputs, data: KnowledgeData, providers: Providers) -> dict[str, Any]:
        query = inputs["query"]
        if not query:
            raise ValueError("its query is empty")
        found = providers.retrieve(query, data.top_k, data.document_ids or EVERY_DOCUMENT)
        if not found and data.document_ids:
            found = providers.retrieve(query, data.top_k, EVERY_DOCUMENT)
        if not found:
            return {"context": NOTHING_FOUND, "documents": [], "doc_count": 0}
        near = [one for one in found if one.get("similarity", 0.0) >= data.similarity_threshold]
        if not near:
            raise ValueError(
                f"no document is as near as {data.similarity_threshold:g}: what the platform then adds "
                "to the context is not known here; set similarity_threshold to 0"
            )
        return {
            "context": SEPARATOR.join([one.get("content", "") for one in near]),
            "documents": near,
            "doc_count": len(near),
        }


class LlmData(msgspec.Struct, frozen=True):
    """What a model is asked with."""

    model: str | None = None
    provider: str | None = None
    prompt_template: str | None = None
    temperature: int | float = 0.7
    max_tokens: int = 4000


class Llm(Node[LlmData]):
    """Asks a model."""

    type = "llm"
    ports = PORTS["llm"]
    data_type = LlmData

    def variables(self, data: LlmData) -> tuple[str, ...]:
        return outputs_named([one.selector for one in variables(_stripped(data))])

    def run(self, inputs: _Inputs, data: LlmData, providers: Providers) -> dict[str, Any]:
        if not data.model or not data.provider:
            raise ValueError("it names no model or no provider: the platform takes one of its own")
        response, tokens = providers.generate(
            prompt_of(_stripped(data), inputs),
            data.model,
            data.provider.lower(),
            data.temperature,
            data.max_tokens,
        )
        return {"response": response, "tokens": tokens, "model": data.model}


def _stripped(data: LlmData) -> str:
    return (data.prompt_template or "").strip()


def prompt_of(template: str, inputs: _Inputs) -> str:
    """The prompt that an LLM makes of a stripped template and its inputs."""
    if not template:
        raise ValueError("it has no prompt: the platform takes one of its own")
    has_names = any(name in template for name in SIMPLE_NAMES)
    prompt = template
    if any(True for _ in variables(template)):
        own = {"context": "", "system_prompt": "", **inputs}
        prompt = render(template, lambda selector: value_named(own, selector))
    return _with_names(prompt, inputs) if has_names else prompt


def _with_names(prompt: str, inputs: _Inputs) -> str:
    query = inputs.get("query") or ""
    values = (query, query, inputs.get("context") or "", inputs.get("system_prompt") or "")
    for name, value in zip(SIMPLE_NAMES, values, strict=True):
        prompt = prompt.replace(name, value)
    return re.sub(r"\n{3,}", "\n\n", prompt).strip()


class AnswerData(msgspec.Struct, frozen=True):
    """What an answer is made of."""

    template: str


class Answer(Node[AnswerData]):
    """Renders its template, character for character."""

    type = ANSWER_TYPE
    ports = PORTS[ANSWER_TYPE]
    data_type = AnswerData

    def variables(self, data: AnswerData) -> tuple[str, ...]:
        return outputs_named([one.selector for one in variables(data.template)])

    def run(
        self,
        inputs: _Inputs,
        data: AnswerData,
        providers: Providers,  # noqa: ARG002
    ) -> dict[str, Any]:
        return {"final_output": render(data.template, lambda one: value_named(inputs, one))}


class Operation(msgspec.Struct, frozen=True):
    """One thing that an assigner does."""

    write_mode: str
    input_type: str = "variable"
    constant_value: Any = None


class AssignerData(msgspec.Struct, frozen=True):
    """What an assigner does, in order."""

    operations: tuple[Operation, ...] = ()


class Assigner(Node[AssignerData]):
    """Gives values names, one for each operation."""

    type = ASSIGNER
    ports = Ports(outputs=(Port(result_port(0), "any"),))
    data_type = AssignerData

    def run(
        self,
        inputs: _Inputs,
        data: AssignerData,
        providers: Providers,  # noqa: ARG002
    ) -> dict[str, Any]:
        return {
            result_port(number): self._result(number, operation, inputs)
            for number, operation in enumerate(data.operations)
        }

    def _result(self, number: int, operation: Operation, inputs: _Inputs) -> Any:
        if operation.write_mode != "set":
            raise ValueError(f"operations other than set are not executed here ({number} is one)")
        if inputs.get(target_port(number)) is None:
            raise ValueError(f"its input {target_port(number)} has no value")
        is_constant = operation.input_type == "constant"
        value = operation.constant_value if is_constant else inputs.get(value_port(number))
        if value is None:
            raise ValueError(f"operation {number} has no value")
        return value


class Condition(msgspec.Struct, frozen=True):
    """A test of what a selector names."""

    variable_selector: str
    comparison_operator: str
    value: Any = None
    var_type: str = msgspec.field(default="string", name="varType")


class Case(msgspec.Struct, frozen=True):
    """Tests of which all (`and`) or any (`or`) must hold; without a test it holds."""

    conditions: tuple[Condition, ...] = ()
    logical_operator: str = "and"


class IfElseData(msgspec.Struct, frozen=True):
    """The ways, in order: the first that holds is taken."""

    cases: tuple[Case, ...] = ()


class IfElse(Node[IfElseData]):
    """Takes the way of the first case that holds: `if`, `elif_1`, `elif_2` …, else `else`."""

    type = IF_ELSE
    ports = Ports(outputs=(Port("if", "boolean"), Port("else", "boolean")))
    data_type = IfElseData
    branches = True

    def variables(self, data: IfElseData) -> tuple[str, ...]:
        tests = [test for case in data.cases for test in case.conditions]
        return outputs_named([test.variable_selector for test in tests])

    def run(
        self,
        inputs: _Inputs,
        data: IfElseData,
        providers: Providers,  # noqa: ARG002
    ) -> dict[str, Any]:
        ways = ["if", *(f"elif_{number}" for number in range(1, len(data.cases)))]
        held = (way for way, case in zip(ways, data.cases, strict=False) if _holds(case, inputs))
        taken = next(held, "else")
        return {way: way == taken for way in [*ways[: len(data.cases)], "else"]}

    def follows(self, outputs: Mapping[str, Any], port: str) -> bool:
        return outputs.get(port) is True


def _holds(case: Case, inputs: _Inputs) -> bool:
    tests = [_passes(test, value_named(inputs, test.variable_selector)) for test in case.conditions]
    return any(tests) if tests and case.logical_operator.lower() == "or" else all(tests)


def _passes(test: Condition, value: Any) -> bool:
    name = test.comparison_operator.lower()
    if name in ("empty", "not empty"):
        is_empty = value is None or (isinstance(value, str | list | dict) and not value)
        return is_empty == (name == "empty")
    if test.var_type.lower() != "string" or name not in ("is", "is not", "=", "≠", "contains"):
        raise ValueError(f"tests of {test.var_type} by {name} are not executed here")
    one, other = ("" if text is None else str(text) for text in (value, test.value))
    if name == "contains":
        return other.lower() in one.lower()
    return (one == other) == (name in ("is", "="))


# -- template-transform ----------------------------------------------------------------------------

_OUTPUT: Final = r"[A-Za-z_]\w*\.\w+"
_FILLED_PROMPT: Final = re.compile(
    r"\{% set context = "
    rf'(?:""|\((?P<lists>{_OUTPUT}(?: \+ {_OUTPUT})*)\)'
    r'\|map\(attribute="content"\)\|join\("\\n\\n"\)) %\}'
    rf'\{{\{{ prompt\|replace\("\{{question\}}", (?P<question>{_OUTPUT})\)'
    r'\|replace\("\{context\}", context\)\|safe \}\}'
)


class TransformData(msgspec.Struct, frozen=True):
    """A Jinja template, and what it is given beside the outputs of nodes."""

    template: str
    variables: dict[str, Any] = {}


class TemplateTransform(Node[TransformData]):
    """Fills a prompt, by the one template that is known: nothing else of Jinja is executed here.

    It replaces `{question}`, then `{context}`, in `variables.prompt`, with outputs that it names.
    """

    type = TEMPLATE_TRANSFORM
    ports = PORTS[TEMPLATE_TRANSFORM]
    data_type = TransformData

    def variables(self, data: TransformData) -> tuple[str, ...]:
        if (known := _FILLED_PROMPT.fullmatch(data.template)) is None:
            return ()
        return outputs_named([known["question"], *_lists(known)])

    def run(
        self,
        inputs: _Inputs,
        data: TransformData,
        providers: Providers,  # noqa: ARG002
    ) -> dict[str, Any]:
        known = _FILLED_PROMPT.fullmatch(data.template)
        prompt = data.variables.get("prompt")
        if known is None or not isinstance(prompt, str):
            raise ValueError("its template is none that is executed here: Jinja is not")
        question = value_named(inputs, known["question"])
        lists = [value_named(inputs, one) for one in _lists(known)]
        if question is None or None in lists:
            return {"output": "", "length": 0, "success": False, "error": "a variable is undefined"}
        documents = [document for found in lists for document in cast("list[Any]", found)]
        context = SEPARATOR.join([one["content"] for one in documents])
        text = prompt.replace("{question}", question).replace("{context}", context)
        return {"output": text, "length": len(text), "success": True, "error": ""}


def _lists(known: re.Match[str]) -> list[str]:
    return known["lists"].split(" + ") if known["lists"] else []


NODE_TYPES: Final = (
    *(Start(), Knowledge(), Llm(), End()),
    *(Answer(), Assigner(), IfElse(), TemplateTransform()),
)
"""The types that this engine executes."""
