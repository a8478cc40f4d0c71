"""V1: nodes one after another, and every node sees everything (design section 2).

`worker.core.workflow.v1.decode` has refused what V1 refuses; what is left always runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec

from worker.core.workflow.calls import (
    DEFAULT_LIMITS,
    STOPS,
    Clock,
    Limits,
    Providers,
    Recorder,
    Trace,
    microseconds,
    reason,
)
from worker.core.workflow.config import CustomConfig, KnowledgeConfig, LlmConfig
from worker.core.workflow.json_values import NodeId, quote_id
from worker.core.workflow.node_types import CustomNode, checked_outputs
from worker.core.workflow.roles import Value
from worker.core.workflow.v1 import Workflow
from worker.core.workflow.v1_texts import NO_LLM_ANSWER, SEPARATOR, own_prompt, render

_number = msgspec.json.Decoder(int | float)


class Search(msgspec.Struct, frozen=True):
    """A knowledge node: what it searches, for whatever the message is."""

    id: NodeId
    top_k: int
    document_ids: tuple[str, ...]


class Prompt(msgspec.Struct, frozen=True):
    """An LLM node; `uses` names the searches that make its context, none meaning all before it."""

    id: NodeId
    template: str
    model: str
    provider: str
    temperature: float
    max_tokens: int
    uses: tuple[str, ...]


class Custom(msgspec.Struct, frozen=True):
    """A custom node: of each input, what V1 gives it and what it gives for none."""

    id: NodeId
    type: CustomNode[Any]
    data: Any
    inputs: tuple[tuple[str, Value | None, Any], ...]
    gives: Mapping[Value, str]


class Program(msgspec.Struct, frozen=True):
    """A workflow ready to run: the nodes that do something, in V1's order."""

    steps: tuple[Search | Prompt | Custom, ...]


def prepare(workflow: Workflow) -> Program:
    """Make a decoded workflow ready; once, for any number of messages."""
    nodes = {node.id: node for node in workflow.nodes}
    steps: list[Search | Prompt | Custom] = []
    for node_id in workflow.order:
        config = nodes[node_id].config
        if isinstance(config, KnowledgeConfig):
            steps.append(Search(node_id, int(config.top_k), config.document_ids))
        elif isinstance(config, LlmConfig):
            steps.append(_prompt(node_id, config))
        elif isinstance(config, CustomConfig):
            steps.append(_custom(node_id, config))
    return Program(tuple(steps))


def _prompt(node_id: NodeId, config: LlmConfig) -> Prompt:
    return Prompt(
        id=node_id,
        template=config.template,
        model=config.model,
        provider=config.provider,
        temperature=_number.decode(config.temperature),
        max_tokens=int(config.max_tokens),
        uses=config.use_context_from,
    )


def _custom(node_id: NodeId, config: CustomConfig) -> Custom:
    role = config.type.role
    taken = {port: value for value, port in role.takes.items()}
    return Custom(
        id=node_id,
        type=config.type,
        data=config.data,
        inputs=tuple(
            (port.name, taken.get(port.name), port.given_default) for port in role.ports.inputs
        ),
        gives=role.gives,
    )


def execute(
    program: Program,
    message: str,
    providers: Providers,
    *,
    clock: Clock,
    limits: Limits = DEFAULT_LIMITS,
    shown: Callable[[str], str] | None = None,
    asked: Callable[[str], str] | None = None,
) -> Trace:
    """Run a workflow on `message`, exactly as V1 does.

    `shown` changes each prompt before it is sent, `asked` the message before it is put into one: what V1
    would do if it had a target's known difference.

    Raises:
        BudgetSpentError, TransientError: a provider could not be asked; nothing is known.
    """
    began = clock()
    recorder = Recorder(providers)
    found: dict[NodeId, list[str]] = {}
    responses: list[str] = []
    error = None
    for count, step in enumerate(program.steps):
        try:
            if count >= limits.max_steps:
                raise TimeoutError(f"more than {limits.max_steps:,} steps")
            if clock() - began > limits.timeout_s:
                raise TimeoutError(f"more than {limits.timeout_s:g} seconds")
            if type(step) is Search:
                found[step.id] = _search(step, message, recorder)
            elif type(step) is Prompt:
                prompt = _prompt_of(step, asked(message) if asked else message, found)
                responses.append(_generate(step, shown(prompt) if shown else prompt, recorder))
            else:
                _run(cast("Custom", step), message, found, responses, recorder)
        except STOPS:
            raise
        except Exception as failure:  # noqa: BLE001 - whatever else a provider raises is recorded
            error = f"node {quote_id(step.id)} failed: {reason(failure)}"
            break
    return Trace(
        answer=None if error else (responses[0] if responses else "") or NO_LLM_ANSWER,
        calls=tuple(recorder.calls),
        error=error,
        tokens=recorder.tokens,
        elapsed_us=microseconds(clock() - began),
        first_response_empty=error is None and responses[:1] == [""],
    )


def _search(step: Search, message: str, recorder: Recorder) -> list[str]:
    documents = recorder.retrieve(message, step.top_k, step.document_ids)
    return [document["content"] for document in documents]


def _prompt_of(step: Prompt, message: str, found: dict[NodeId, list[str]]) -> str:
    # `found` is in the order of execution, and holds only what has run.
    chosen: Sequence[NodeId] = step.uses or list(found)
    context = SEPARATOR.join([text for node_id in chosen for text in found.get(node_id, ())])
    if not step.template:
        return own_prompt(message, context)
    return render(step.template, message, context)


def _generate(step: Prompt, prompt: str, recorder: Recorder) -> str:
    response, _ = recorder.generate(
        prompt, step.model, step.provider, step.temperature, step.max_tokens
    )
    return response


def _run(
    step: Custom,
    message: str,
    found: dict[NodeId, list[str]],
    responses: list[str],
    recorder: Recorder,
) -> None:
    """Run a node of a custom type, and add what it gives to what V1 hands on."""
    values: dict[Value | None, Any] = {"message": message}
    if found:
        texts = [text for texts in found.values() for text in texts]
        values["context"] = SEPARATOR.join(texts)
    if responses:
        values["response"] = responses[0]
    inputs = {
        port: values.get(value, default)
        for port, value, default in step.inputs
        if value in values or default is not None
    }
    outputs = step.type.run(inputs, step.data, recorder)
    checked_outputs(step.type, outputs)
    if port := step.gives.get("context"):
        found[step.id] = [text] if (text := outputs[port]) else []
    if port := step.gives.get("response"):
        responses.append(outputs[port])
