"""V1's node configurations: spellings, defaults and bounds (design section 2).

Values are read as leniently as the platform reads them (pydantic's lax mode: a number may be
written as a text or a truth value, a whole number as 5.0) and no more so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw

from worker.core.codes import quote
from worker.core.engine.base import CustomNode

DEFAULT_TEMPLATE: Final = "Context: {context}\nQuestion: {question}\nAnswer:"
DEFAULT_DATASET: Final = "default-dataset"
MODES: Final = ("semantic", "keyword")

_PROVIDERS: Final = (
    ("gpt", "openai"),
    ("o1", "openai"),
    ("claude", "anthropic"),
    ("openai/", "openai"),
    ("anthropic/", "anthropic"),
    ("gemini", "google"),
)
_DECIMAL = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?\s*", re.ASCII)

Refuse = Callable[[str], None]
Data = Mapping[str, Raw]


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

    `temperature` and `max_tokens` are the number's JSON text, as it stood in the column where it
    was a number there. `template` may be empty: V1 then has two templates of its own.
    `use_context_from` holds V1 node ids, in order, repetitions included.
    """

    model: str
    provider: str
    template: str
    temperature: bytes
    max_tokens: bytes
    use_context_from: tuple[str, ...]


class CustomConfig(msgspec.Struct, frozen=True):
    """A node of an installation's own type: `data` is read as the type wants it."""

    type: CustomNode[Any]
    data: Any


class KnowledgeConfig(msgspec.Struct, frozen=True):
    """A knowledge node's configuration.

    `document_ids` is what V1 searches, never empty; `dataset_id` None where none was given and
    documents were. `top_k` is the number's JSON text.
    """

    document_ids: tuple[str, ...]
    dataset_id: str | None
    top_k: bytes
    mode: str


def llm(data: Data, defaults: Defaults, refuse: Refuse) -> LlmConfig:
    """Read an LLM node's `data`; every value that V1 refuses is told to `refuse`."""
    model, provider = _model_and_provider(data, defaults)
    return LlmConfig(
        model=model,
        provider=provider,
        template=_template(data, refuse),
        temperature=_number(data, "temperature", b"0.7", 0, 1, whole=False, refuse=refuse),
        max_tokens=_number(data, "max_tokens", b"4000", 1, 8192, whole=True, refuse=refuse),
        use_context_from=_texts(data, "use_context_from", refuse),
    )


def knowledge(data: Data, refuse: Refuse) -> KnowledgeConfig:
    """Read a knowledge node's `data`; every value that V1 refuses is told to `refuse`."""
    document_ids = _texts(data, _given(data, "document_ids", "documentIds"), refuse)
    dataset_key = _given(data, "dataset_id", "dataset")
    dataset_id = _text(data, dataset_key, "", refuse, null_is_missing=True) or None
    if not document_ids and dataset_id is None:
        dataset_id = DEFAULT_DATASET
    mode = _text(data, "mode", MODES[0], refuse)
    if mode not in MODES:
        refuse(f"mode must be one of {', '.join(MODES)} (it is {quote(mode)})")
    top_k_key = _given(data, "top_k", "topK")
    return KnowledgeConfig(
        document_ids=document_ids or ((dataset_id,) if dataset_id else ()),
        dataset_id=dataset_id,
        top_k=_number(data, top_k_key, b"5", 1, 20, whole=True, refuse=refuse),
        mode=mode,
    )


def custom(data: Data, node_type: CustomNode[Any], refuse: Refuse) -> CustomConfig:
    """Read the `data` of a node of an installation's own; what its type refuses is told to `refuse`."""
    try:
        return CustomConfig(node_type, node_type.read(msgspec.json.encode(data)))
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


def _model_and_provider(data: Data, defaults: Defaults) -> tuple[str, str]:
    value = _decoded(data, "model")
    described = value if isinstance(value, dict) else {}
    model = _usable(value) or _usable(described.get("name")) or _usable(described.get("id"))
    provider = _usable(_decoded(data, "provider")) or _usable(described.get("provider"))
    model = model or defaults.model
    return model, provider.lower() if provider else infer_provider(model, defaults.provider)


def _usable(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _template(data: Data, refuse: Refuse) -> str:
    if "prompt_template" in data:
        return _text(data, "prompt_template", DEFAULT_TEMPLATE, refuse)
    prompt = _text(data, "prompt", "", refuse, null_is_missing=True)
    return prompt or DEFAULT_TEMPLATE


def _given(data: Data, key: str, other: str) -> str:
    """`key`, or the spelling `other` where `key` is absent (null counts as absent)."""
    return key if _decoded(data, key) is not None or other not in data else other


def _text(
    data: Data, key: str, default: str, refuse: Refuse, *, null_is_missing: bool = False
) -> str:
    if key not in data:
        return default
    value = _decoded(data, key)
    if isinstance(value, str):
        return value
    if value is not None or not null_is_missing:
        refuse(f"{key} must be a text")
    return default


def _texts(data: Data, key: str, refuse: Refuse) -> tuple[str, ...]:
    value = _decoded(data, key)
    if value is None:
        return ()
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    refuse(f"{key} must be a list of texts")
    return ()


def _number(
    data: Data, key: str, default: bytes, low: int, high: int, *, whole: bool, refuse: Refuse
) -> bytes:
    """The JSON text of a number between `low` and `high`, both included."""
    if key not in data:
        return default
    raw = bytes(data[key])
    number = _parse_number(raw)
    kind = "a whole number" if whole else "a number"
    if number is None or (whole and not number.is_integer()) or not low <= number <= high:
        refuse(f"{key} must be {kind} from {low} to {high} (it is {quote(raw.decode(), 40)})")
        return default
    if whole:
        return str(int(number)).encode()
    return raw if raw[:1] in b"-0123456789" else repr(number).encode()


def _parse_number(raw: bytes) -> float | None:
    if raw in (b"true", b"false"):
        return float(raw == b"true")
    text = raw.decode()
    if raw[:1] == b'"':
        text = msgspec.json.decode(raw)
    return float(text) if len(text) < 400 and _DECIMAL.fullmatch(text) else None


def _decoded(data: Data, key: str) -> object:
    """The value of `key` as Python reads it, None where it is missing or null."""
    raw = data.get(key)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except msgspec.ValidationError:  # a number beyond a float: no text, list or object
        return ...
