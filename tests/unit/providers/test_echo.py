"""The echo providers, exactly."""

from __future__ import annotations

import pytest

from worker.providers.echo import Echo


@pytest.mark.parametrize(("top_k", "numbers"), [(1, [0]), (2, [0, 1]), (20, [0, 1])])
def test_a_search_finds_up_to_two_pieces_of_each_document(top_k: int, numbers: list[int]) -> None:
    found = Echo().retrieve("q", top_k, ["a", "b"])

    assert found == [{"content": f"[{one}#{i}] q"} for one in ("a", "b") for i in numbers]


def test_a_model_says_its_name_and_the_prompt_for_no_tokens() -> None:
    assert Echo().generate("p", "m", "openai", 0, 1) == ("m: p", 0)
