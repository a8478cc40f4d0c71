"""The platform as its own code has it: how it reads V1's configurations, and how it reads drafts.

Written from the design alone (sections 2 and 3), with pydantic models as the platform writes them: the
oracle for what the product reads and writes. It knows nothing of the product.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, Field

DEFAULT_TEMPLATE = "Context: {context}\nQuestion: {question}\nAnswer:"

# -- configurations --------------------------------------------------------------------------------


class LLMNodeConfig(BaseModel):
    model: str = "gpt-3.5-turbo"
    provider: str = "openai"
    prompt_template: str = DEFAULT_TEMPLATE
    temperature: float = Field(default=0.7, ge=0.0, le=1.0)
    max_tokens: int = Field(default=4000, ge=1, le=8192)
    use_context_from: list[str] | None = None


class KnowledgeNodeConfig(BaseModel):
    dataset_id: str | None = None
    dataset_name: str | None = None
    mode: str = "semantic"
    top_k: int = Field(default=5, ge=1, le=20)
    document_ids: list[str] | None = None


def read_llm(data: str) -> LLMNodeConfig:
    """The configuration in the JSON of an LLM node's data.

    Raises:
        ValueError: V1 refuses it.
    """
    config = _data(data)
    model, provider = config.get("model"), config.get("provider")
    if isinstance(model, dict):
        provider = provider or model.get("provider")
        model = model.get("name") or model.get("id")
    if not isinstance(model, str) or not model:
        model = "gpt-3.5-turbo"
    config["model"] = model
    provider = provider or _inferred(model.lower())
    if not isinstance(provider, str):
        raise ValueError("provider")
    config["provider"] = provider.lower()
    if "prompt_template" not in config and config.get("prompt"):
        config["prompt_template"] = config["prompt"]
    return LLMNodeConfig(**config)


def _inferred(model: str) -> str:
    if model.startswith(("gpt", "o1", "openai/")):
        return "openai"
    if model.startswith(("claude", "anthropic/")):
        return "anthropic"
    return "google" if model.startswith("gemini") else "openai"


def read_knowledge(data: str) -> KnowledgeNodeConfig:
    """The configuration in the JSON of a knowledge node's data.

    Raises:
        ValueError: V1 refuses it.
    """
    config = _data(data)
    if "document_ids" not in config and config.get("documentIds"):
        config["document_ids"] = config["documentIds"]
    if "dataset_id" not in config and config.get("dataset"):
        config["dataset_id"] = config["dataset"]
    if "top_k" not in config and config.get("topK") is not None:
        config["top_k"] = config["topK"]
    if not config.get("document_ids") and not config.get("dataset_id"):
        config["dataset_id"] = "default-dataset"
    return KnowledgeNodeConfig(**config)


def _data(data: str) -> dict[str, Any]:
    loaded = json.loads(data)
    if not isinstance(loaded, dict):
        raise ValueError("data")
    return loaded


# -- the interface's schema of drafts --------------------------------------------------------------


class Position(BaseModel):
    x: float = Field(strict=True)
    y: float = Field(strict=True)


class EdgeData(BaseModel):
    source_type: str
    target_type: str


class InterfaceNode(BaseModel):
    id: str
    type: str
    position: Position
    data: dict[str, Any]


class InterfaceEdge(BaseModel):
    id: str
    source: str
    target: str
    type: str
    data: EdgeData


class InterfaceGraph(BaseModel):
    nodes: list[InterfaceNode]
    edges: list[InterfaceEdge]


class PortModel(BaseModel):
    name: str
    type: str = "string"
    required: bool = False
    description: str = ""
    display_name: str = ""
    default: Any = None


class PortsModel(BaseModel):
    inputs: list[PortModel] = []
    outputs: list[PortModel] = []


class MappingModel(BaseModel):
    variable: str
    value_type: str


class V2Node(InterfaceNode):
    ports: PortsModel
    variable_mappings: dict[str, MappingModel]


class V2Edge(InterfaceEdge):
    source_port: str
    target_port: str
    data_type: str


class V2Graph(BaseModel):
    """The schema of an interface that knows V2's ports and mappings; a null says nothing."""

    nodes: list[V2Node]
    edges: list[V2Edge]
    environment_variables: dict[str, Any] | None = None


def save_draft(graph: bytes, schema: type[BaseModel] = V2Graph) -> Any:
    """What is stored where a person opens a draft in the interface and saves it.

    The graph passes a browser, which holds every number as a double.
    """
    in_browser = json.loads(graph, parse_int=float)  # infinity becomes null in the model's JSON
    return _as_javascript(schema.model_validate(in_browser).model_dump(mode="json"))


def _as_javascript(value: Any) -> Any:
    """JSON as a browser writes it: a whole number has no fraction."""
    if isinstance(value, dict):
        return {key: _as_javascript(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_as_javascript(one) for one in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    return value


def read_draft(graph: bytes) -> InterfaceGraph:
    """A draft as the platform's interface reads it.

    Raises:
        ValueError: it cannot.
    """
    read = InterfaceGraph.model_validate(loads(graph))
    for node in read.nodes:
        json.dumps([node.position.x, node.position.y], allow_nan=False)
    return read


def loads(text: bytes) -> Any:
    """What `json.loads` gives; numbers that are longer than Python reads stand in no key of a model."""
    return json.loads(text, parse_int=lambda digits: int(digits[:4_300]))
