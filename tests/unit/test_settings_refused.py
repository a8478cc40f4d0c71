"""Every value that a setting refuses: one sentence with its name, what it holds and what it must be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

import pytest
from msgspec import Meta, inspect

from worker.errors import ConfigError
from worker.settings import load, variable
from worker.settings.expected import expected, extra
from worker.settings.model import kinds

NO_NUMBERS = (
    "many",
    " ",
    "1_000",
    "１２",
    "0x10",
    "+5",
    "true",
    "null",
    "nan",
    "-inf",
    "1e400",
    "[1]",
)

BY_HAND = {
    "data_dir": ("~nobody-here/x",),
    "postgres_tools_dir": ("~nobody-here/x",),
    "providers": ("~nobody-here/x",),
    "namespace": ("Über Flow", "x" * 41, "flow\n", "-flow", "FLOW", " "),
    "business_hours": ("lunch", "mon-fri 9-18", "xyz 09:00-10:00", "09:75-10:00", "25:00-26:00"),
    "time_zone": ("Mars/Base", "seoul", "Asia", "../etc/passwd", "/etc/localtime", " ", "UTC\n"),
    "prune_at": ("03:30\n", "24:00", "3:30", "noon", "Never"),
    "target": ("nowhere", "Guide", " "),
    "strict": ("nowhere", "second_search,nowhere", "All"),
    "platform_check": ("python:", "python: ", "node 'check.js", " "),
    "platform_engine": ("python:", "python: ", "node 'engine.js", " "),
    "node_types": (",", "start,,end", "start llm", " "),
    "platform_env": ("1X", "A B", "A,FLOWSHIFT_URL", "A=1"),
    "notify": ("~nobody-here/x",),
    "alerts": ("~nobody-here/x",),
    "web_url": ("flowshift.example", "ftp://a", "https://me@a", "https://a/?b", "https://a b", " "),
    "flower_url": ("flower.example", "ftp://a", "https://me@a", "https://a/#b", " "),
    "flower_basic_auth": ("me", "me:", ":s3cret"),
    "web_hosts": ("a b", "flowshift:80", "a,,b", "http://a", " "),
    "web_users": ("~nobody-here/x",),
    "web_secret": ("x" * 31, "short"),
    "web_proxy_header": ("X Forwarded", "X:", "-X", " "),
    "web_proxy_peers": ("here", "10.0.0.1/8", "10.0.0.1,", " "),
    "gate_ignore": ("*", " ", "a||b", "x" * 201, "a*b*c*d*e*f", "|".join("abcdefghijklmnopqrstu")),
}
"""Settings whose type does not say all, and values that they refuse."""


def bad_values(name: str, kind: inspect.Type) -> Iterator[str]:
    yield "text\udcff"
    yield from BY_HAND.get(name, ())
    match kind.type if isinstance(kind, inspect.Metadata) else kind:
        case inspect.IntType(ge=low, le=high):
            yield from (*NO_NUMBERS, "5.5", str((low or 0) - 1), "9" * 400)
            assert high is not None
            yield str(high + 1)
        case inspect.FloatType(ge=low, le=high):
            assert high is not None
            yield from (*NO_NUMBERS, "inf", str((low or 0) - 0.001), str(high + 0.001))
        case inspect.LiteralType(values=values):
            yield from ("xml", " ", *(str(value).upper() for value in values), f"{values[0]}\n")


CASES = [(name, value) for name, kind in kinds().items() for value in bad_values(name, kind)]


@pytest.mark.parametrize(("name", "value"), CASES, ids=lambda given: repr(given)[:40])
def test_a_value_that_does_not_fit_is_refused_in_one_sentence(name: str, value: str) -> None:
    kind = kinds()[name]
    with pytest.raises(ConfigError) as caught:
        load({variable(name): value})

    said = str(caught.value)
    shown = "a value that does not fit" if extra(kind).get("is_secret") else repr(value[:80])
    assert caught.value.setting == variable(name)
    assert re.fullmatch(
        re.escape(f"{variable(name)}: it holds {shown}")
        + "…?"
        + re.escape(f", but must be {expected(kind)}")
        + r"( \([^\n]+\))?",
        said,
    )
    assert said.isprintable()
    assert len(said) < 300
    for word in ("msgspec", "Expected", "`", "regex", "got", "Traceback", "ZoneInfo"):
        assert word not in said.replace(repr(value), "")


@pytest.mark.parametrize(("name", "kind"), kinds().items(), ids=lambda given: str(given)[:40])
def test_a_setting_says_what_it_must_be_wherever_its_type_does_not(
    name: str, kind: inspect.Type
) -> None:
    inner = kind.type if isinstance(kind, inspect.Metadata) else kind
    is_checked = extra(kind).get("check") or getattr(inner, "pattern", None)

    assert bool(is_checked) == (name in BY_HAND), "name values that it refuses, in BY_HAND"
    if is_checked:
        assert expected(kind) != "text"


@pytest.mark.parametrize(
    "name",
    [name for name in kinds() if re.search("url|auth|password|passwd|secret|token|dsn", name)],
)
def test_no_setting_that_may_hold_a_password_shows_its_value(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({variable(name): "s3cret:s3cret\udcff"})

    assert "s3cret" not in f"{caught.value} {caught.value.__cause__}"
    assert extra(kinds()[name])["is_secret"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("BATCH_SIZE", "many", "it holds 'many', but must be a whole number from 1 to 10,000"),
        ("MAX_FAILURES", "50%", "it holds '50%', but must be a number from 0 to 1"),
        ("LOG_LEVEL", "INFO", "it holds 'INFO', but must be debug, error, info or warning"),
        ("TIME_ZONE", "Seoul", "it holds 'Seoul', but must be a time zone such as Asia/Seoul"),
        (
            "BUSINESS_HOURS",
            "09:75-10:00",
            (
                "it holds '09:75-10:00', but must be times of the week such as mon-fri 09:00-18:00, "
                "sat 10:00-14:00 ('09:75-10:00' has a time that no clock shows)"
            ),
        ),
        ("DATA_DIR", "/d\udcff", "it holds '/d\\udcff', but must be a directory (it is not UTF-8)"),
        (
            "PROVIDERS",
            "~nobody-here/x",
            "it holds '~nobody-here/x', but must be a TOML file (there is no such user's home)",
        ),
        (
            "FLOWER_BASIC_AUTH",
            "s3cret",
            "it holds a value that does not fit, but must be user:password",
        ),
    ],
)
def test_the_sentence_reads_well(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({f"FLOWSHIFT_{name}": value})

    assert str(caught.value) == f"FLOWSHIFT_{name}: {said}"


def test_bounds_on_one_side_and_none_read_well_too() -> None:
    types: dict[object, str] = {
        int: "a whole number",
        Annotated[int, Meta(le=9_999)]: "a whole number of at most 9,999",
        Annotated[float, Meta(ge=0.5)]: "a number of at least 0.5",
        str: "text",
    }

    assert {kind: expected(inspect.type_info(kind)) for kind in types} == types


def test_an_unknown_setting_cannot_write_on_the_terminal() -> None:
    with pytest.raises(ConfigError) as caught:
        load({"FLOWSHIFT_\x1b[2J": "1"})

    assert str(caught.value).isprintable()
