"""V1's configurations against the platform's own models: whatever a row holds, both read the same.

The oracle (`tests.platform`) normalises and reads as the design says that the platform does, with
`json.loads` and pydantic models of its own.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from msgspec import Raw

from tests import lax, platform
from tests.builders import DEFAULTS
from tests.strategies import examples
from worker.core.workflow import config

LLM_KEYS = (
    *("model", "provider", "prompt_template", "prompt"),
    *("temperature", "max_tokens", "use_context_from"),
)
KNOWLEDGE_KEYS = (
    *("document_ids", "documentIds", "dataset_id", "dataset", "dataset_name"),
    *("mode", "top_k", "topK"),
)
# What stands beside a value, so that it is read under every circumstance that a spelling depends on.
BESIDE: tuple[dict[str, str], ...] = (
    {},
    {"prompt_template": '"T"', "document_ids": '["a"]', "topK": "3"},
    {"prompt_template": "null", "document_ids": "null", "dataset_id": '"ds"', "top_k": "4"},
    {"prompt": '"P"', "documentIds": '["b"]', "dataset": '"other"', "topK": "null"},
    {"provider": '""', "model": '{"name": "claude-3", "provider": "House"}', "dataset_id": '""'},
)
DIGITS = "-0123456789"


def as_data(text: str) -> dict[str, Raw]:
    return msgspec.json.decode(text, type=dict[str, Raw])


def expected(read: Any, text: str) -> Any:
    """The oracle's configuration, None where V1 refuses the data."""
    try:
        # Python reads whole numbers of 4,300 digits at most: beyond every bound, like those of 4,000.
        return read(text.replace("9" * 5_000, "9" * 4_000))
    except ValueError:
        return None


def assert_an_llm_is_read_as_the_platform_reads_it(text: str) -> None:
    wanted = expected(platform.read_llm, text)
    refused: list[str] = []
    data = as_data(text)
    found = config.llm(data, DEFAULTS, refused.append)
    assert bool(refused) == (wanted is None), (text, refused)
    if wanted is None:
        assert all(why.isprintable() and len(why) < 200 for why in refused)
        return
    assert (found.model, found.provider) == (wanted.model, wanted.provider)
    assert found.template == wanted.prompt_template
    assert found.use_context_from == tuple(wanted.use_context_from or ())
    assert repr(float(json.loads(found.temperature))) == repr(wanted.temperature)
    assert json.loads(found.max_tokens) == wanted.max_tokens
    assert found.max_tokens.isdigit()
    given = bytes(data.get("temperature", b"0.7")).decode()
    if given[0] in DIGITS:
        assert found.temperature.decode() == given


def assert_a_search_is_read_as_the_platform_reads_it(text: str) -> None:
    wanted = expected(platform.read_knowledge, text)
    refused: list[str] = []
    found = config.knowledge(as_data(text), refused.append)
    assert bool(refused) == (wanted is None), (text, refused)
    if wanted is None:
        assert all(why.isprintable() and len(why) < 200 for why in refused)
        return
    assert found.document_ids == tuple(wanted.document_ids or [wanted.dataset_id])
    assert found.dataset_id == (wanted.dataset_id or None)
    assert found.mode == wanted.mode
    assert json.loads(found.top_k) == wanted.top_k
    assert found.top_k.isdigit()


@pytest.mark.parametrize("key", LLM_KEYS)
def test_any_value_of_an_llm_is_read_as_the_platform_reads_it(key: str) -> None:
    for value in lax.TABLE:
        for beside in BESIDE:
            text = lax.as_object({**beside, key: value})
            assert_an_llm_is_read_as_the_platform_reads_it(text)


@pytest.mark.parametrize("key", KNOWLEDGE_KEYS)
def test_any_value_of_a_search_is_read_as_the_platform_reads_it(key: str) -> None:
    for value in lax.TABLE:
        for beside in BESIDE:
            text = lax.as_object({**beside, key: value})
            assert_a_search_is_read_as_the_platform_reads_it(text)


@given(lax.data(LLM_KEYS))
@examples(1_500)
def test_any_data_of_an_llm_is_read_as_the_platform_reads_it(text: str) -> None:
    assert_an_llm_is_read_as_the_platform_reads_it(text)


@given(lax.data(KNOWLEDGE_KEYS))
@examples(1_500)
def test_any_data_of_a_search_is_read_as_the_platform_reads_it(text: str) -> None:
    assert_a_search_is_read_as_the_platform_reads_it(text)


@given(lax.numbers_as_texts())
@examples(1_000)
def test_any_text_is_the_number_that_the_platform_reads_in_it(value: str) -> None:
    for key in ("temperature", "max_tokens"):
        assert_an_llm_is_read_as_the_platform_reads_it(lax.as_object({key: value}))
    for key in ("top_k", "topK"):
        assert_a_search_is_read_as_the_platform_reads_it(lax.as_object({key: value}))


def test_of_a_doubled_key_the_last_counts_at_every_level() -> None:
    text = '{"model": {"name": "a", "name": "b"}, "temperature": 9, "temperature": 0.50}'
    found = config.llm(as_data(text), DEFAULTS, pytest.fail)

    assert (found.model, found.temperature) == ("b", b"0.50")


def test_the_table_is_accepted_and_refused_in_every_place() -> None:
    """A check of the table itself: a field that takes all of it, or none, tests nothing."""
    for key in ("prompt_template", "temperature", "max_tokens", "use_context_from", "provider"):
        found = [expected(platform.read_llm, lax.as_object({key: value})) for value in lax.TABLE]
        assert 2 < sum(one is not None for one in found) < len(found) - 2, key
    for key in ("document_ids", "dataset_name", "mode", "top_k", "topK", "dataset"):
        searches = (expected(platform.read_knowledge, lax.as_object({key: v})) for v in lax.TABLE)
        accepted = sum(one is not None for one in searches)
        assert 2 < accepted < len(lax.TABLE) - 2, key
