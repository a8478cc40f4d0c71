"""What templates do with texts and numbers."""

from __future__ import annotations

from typing import Any

import pytest

from worker.web.pages import rendering

FILTERS: Any = rendering._TEMPLATES.filters


def test_a_sentence_of_ours_has_code_where_backticks_are_and_no_link_into_the_documentation() -> (
    None
):
    said = FILTERS["said"]("Empty: `none`, see [Targets](../explanation/targets.md). a ` b <i>")

    assert said == "Empty: <code>none</code>, see Targets. a ` b &lt;i&gt;"


@pytest.mark.parametrize(("e", "shown"), [(0.03, "0.0"), (20.0, "20"), (1e15, "over 1,000,000")])
def test_evidence_that_nobody_compares_is_said_without_its_digits(e: float, shown: str) -> None:
    assert FILTERS["evidence"](e) == shown


@pytest.mark.parametrize(
    ("elapsed_ms", "shown"), [(None, "–"), (0, "<1 ms"), (12, "12 ms"), (0.4, "<1 ms")]
)
def test_a_time_of_the_platform_below_a_millisecond_is_not_said_to_be_none(
    elapsed_ms: float | None, shown: str
) -> None:
    assert FILTERS["whole_ms"](elapsed_ms) == shown
