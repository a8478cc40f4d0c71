"""V1's node configurations, read as the platform reads them (design section 2).

The platform normalises what a node's `data` holds, then lets pydantic read it. So does this module:
spellings and defaults here, every judgement on a value in `worker.core.workflow.config_models`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final, TypedDict

import msgspec
from msgspec import Raw

from worker.core.codes import quote
from worker.core.workflow.node_types import CustomNode
from worker.core.workflow.text import platform_value

if TYPE_CHECKING:
    from worker.core.workflow.config_models import Knowledge, Llm

DEFAULT_DATASET: Final = "default-dataset"

_PROVIDERS: Final = (
    ("gpt", "openai"),
    ("o1", "openai"),
    ("claude", "anthropic"),
    ("openai/", "openai"),
    ("anthropic/", "anthropic"),
    ("gemini", "google"),
)

Refuse = Callable[[str], None]
RefuseField = Callable[[str, str], None]
Data = Mapping[str, Raw]
Values = Mapping[str, Any]


class Defaults(msgspec.Struct, frozen=True):
    """How an installation reads what V1's text leaves open.

    `model` is what an LLM node gets that names no usable one, `provider` the one that nothing else
    tells; `types` are the node types that V1 has here besides its own, by type.
    """

    model: str = "gpt-3.5-turbo"
    provider: str = "openai"
    types: Mapping[str, CustomNode[Any]] = {}


class LlmConfig(msgspec.Struct, frozen=True):
    """An LLM node's configuration.

    `temperature` and `max_tokens` are the number's JSON text: `temperature` as it was in the
    column where it was a number there. `template` may be empty: V1 then has two templates of its own.
    `use_context_from` holds V1 node ids, in order, repetitions included.
    """

    model: str
    provider: str
    template: str
    temperature: bytes
    max_tokens: bytes
    use_context_from: tuple[str, ...]


class CustomConfig(msgspec.Struct, frozen=True):
    """A custom node: `data` is read as the type wants it."""

    type: CustomNode[Any]
    data: Any


class KnowledgeConfig(msgspec.Struct, frozen=True):
    """A knowledge node's configuration.

    `document_ids` is what V1 searches, never empty; `dataset_id` None if none was given and
    documents were. `top_k` is the number's JSON text. `mode` is any text: V1 never looks at it.
    """

    document_ids: tuple[str, ...]
    dataset_id: str | None
    top_k: bytes
    mode: str


def llm(data: Data, defaults: Defaults, refuse: Refuse) -> LlmConfig:
    """Read an LLM node's `data`; every value that V1 refuses is reported to `refuse`."""
    given = _Given(data, _llm_keys)
    given.let_stand_in("prompt_template", "prompt", bool)
    _normalise_model(given.values, defaults)
    found = _llm_reader()(given.values, given.refusing(refuse))
    return LlmConfig(
        model=found.model,
        provider=found.provider,
        template=found.prompt_template,
        temperature=given.number("temperature", found.temperature),
        max_tokens=str(found.max_tokens).encode(),
        use_context_from=tuple(found.use_context_from or ()),
    )


def knowledge(data: Data, refuse: Refuse) -> KnowledgeConfig:
    """Read a knowledge node's `data`; every value that V1 refuses is reported to `refuse`."""
    given = _Given(data, _knowledge_keys)
    given.let_stand_in("document_ids", "documentIds", bool)
    given.let_stand_in("dataset_id", "dataset", bool)
    given.let_stand_in("top_k", "topK", lambda value: value is not None)
    values = given.values
    if not values.get("document_ids") and not values.get("dataset_id"):
        values["dataset_id"] = DEFAULT_DATASET
    found = _knowledge_reader()(values, given.refusing(refuse))
    return KnowledgeConfig(
        document_ids=tuple(found.document_ids or (found.dataset_id or DEFAULT_DATASET,)),
        dataset_id=found.dataset_id or None,
        top_k=str(found.top_k).encode(),
        mode=found.mode,
    )


def custom(data: Data, node_type: CustomNode[Any], refuse: Refuse) -> CustomConfig:
    """Read the `data` of a node of a custom type; what its type refuses is reported to `refuse`."""
    try:
        return CustomConfig(node_type, node_type.read(_encode(data)))
    except msgspec.DecodeError as error:
        refuse(f"its data does not fit its type: {error}")
        return CustomConfig(node_type, None)


def infer_provider(model: str, fallback: str) -> str:
    """The provider that a model's name tells, else `fallback`; lower case.

    >>> infer_provider("claude-3-haiku", "openai"), infer_provider("solar-pro", "OpenAI")
    ('anthropic', 'openai')
    """
    lowered = model.lower()
    for prefix, provider in _PROVIDERS:
        if lowered.startswith(prefix):
            return provider
    return fallback.lower()


@cache
def _llm_reader() -> Callable[[Values, RefuseField], Llm]:
    from worker.core.workflow.config_models import Llm, read  # noqa: PLC0415  (see there)

    return partial(read, Llm)


@cache
def _knowledge_reader() -> Callable[[Values, RefuseField], Knowledge]:
    from worker.core.workflow.config_models import Knowledge, read  # noqa: PLC0415  (see there)

    return partial(read, Knowledge)


class _LlmKeys(TypedDict, total=False):
    model: Any
    provider: Any
    prompt_template: Any
    prompt: Any
    temperature: Any
    max_tokens: Any
    use_context_from: Any


class _KnowledgeKeys(TypedDict, total=False):
    document_ids: Any
    documentIds: Any
    dataset_id: Any
    dataset: Any
    dataset_name: Any
    top_k: Any
    topK: Any
    mode: Any


_encode = msgspec.json.Encoder().encode
_llm_keys = msgspec.json.Decoder(_LlmKeys)
_knowledge_keys = msgspec.json.Decoder(_KnowledgeKeys)


class _Given:
    """What a node's data gives: Python's values by key, as the platform has them in hand."""

    __slots__ = ("_data", "_spelled", "values")

    def __init__(self, data: Data, keys: msgspec.json.Decoder[Any]) -> None:
        self._data = data
        self._spelled: dict[str, str] = {}
        self.values: dict[str, Any] = platform_value(_encode(data), keys)

    def let_stand_in(self, key: str, other: str, counts: Callable[[Any], bool]) -> None:
        """Use the spelling `other` for `key` where that is absent and the other's value counts.

        A null that is there keeps the other out.
        """
        if key not in self.values and counts(value := self.values.get(other)):
            self.values[key] = value
            self._spelled[key] = other

    def number(self, key: str, read: float) -> bytes:
        """The JSON text of a number that was read: to its last digit where it was a number before."""
        text = self._number_text(self._spelled.get(key, key))
        return text if text and self.values[key] == read else repr(read).encode()

    def refusing(self, refuse: Refuse) -> RefuseField:
        """Say of a field what it must be and what it is, by the key that gave it."""

        def tell(field: str, wanted: str) -> None:
            key = self._spelled.get(field, field)
            shown = self._number_text(key).decode()
            if not shown or field == "provider":  # which may be in the model's object
                shown = json.dumps(self.values[field], ensure_ascii=False)
            refuse(f"{key} must be {wanted} (it is {quote(shown, 40)})")

        return tell

    def _number_text(self, key: str) -> bytes:
        """The JSON text of a number as it is in the column; empty if there is no number."""
        text = bytes(self._data.get(key, b""))
        return text if text[:1].isdigit() or text[:1] == b"-" else b""


def _normalise_model(values: dict[str, Any], defaults: Defaults) -> None:
    """Write out the model and the provider; a provider that is no text stays, to be refused."""
    model = values.get("model")
    described = model if isinstance(model, dict) else {}
    if described:
        model = described.get("name") or described.get("id")
    if not model or not isinstance(model, str):
        model = defaults.model
    provider = values.get("provider") or described.get("provider")
    provider = provider or infer_provider(model, defaults.provider)
    values["model"] = model
    values["provider"] = provider.lower() if isinstance(provider, str) else provider
