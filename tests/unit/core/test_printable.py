"""Text for terminals: what hides or acts is escaped, what people write is not."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from worker.core.printable import escape, escape_json, is_plain

ORDINARY = (
    "안녕하세요, 환불 봇 No. 7",
    "お問い合わせ\u3000窓口",
    "Ça va ? – « oui »",
    "10\u00a0000",
    "שלום مرحبا",
    "می\u200cخواهم",  # Persian is written with joiners
    "क्\u200dष क्\u200cष",
    "👩\u200d👩\u200d👧\u200d👦 👩🏽\u200d🚀 ❤\ufe0f\u200d🔥 🏳\ufe0f\u200d🌈 1\ufe0f\u20e3 ©\ufe0f ℹ\ufe0f",
    "\U0001fae8\U0001fac6",  # newer than the Unicode of some Pythons
    "zͅa̐lgo [bold]markup[/] \\x1b :smile:",
)


@pytest.mark.parametrize("text", ORDINARY)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert escape(text) == text
    assert escape_json(text) == text


HIDDEN = (
    *range(0x20),
    *range(0x7F, 0xA0),
    *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180E, 0x2028, 0x2029),
    *range(0x200B, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    *(0x3164, 0xFE00, 0xFE0E, 0xFE0F, 0xFEFF, 0xFFA0, 0xFFF9, 0xFFFE, 0xE000),
    *(0xD800, 0xDFFF, 0x1D173, 0x1BCA0, 0xE0001, 0xE0041, 0xE0100, 0xE01EF, 0xF0000, 0x10FFFF),
)


@pytest.mark.parametrize("code", HIDDEN)
def test_what_acts_or_hides_is_escaped_wherever_it_stands(code: int) -> None:
    character = chr(code)
    for text in (
        character,
        f"a{character}b",
        f" {character}",
        f"한{character}글",
        f"{character}🚀",
    ):
        shown = escape(text)
        assert character not in shown
        assert is_plain(shown)
        assert escape(shown) == shown
        told = escape_json(json.dumps(text, ensure_ascii=False))
        assert character not in told
        assert json.loads(told) == text


def test_no_control_or_format_character_of_unicode_is_left_alone_between_letters() -> None:
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
            assert character not in escape(f"a{character}b"), hex(code)


def test_joiners_and_selectors_count_only_where_they_join_and_select() -> None:
    assert escape("a\u200db") == "a\\u200db"
    assert escape("👩\u200d") == "👩\\u200d"
    assert escape("\u200d👩") == "\\u200d👩"
    assert escape("👩\u200d\u200d👩") == "👩\\u200d\\u200d👩"
    assert escape("a\ufe0f") == "a\\ufe0f"
    assert escape("1\ufe0f") == "1\\ufe0f"
    assert escape("❤\ufe0f\ufe0f") == "❤\ufe0f\\ufe0f"


def test_lines_stay_where_they_are_wanted() -> None:
    assert escape("a\nb\r\n") == "a\\nb\\r\\n"
    assert escape("a\nb\r\n", keep_lines=True) == "a\nb\\r\n"


def test_white_space_between_the_tokens_of_json_stays() -> None:
    assert escape_json('{\n\t"a": "\x7f"}') == '{\n\t"a": "\\u007f"}'
