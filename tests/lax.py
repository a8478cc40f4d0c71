"""Values as people's rows hold them, as JSON: pydantic's whole lax table, and what lies beside it."""

from __future__ import annotations

import json

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

_NUMBERS = (
    *("0", "1", "-1", "5", "7", "20", "21", "4000", "8192", "8193", "-0"),
    *("0.0", "-0.0", "0.7", "0.70", "1.0", "1.5", "5.0", "5.00", "5.5", "20.0", "8192.0", "-0.1"),
    *("1e0", "1E0", "1e1", "8.192e3", "2E+1", "5E-1", "50e-1", "1e-7", "1e400", "-1e400", "4e-400"),
    *("0.30000000000000000000001", "1.0000000000000000000001", "1.0000001", "0.99999999999999999"),
    *("123456789012345678901234567890", "-9223372036854775809", "9" * 400, "9" * 5_000),
    *("1" + "0" * 308, "5." + "0" * 400, "20.000000000000000000001"),
)
_TEXTS = (
    *("", " ", "0", "1", "5", "20", "21", "8192", "8193", "+5", "-5", "--5", "+ 5", "- 5"),
    *(" 5", "5 ", " 5 ", "\n5\t", "\u00a05", "\u20095", "\u200b5", "\ufeff5", "5\x1f"),
    *("5_0", "0_1", "1_0", "_1", "1_", "1__0", "1_000", "1,000", "1 000", "0_.5", "0._5", "0.5_0"),
    *(
        "05",
        "005",
        "000",
        "0" * 4_000 + "5",
        "0.5",
        ".5",
        "5.",
        "5.0",
        "5.00",
        "5.5",
        "05.0",
        "+.5",
    ),
    *("5.0e0", "5e0", "5e2", "5E2", "1e-1", "1e+0", "1e", "e1", "1e400", "-1e400", "1e-400", "4e3"),
    *("inf", "-inf", "+inf", "Infinity", "-Infinity", "INF", "nan", "NaN", "-nan", "infin"),
    *("true", "false", "True", "TRUE", "yes", "no", "on", "off", "t", "y", "null", "None", "nil"),
    *(
        "0x5",
        "0b1",
        "0o5",
        "5j",
        "5/1",
        "5%",
        "5f",
        "5n",
        "$5",
        "½",
        "٥",
        "５",
        "๕",
        "五",
        "²",
        "0,7",
    ),
    *("9" * 30, "9" * 400, "1" * 5_000, "0.70", "0.7000000000000000000001", "hot", "many", "[]"),
    *("semantic", "semantic search", "hybrid", "keyword", "full-text", "Semantic", "의미", "d1"),
    *("gpt-4", "Claude-3", "OPENAI/x", "o1", "gemini", "ǅ", "İ", "ß", "{question}", '"5"', "'5'"),
)
_NESTED = (
    *(
        "[]",
        "{}",
        "[[]]",
        "[{}]",
        "[null]",
        "[1]",
        "[true]",
        "[1.5]",
        '["a"]',
        '["a", "b"]',
        '[""]',
    ),
    *('["a", 1]', '["a", null]', '["a", ["b"]]', '{"a": 1}', '{"0": "a"}', '[{"role": "x"}]'),
    *(
        '["1"]',
        "[5]",
        '["5"]',
        '{"value": 5}',
        '{"name": "x", "id": "y"}',
        '{"a": {"a": {"a": 5}}}',
    ),
)
TABLE = tuple(
    dict.fromkeys((*_NUMBERS, *map(json.dumps, _TEXTS), *_NESTED, "null", "true", "false"))
)
"""Values, each as its JSON."""

# In the parts of a model's object, where what counts is whether something is a text and not empty.
_PARTS = (
    *(
        "null",
        '""',
        '" "',
        '"gpt-4"',
        '"Claude-3"',
        '"solar"',
        '"OpenAI"',
        "0",
        "7",
        "0.0",
        "1e400",
    ),
    *("true", "false", "[]", "{}", '["gpt-4"]', '{"name": "gpt-4"}'),
)


def numbers_as_texts() -> SearchStrategy[str]:
    """Texts that are nearly numbers, as JSON."""
    return st.text("0159._-+eE \u00a0", max_size=6).map(json.dumps)


def model_objects() -> SearchStrategy[str]:
    """Objects that describe a model, as JSON."""
    parts = st.dictionaries(
        st.sampled_from(("name", "id", "provider", "model")), st.sampled_from(_PARTS)
    )
    return parts.map(as_object)


def values() -> SearchStrategy[str]:
    """Any value, as JSON."""
    return st.sampled_from(TABLE) | numbers_as_texts() | model_objects()


def data(keys: tuple[str, ...]) -> SearchStrategy[str]:
    """A node's data with any value, or none, for each key, as JSON."""
    return st.dictionaries(st.sampled_from(keys), values(), max_size=len(keys)).map(as_object)


def as_object(values: dict[str, str]) -> str:
    """The object with these keys and values, all JSON already."""
    return "{" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in values.items()) + "}"
