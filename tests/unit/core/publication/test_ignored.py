"""Patterns of error messages that make an execution count as nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.core.publication.ignored import like_patterns

LETTERS = "ab%_\\*. \n€"


def like(pattern: str, text: str) -> bool:
    """LIKE as PostgreSQL has it, with a backslash to escape."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    meaning = {"%": ".*", "_": "."}
    expression = "".join(meaning.get(part, re.escape(part[-1])) for part in parts)
    return re.fullmatch(expression, text, re.DOTALL) is not None


@examples(500)
@given(st.text(LETTERS, min_size=1, max_size=8), st.text(LETTERS, max_size=8))
def test_only_a_star_stands_for_other_text(word: str, text: str) -> None:
    try:
        (pattern,) = like_patterns(word)
    except ValueError:
        assert not word.replace("*", "").strip() or word.count("*") > 4
        return
    wanted = ".*".join(map(re.escape, word.strip().split("*")))

    assert like(pattern, text) == (re.fullmatch(wanted, text, re.DOTALL) is not None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("*", "would match every message"),
        ("a|* *", "would match every message"),
        ("a||b", "a pattern is empty"),
        ("a*" * 5, "more than 4 stars"),
        ("x" * 201, "201 characters, and at most 200"),
        ("|".join("abcdefghijklmnopqrstu"), "21 patterns, and at most 20"),
    ],
)
def test_what_would_ignore_too_much_or_take_too_long_is_refused(given: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        like_patterns(given)
