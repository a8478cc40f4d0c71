"""V1's configurations: every spelling, default and bound of design section 2."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from msgspec import Raw

from tests.builders import DEFAULTS, as_text, exactly
from tests.strategies import examples, json_values
from worker.core.workflow import config
from worker.core.workflow.config import Defaults, KnowledgeConfig, LlmConfig
from worker.core.workflow.v1_texts import DEFAULT_TEMPLATE


def raw(data: dict[str, Any]) -> dict[str, Raw]:
    return {key: Raw(as_text(value)) for key, value in data.items()}


def an_llm_config(defaults: Defaults = DEFAULTS, **data: Any) -> LlmConfig:
    return config.llm(raw(data), defaults, pytest.fail)


def a_knowledge_config(**data: Any) -> KnowledgeConfig:
    return config.knowledge(raw(data), pytest.fail)


def llm_refusals(**data: Any) -> list[str]:
    refused: list[str] = []
    config.llm(raw(data), DEFAULTS, refused.append)
    return refused


def knowledge_refusals(**data: Any) -> list[str]:
    refused: list[str] = []
    config.knowledge(raw(data), refused.append)
    return refused


# -- model and provider --------------------------------------------------------------------------


def test_an_llm_without_data_gets_every_default() -> None:
    assert an_llm_config() == LlmConfig(
        model="gpt-3.5-turbo",
        provider="openai",
        template="Context: {context}\nQuestion: {question}\nAnswer:",
        temperature=b"0.7",
        max_tokens=b"4000",
        use_context_from=(),
    )


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4", "gpt-4"),
        ({"name": "gpt-4"}, "gpt-4"),
        ({"id": "gpt-4"}, "gpt-4"),
        ({"name": "first", "id": "second"}, "first"),
        ({"name": "", "id": "second"}, "second"),
        ({"name": None, "id": "second"}, "second"),
        ({"name": False, "id": "second"}, "second"),
        ("   ", "   "),
        ({"name": " ", "id": "second"}, " "),
    ],
)
def test_a_model_is_a_text_or_an_objects_name_or_id(model: Any, expected: str) -> None:
    assert an_llm_config(model=model).model == expected


@pytest.mark.parametrize(
    "model",
    [
        *("", None, 7, True, [], ["gpt-4"], {}),
        *({"name": ""}, {"provider": "openai"}, {"id": 3}, {"name": 7, "id": "second"}),
    ],
)
def test_no_usable_model_means_the_configured_one(model: Any) -> None:
    defaults = Defaults(model="claude-house", provider="openai")

    assert an_llm_config(defaults, model=model).model == "claude-house"


@pytest.mark.parametrize("number", ["1e400", "1" * 5_000, "123456789012345678901234567890"])
def test_a_model_that_is_a_number_of_any_length_is_no_usable_model(number: str) -> None:
    assert an_llm_config(model=exactly(number)).model == "gpt-3.5-turbo"


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4", "openai"),
        ("o1-mini", "openai"),
        ("openai/whatever", "openai"),
        ("claude-3-haiku", "anthropic"),
        ("anthropic/whatever", "anthropic"),
        ("gemini-1.5-pro", "google"),
        ("Claude-3-Haiku", "anthropic"),
        ("solar-pro", "house"),
        ("my-gpt-4", "house"),
        ("google/gemini", "house"),
    ],
)
def test_a_provider_is_inferred_from_the_model(model: str, provider: str) -> None:
    defaults = Defaults(provider="House")

    assert an_llm_config(defaults, model=model).provider == provider


def test_the_provider_of_the_default_model_is_inferred_too() -> None:
    assert an_llm_config(Defaults(model="claude-x", provider="openai")).provider == "anthropic"


@pytest.mark.parametrize(
    ("data", "provider"),
    [
        ({"provider": "GOOGLE", "model": {"provider": "Anthropic", "name": "gpt-4"}}, "google"),
        ({"model": {"provider": "Anthropic", "name": "gpt-4"}}, "anthropic"),
        ({"provider": "", "model": {"provider": "Anthropic", "name": "gpt-4"}}, "anthropic"),
        ({"provider": "", "model": {"provider": "", "name": "claude-3"}}, "anthropic"),
        ({"provider": None, "model": "claude-3"}, "anthropic"),
        ({"provider": False, "model": "claude-3"}, "anthropic"),
        ({"provider": " ", "model": "claude-3"}, " "),
        ({"provider": "마이서버", "model": "claude-3"}, "마이서버"),
    ],
)
def test_a_given_provider_goes_before_the_models_and_before_the_inferred_one(
    data: dict[str, Any], provider: str
) -> None:
    assert an_llm_config(**data).provider == provider


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"provider": 7}, "7"),
        ({"provider": {"id": "openai"}}, '{"id": "openai"}'),
        ({"model": {"provider": ["a"]}}, '["a"]'),
        ({"provider": "", "model": {"provider": True}}, "true"),
        ({"provider": 0, "model": {"provider": 7}}, "7"),
    ],
)
def test_a_provider_that_is_no_text_is_refused(data: dict[str, Any], shown: str) -> None:
    assert llm_refusals(**data) == [f"provider must be a text (it is '{shown}')"]


# -- template ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "template"),
    [
        ({"prompt_template": "T"}, "T"),
        ({"prompt_template": "T", "prompt": "P"}, "T"),
        ({"prompt_template": "", "prompt": "P"}, ""),
        ({"prompt": "P"}, "P"),
        ({"prompt": " "}, " "),
        ({"prompt": ""}, "Context: {context}\nQuestion: {question}\nAnswer:"),
        ({"prompt": None}, "Context: {context}\nQuestion: {question}\nAnswer:"),
    ],
)
def test_prompt_stands_for_an_absent_template_where_it_is_not_empty(
    data: dict[str, Any], template: str
) -> None:
    assert an_llm_config(**data).template == template


@pytest.mark.parametrize("value", [["a"], 7, None, {}, True])
def test_a_template_that_is_no_text_is_refused(value: Any) -> None:
    (why,) = llm_refusals(prompt_template=value)

    assert why == f"prompt_template must be a text (it is '{json.dumps(value)}')"


@pytest.mark.parametrize("value", [["a"], 7, {"text": "x"}])
def test_a_prompt_that_is_no_text_is_refused_only_where_it_counts(value: Any) -> None:
    assert llm_refusals(prompt=value) == [f"prompt must be a text (it is '{json.dumps(value)}')"]
    assert llm_refusals(prompt=value, prompt_template="T") == []


@pytest.mark.parametrize("value", [None, "", 0, False, [], {}])
def test_a_prompt_that_python_takes_for_nothing_is_none(value: Any) -> None:
    assert an_llm_config(prompt=value).template == DEFAULT_TEMPLATE


# -- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, b"0"),
        (1, b"1"),
        (0.0, b"0.0"),
        (1.0, b"1.0"),
        (exactly("0.50"), b"0.50"),
        (exactly("0.1000000000000000055511151231257827"), b"0.1000000000000000055511151231257827"),
        (exactly("5E-1"), b"5E-1"),
        (exactly("-0"), b"-0"),
        ("0.5", b"0.5"),
        (" 1 ", b"1.0"),
        (True, b"1.0"),
        (False, b"0.0"),
        ("0_1", b"1.0"),
        ("1e-7", b"1e-07"),
    ],
)
def test_a_temperature_is_kept_as_it_was_written(value: Any, expected: bytes) -> None:
    assert an_llm_config(temperature=value).temperature == expected


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.5, "1.5"),
        (exactly("1.0000001"), "1.0000001"),
        (-0.1, "-0.1"),
        (exactly("1e400"), "1e400"),
        (exactly("-1e400"), "-1e400"),
        ("hot", '"hot"'),
        ("nan", '"nan"'),
        ("inf", '"inf"'),
        ("", '""'),
        ("1_0", '"1_0"'),
        ("0,7", '"0,7"'),
        ("٠", '"٠"'),
        (None, "null"),
        ([], "[]"),
        ({}, "{}"),
        ([0.5], "[0.5]"),
    ],
)
def test_a_temperature_out_of_bounds_or_no_number_is_refused(value: Any, shown: str) -> None:
    assert llm_refusals(temperature=value) == [
        f"temperature must be a number from 0 to 1 (it is '{shown}')"
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, b"1"),
        (8192, b"8192"),
        (5.0, b"5"),
        (exactly("8.192e3"), b"8192"),
        ("512", b"512"),
        (True, b"1"),
    ],
)
def test_max_tokens_is_a_whole_number_from_1_to_8192(value: Any, expected: bytes) -> None:
    assert an_llm_config(max_tokens=value).max_tokens == expected


@pytest.mark.parametrize(
    "value", [0, 8193, 9000, -1, 5.5, "many", "", False, None, [], exactly("1e400")]
)
def test_max_tokens_out_of_bounds_or_no_whole_number_is_refused(value: Any) -> None:
    (why,) = llm_refusals(max_tokens=value)

    assert why.startswith("max_tokens must be a whole number from 1 to 8192 (it is ")


@pytest.mark.parametrize("digits", [500, 5_000])
def test_a_number_of_thousands_of_digits_is_refused_and_cut_in_the_message(digits: int) -> None:
    (why,) = llm_refusals(max_tokens=exactly("1" * digits))

    assert len(why) < 120


# -- context -------------------------------------------------------------------------------------


def test_use_context_from_keeps_its_order_and_its_repetitions() -> None:
    assert an_llm_config(use_context_from=["b", "a", "b"]).use_context_from == ("b", "a", "b")


@pytest.mark.parametrize("value", [[], None])
def test_an_empty_use_context_from_means_every_search(value: Any) -> None:
    assert an_llm_config(use_context_from=value).use_context_from == ()


@pytest.mark.parametrize("value", ["k", {"k": 1}, [1], [None], ["k", 1], 7])
def test_a_use_context_from_that_is_no_list_of_texts_is_refused(value: Any) -> None:
    assert llm_refusals(use_context_from=value) == [
        f"use_context_from must be a list of texts (it is '{json.dumps(value)}')"
    ]


# -- knowledge -----------------------------------------------------------------------------------


def test_a_knowledge_node_without_data_searches_the_default_dataset() -> None:
    assert a_knowledge_config() == KnowledgeConfig(
        document_ids=("default-dataset",),
        dataset_id="default-dataset",
        top_k=b"5",
        mode="semantic",
    )


@pytest.mark.parametrize(
    ("data", "document_ids", "dataset_id"),
    [
        ({"document_ids": ["a", "b"]}, ("a", "b"), None),
        ({"documentIds": ["a"]}, ("a",), None),
        ({"document_ids": ["a"], "documentIds": ["b"]}, ("a",), None),
        ({"document_ids": [], "documentIds": ["b"]}, ("default-dataset",), "default-dataset"),
        (
            {"document_ids": None, "documentIds": ["b"]},
            ("default-dataset",),
            "default-dataset",
        ),
        ({"dataset_id": "ds"}, ("ds",), "ds"),
        ({"dataset": "ds"}, ("ds",), "ds"),
        ({"dataset_id": "ds", "dataset": "other"}, ("ds",), "ds"),
        ({"dataset_id": "", "dataset": "other"}, ("default-dataset",), "default-dataset"),
        ({"dataset_id": None, "dataset": "other"}, ("default-dataset",), "default-dataset"),
        ({"document_ids": ["a"], "dataset_id": None}, ("a",), None),
        ({"document_ids": ["a"], "dataset": "ds"}, ("a",), "ds"),
        ({"document_ids": [], "dataset": "ds"}, ("ds",), "ds"),
        ({"document_ids": [""]}, ("",), None),
    ],
)
def test_documents_go_before_the_dataset_whichever_way_they_are_spelled(
    data: dict[str, Any], document_ids: tuple[str, ...], dataset_id: str | None
) -> None:
    found = a_knowledge_config(**data)

    assert (found.document_ids, found.dataset_id) == (document_ids, dataset_id)


@pytest.mark.parametrize(
    ("data", "top_k"),
    [
        ({"top_k": 1}, b"1"),
        ({"topK": 20}, b"20"),
        ({"top_k": 3, "topK": 4}, b"3"),
        ({"topK": None}, b"5"),
        ({"top_k": 3, "topK": "many"}, b"3"),
        ({"topK": 7.0}, b"7"),
        ({"top_k": "7"}, b"7"),
    ],
)
def test_top_k_has_two_spellings(data: dict[str, Any], top_k: bytes) -> None:
    assert a_knowledge_config(**data).top_k == top_k


@pytest.mark.parametrize("key", ["top_k", "topK"])
@pytest.mark.parametrize("value", [0, 21, 1.5, "many", False, []])
def test_top_k_out_of_bounds_is_refused_by_the_name_it_was_given(key: str, value: Any) -> None:
    (why,) = knowledge_refusals(**{key: value})

    assert why.startswith(f"{key} must be a whole number from 1 to 20 (it is ")


def test_a_null_top_k_is_refused_whatever_the_other_spelling_says() -> None:
    (why,) = knowledge_refusals(top_k=None, topK=3)

    assert why == "top_k must be a whole number from 1 to 20 (it is 'null')"


@pytest.mark.parametrize("mode", ["semantic", "semantic search", "keyword", "hybrid", ""])
def test_a_mode_is_any_text(mode: str) -> None:
    assert a_knowledge_config(mode=mode).mode == mode


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"mode": None}, "mode must be a text (it is 'null')"),
        ({"mode": 7}, "mode must be a text (it is '7')"),
        ({"document_ids": "a"}, "document_ids must be a list of texts (it is '\"a\"')"),
        ({"document_ids": [1]}, "document_ids must be a list of texts (it is '[1]')"),
        ({"documentIds": {"a": 1}}, "documentIds must be a list of texts (it is '{\"a\": 1}')"),
        ({"dataset_id": 7}, "dataset_id must be a text (it is '7')"),
        ({"dataset": ["ds"]}, "dataset must be a text (it is '[\"ds\"]')"),
        ({"dataset_name": 7}, "dataset_name must be a text (it is '7')"),
    ],
)
def test_what_a_knowledge_node_cannot_mean_is_refused(data: dict[str, Any], why: str) -> None:
    assert knowledge_refusals(**data) == [why]


def test_a_text_is_shown_as_it_reads_however_it_is_escaped() -> None:
    refused: list[str] = []
    config.llm({"max_tokens": Raw(b'"\\uff15"')}, DEFAULTS, refused.append)

    assert refused == ["max_tokens must be a whole number from 1 to 8192 (it is '\"５\"')"]


def test_every_value_that_is_wrong_is_told() -> None:
    assert len(llm_refusals(temperature=2, max_tokens=0, prompt_template=1)) == 3
    assert len(knowledge_refusals(top_k=0, mode=1, document_ids=1, dataset_id=1)) == 4


def test_a_hostile_value_is_cut_and_escaped_in_the_message() -> None:
    (why,) = knowledge_refusals(top_k="\x1b[2J\u202e" + "x" * 10_000)

    assert why.isprintable()
    assert len(why) < 200


KEYS = (
    *("model", "provider", "prompt", "prompt_template", "temperature", "max_tokens"),
    *("use_context_from", "document_ids", "documentIds", "dataset_id", "dataset", "top_k", "topK"),
    *("mode", "dataset_name"),
)


@given(json_values())
@examples(300)
def test_any_value_is_read_or_refused_and_never_breaks_anything(value: Any) -> None:
    for key in KEYS:
        data = raw({key: value})
        for refused in (config_refusals(data, "llm"), config_refusals(data, "knowledge")):
            told = (key, "provider") if key == "model" else (key,)
            assert all(why.startswith(told) for why in refused)
            assert all(why.isprintable() for why in refused)


def config_refusals(data: dict[str, Raw], kind: str) -> list[str]:
    refused: list[str] = []
    if kind == "llm":
        found = config.llm(data, DEFAULTS, refused.append)
        assert 0 <= json.loads(found.temperature) <= 1
        assert 1 <= json.loads(found.max_tokens) <= 8192
        assert found.provider == found.provider.lower()
        assert found.model
    else:
        searched = config.knowledge(data, refused.append)
        assert 1 <= json.loads(searched.top_k) <= 20
        assert searched.document_ids
    return refused
