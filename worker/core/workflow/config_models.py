"""V1's node configurations as the platform's own models have them: pydantic in its lax mode judges.

Which texts are numbers, what a truth value is worth, what `inf` is: pydantic decides, and nothing of
ours imitates it. `worker.core.workflow.config` normalises the values before, and imports this where
it reads a node: pydantic takes a tenth of a second to load, and most commands never need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from worker.core.workflow.v1_texts import DEFAULT_TEMPLATE


class Llm(BaseModel):
    """An LLM node; a description is what a message says that the field must be."""

    model: str = Field("", description="a text")
    provider: str = Field("", description="a text")
    prompt_template: str = Field(DEFAULT_TEMPLATE, description="a text")
    temperature: float = Field(0.7, ge=0, le=1, description="a number from 0 to 1")
    max_tokens: int = Field(4000, ge=1, le=8192, description="a whole number from 1 to 8192")
    use_context_from: list[str] | None = Field(None, description="a list of texts")


class Knowledge(BaseModel):
    """A knowledge node; a description is what a message says that the field must be."""

    document_ids: list[str] | None = Field(None, description="a list of texts")
    dataset_id: str | None = Field(None, description="a text")
    dataset_name: str | None = Field(None, description="a text")
    mode: str = Field("semantic", description="a text")
    top_k: int = Field(5, ge=1, le=20, description="a whole number from 1 to 20")


Model = TypeVar("Model", Llm, Knowledge)


def read(
    model: type[Model], values: Mapping[str, Any], refuse: Callable[[str, str], None]
) -> Model:
    """Read a node's normalised values, Python's own, by field.

    Every field that pydantic refuses is reported to `refuse` once, with what it must be, and gets its
    default in what is returned.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        wrong = dict.fromkeys(str(fault["loc"][0]) for fault in error.errors(include_url=False))
    for field in wrong:
        refuse(field, str(model.model_fields[field].description))
    return model.model_validate({key: value for key, value in values.items() if key not in wrong})
