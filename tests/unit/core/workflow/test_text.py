"""What a column may hold: characters and numbers of jsonb, size and depth, decided without parsing."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.builders import as_text, codes
from tests.strategies import damaged_texts, examples, json_values
from worker.core.workflow.text import (
    MAX_BYTES,
    issues_of_text,
    levels_of,
    outside_strings,
    platform_value,
    replace_unstorable,
)


def a_string_of(contents: bytes) -> bytes:
    return b'{"prompt": "' + contents + b'"}'


# -- characters ----------------------------------------------------------------------------------

REFUSED_CONTENTS = {
    "escaped NUL": rb"a\u0000b",
    "escaped NUL after an escaped backslash": rb"\\\u0000",
    "raw NUL": b"a\x00b",
    "lone high": rb"a\ud83db",
    "lone high in capitals": rb"a\uD83Db",
    "lone high at the end": rb"\ud800",
    "lone low": rb"a\ude00b",
    "reversed pair": rb"\ude00\ud83d",
    "high before an escape that is no low": rb"\ud83d\u0041",
    "high before another kind of escape": rb"\ud83d\n",
    "high before an escaped quote": rb"\ud83d\"",
    "two highs, then a low": rb"\ud83d\ud83d\ude00",
    "a pair, then a low": rb"\ud83d\ude00\ude00",
    "high and low apart": rb"\ud83d \ude00",
    "a high long before another escape": rb"\ud83d and \n",
    "high before a backslash that is escaped": rb"\ud83d\\ude00",
    "high before NUL": rb"\ud83d\u0000",
}
FINE_CONTENTS = {
    "empty": b"",
    "an escaped backslash before u0000": rb"\\u0000",
    "three backslashes' worth": rb"\\\\u0000",
    "an escaped backslash before ud800": rb"\\ud800",
    "a pair": rb"\ud83d\ude00",
    "a pair in capitals": rb"\uD83D\uDE00",
    "two pairs": rb"\ud83d\ude00\ud83d\ude01",
    "the last pair": rb"\udbff\udfff",
    "just below the surrogates": rb"\ud7ff",
    "just above the surrogates": rb"\ue000",
    "a control character that is not NUL": rb"\u0001",
    "u0000 without a backslash": b"u0000",
    "text beyond ASCII": "시작 🙂".encode(),
    "an escaped slash and quote": rb"\/\"",
}


@pytest.mark.parametrize("contents", REFUSED_CONTENTS.values(), ids=REFUSED_CONTENTS)
def test_a_text_that_jsonb_cannot_hold_is_invalid_in_values_and_in_keys(contents: bytes) -> None:
    assert codes(issues_of_text(a_string_of(contents))) == ["invalid_text"]
    assert codes(issues_of_text(b'{"' + contents + b'": 1}')) == ["invalid_text"]


@pytest.mark.parametrize("contents", FINE_CONTENTS.values(), ids=FINE_CONTENTS)
def test_a_text_that_jsonb_can_hold_is_fine_in_values_and_in_keys(contents: bytes) -> None:
    assert issues_of_text(a_string_of(contents)) == []
    assert issues_of_text(b'{"' + contents + b'": 1}') == []


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (rb"\u0000", "a NUL character (\\u0000)"),
        (b"\x00", "a NUL character,"),
        (rb"\ud800", "half of a surrogate pair"),
    ],
)
def test_the_message_says_what_cannot_be_stored(contents: bytes, said: str) -> None:
    (issue,) = issues_of_text(a_string_of(contents))

    assert said in issue.message


ESCAPES = (
    *("\\u0000", "\\ud83d", "\\uDE00", "\\uD83D", "\\ude00", "\\ud800", "\\udfff"),
    *("\\\\", '\\"', "\\n", "\\/", "\\u0041", "\\u005c", "u0000", "ud800", "a", "시"),
)


@given(st.lists(st.sampled_from(ESCAPES), max_size=8).map("".join))
@examples(600)
def test_a_string_is_refused_exactly_where_python_reads_a_nul_or_half_a_pair(contents: str) -> None:
    text = f'{{"{contents}": "{contents}"}}'.encode()
    value = next(iter(json.loads(text)))
    is_storable = all(char != "\x00" and not "\ud800" <= char <= "\udfff" for char in value)

    assert (issues_of_text(text) == []) is is_storable


# -- numbers -------------------------------------------------------------------------------------

REFUSED_NUMBERS = (
    "1e131072",
    "-1E+131072",
    "12.5e131071",
    "0.1e131073",
    "1e-16384",
    "10e-16384",
    "0e-16384",
    "0.0e-16383",
    "1e00000000000131072",
    "1e-0000000000000016384",
    "1e99999999999999999999",
    "0e1073741824",
    "1" * 131_073,
    "9" * 131_072 + "e1",
    "0." + "1" * 16_384,
    "0." + "0" * 16_384,
    "0." + "1" * 16_000 + "e-500",
    "1e" + "9" * 5_000,
)
FINE_NUMBERS = (
    "0",
    "-0.0",
    "1e131071",
    "1E+131071",
    "0.1e131072",
    "0.0001e131075",
    "1e-16383",
    "0e999999",
    "0e1073741823",
    "0e-16383",
    "1e0000000000000131071",
    "1e" + "0" * 5_000 + "1",
    "1" * 131_072,
    "0." + "1" * 16_383,
    "0." + "0" * 16_384 + "e1",
    "9" * 131_072 + "." + "9" * 16_383,
    "0." + "1" * 15_000 + "e-500",
)


# What PostgreSQL 18 answers to `select '…'::jsonb`.
@pytest.mark.parametrize("number", REFUSED_NUMBERS, ids=lambda number: number[:24])
def test_a_number_beyond_numeric_is_invalid(number: str) -> None:
    assert codes(issues_of_text(number.encode())) == ["invalid_text"]
    assert codes(issues_of_text(f'{{"seed": [{number}]}}'.encode())) == ["invalid_text"]


@pytest.mark.parametrize("number", FINE_NUMBERS, ids=lambda number: number[:24])
def test_a_number_within_numeric_is_fine(number: str) -> None:
    assert issues_of_text(number.encode()) == []
    assert issues_of_text(f'{{"seed": [{number}]}}'.encode()) == []


@pytest.mark.parametrize("number", ["1e131072", "1e-16384"])
def test_a_number_within_a_string_is_a_text(number: str) -> None:
    assert issues_of_text(a_string_of(number.encode())) == []


@st.composite
def numbers(draw: st.DrawFn) -> str:
    """Numbers around the limits of `numeric`, in every spelling."""
    whole = draw(st.sampled_from(["0", "7", "10", "123", "9" * 4_000]))
    zeros = "0" * draw(st.sampled_from([0, 1, 5, 16_000]))
    fraction = draw(st.sampled_from(["", "." + zeros + "1", "." + zeros + "0"]))
    near = [0, 1, 16_383, 16_384, 131_071, 131_072, 131_075, 147_072]
    power = draw(st.sampled_from(near)) + draw(st.integers(-6, 6))
    sign = draw(st.sampled_from(["", "+", "-"]))
    padding = "0" * draw(st.sampled_from([0, 1, 20]))
    exponent = draw(st.sampled_from(["", f"e{sign}{padding}{abs(power)}"]))
    return whole + fraction + exponent


@given(numbers())
@examples(300)
def test_a_number_is_refused_exactly_where_it_has_too_many_digits_on_a_side(number: str) -> None:
    value = Decimal(number)
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    fits = (value.is_zero() or value.adjusted() < 131_072) and -exponent <= 16_383

    assert (issues_of_text(number.encode()) == []) is fits


# -- size ----------------------------------------------------------------------------------------


def test_exactly_4_mib_are_fine_and_one_byte_more_is_too_large() -> None:
    text = a_string_of(b"x" * (MAX_BYTES - len(a_string_of(b""))))

    assert len(text) == 4 * 1024 * 1024
    assert issues_of_text(text) == []
    assert codes(issues_of_text(text + b" ")) == ["too_large"]


def test_size_counts_bytes_and_not_characters() -> None:
    text = a_string_of("시".encode() * 1_400_000)

    assert len(text.decode()) < MAX_BYTES
    assert codes(issues_of_text(text)) == ["too_large"]


def test_the_message_says_how_large_it_is() -> None:
    (issue,) = issues_of_text(b" " * (MAX_BYTES + 1))

    assert issue.message == "4,194,305 bytes of JSON; at most 4,194,304"


def test_a_text_may_be_invalid_and_too_large() -> None:
    too_long = a_string_of(rb"\u0000" + b"x" * MAX_BYTES)
    too_deep = b"[" * 101 + rb'"\u0000"' + b"]" * 101

    assert codes(issues_of_text(too_long)) == ["invalid_text", "too_large"]
    assert codes(issues_of_text(too_deep)) == ["invalid_text", "too_large"]


# -- depth ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")]
)
def test_100_levels_are_fine_and_101_are_too_large(opening: bytes, closing: bytes) -> None:
    per_round = opening.count(b"[") + opening.count(b"{")
    rounds = 100 // per_round
    deepest = opening * rounds + b"1" + closing * rounds

    assert issues_of_text(deepest) == []
    assert codes(issues_of_text(b"[" + deepest + b"]")) == ["too_large"]


def test_the_message_says_how_deep_it_is() -> None:
    (issue,) = issues_of_text(b"[" * 1_234 + b"]" * 1_234)

    assert issue.message == "nested 1,234 levels deep; at most 100"


@pytest.mark.parametrize("brackets", [b"[", b"{", b'[{"a":'])
def test_4_mib_of_opening_brackets_are_refused_without_recursion(brackets: bytes) -> None:
    text = (brackets * MAX_BYTES)[:MAX_BYTES]

    assert codes(issues_of_text(text)) == ["too_large"]


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert issues_of_text(b"[" + b"[]," * 100_000 + b"{}]") == []


FLAT_CONTENTS = {
    "brackets": b"[" * 200,
    "braces": b"{" * 200,
    "a JSON text of its own": b'{\\"a\\":' * 200,
    "escaped quotes": b'\\"[' * 200,
    "escaped backslashes before the closing quote": b"[" * 200 + b"\\" * 200,
    "an escaped quote after escaped backslashes": b"[" * 200 + b'\\\\\\\\\\"' + b"{" * 200,
}


@pytest.mark.parametrize("contents", FLAT_CONTENTS.values(), ids=FLAT_CONTENTS)
def test_what_stands_in_a_string_is_no_depth(contents: bytes) -> None:
    text = b"[" + a_string_of(contents) + b', "' + contents + b'"]'

    json.loads(text)
    assert levels_of(outside_strings(text)) == 2
    assert issues_of_text(text) == []


@pytest.mark.parametrize("backslashes", range(0, 12, 2))
def test_a_string_ends_after_an_even_run_of_backslashes(backslashes: int) -> None:
    text = b'["' + b"\\" * backslashes + b'",' + b"[" * 100 + b"]" * 100 + b"]"

    json.loads(text)
    assert codes(issues_of_text(text)) == ["too_large"]


@pytest.mark.parametrize("backslashes", range(1, 12, 2))
def test_a_string_goes_on_after_an_odd_run_of_backslashes(backslashes: int) -> None:
    text = b'["' + b"\\" * backslashes + b'",' + b"[" * 100 + b"]" * 100 + b'"]'

    json.loads(text)
    assert issues_of_text(text) == []


def depth(value: Any) -> int:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, inner), default=0)
    return 0


@given(json_values(max_leaves=12), st.booleans())
@example(["\\", ["[\\"], {'"': {"[": '\\"'}}], False)
@examples(300)
def test_the_levels_are_those_of_the_value(value: Any, as_ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=as_ascii).encode()

    assert levels_of(outside_strings(text)) == depth(value)


# -- mending -------------------------------------------------------------------------------------


def test_mending_takes_out_what_cannot_be_stored_and_nothing_else() -> None:
    text = rb'{"\u0000": "\ud800 \\u0000 \ud83d\ude00 \udc00", "b": "\n\"\u00e9"}' + b"\x00"

    assert replace_unstorable(text) == (
        rb'{"\ufffd": "\ufffd \\u0000 \ud83d\ude00 \ufffd", "b": "\n\"\u00e9"} '
    )


@given(st.lists(st.sampled_from(ESCAPES), max_size=8).map("".join))
@examples(200)
def test_a_repaired_string_is_one_that_jsonb_can_hold(contents: str) -> None:
    replaced = replace_unstorable(f'"{contents}"'.encode())

    assert issues_of_text(replaced) == []
    json.loads(replaced)


@given(st.binary(max_size=60) | damaged_texts())
@examples(300)
def test_no_bytes_at_all_upset_the_look_at_a_text(text: bytes) -> None:
    assert set(codes(issues_of_text(text))) <= {"invalid_text", "too_large"}
    replace_unstorable(text)


# -- values as the platform has them -------------------------------------------------------------


@given(json_values())
@example("\u202e\n")
@examples(1_000)
def test_a_value_is_what_python_reads_of_it(value: Any) -> None:
    text = as_text(value)

    assert repr(platform_value(text)) == repr(json.loads(text))


def test_a_whole_number_of_more_digits_than_python_reads_is_infinite() -> None:
    assert platform_value(b"[-" + b"9" * 4_301 + b", 7]") == [-math.inf, 7]
    assert platform_value(b"9" * 4_300) == int("9" * 4_300)


def test_an_exponent_of_three_digits_is_fine_in_a_text_that_is_not_read() -> None:
    assert issues_of_text(b'{"a": 1e999, "b": "1e9999"}') == []
