"""`--waves`: what it may say, and how much a wave takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import examples
from worker.core.publication.sizes import DEFAULT_WAVES, GROWTH, parse_waves, wave_sizes


def sizes(text: str, bots: int, canaries: int = 0) -> list[tuple[str, int]]:
    return [(wave.label, wave.size) for wave in wave_sizes(parse_waves(text), bots, canaries)]


def test_the_default_is_that_of_the_contract() -> None:
    assert [step.text for step in parse_waves(DEFAULT_WAVES)] == [
        *("1", "canaries", "1 %", "10 %", "50 %", "all")
    ]


@pytest.mark.parametrize("text", ["all", "ALL", " 1,canaries,all ", "5,5,0.001%, 99.9 % ,all"])
def test_waves_may_be_written_with_or_without_blanks(text: str) -> None:
    assert parse_waves(text)[-1].text == "all"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "invalid wave ''"),
        ("1,,all", "invalid wave ''"),
        ("0,all", "invalid wave '0'"),
        ("-1,all", "invalid wave '-1'"),
        ("1.5,all", "invalid wave '1.5'"),
        ("٣,all", "invalid wave '٣'"),
        ("0%,all", "invalid wave '0%'"),
        ("100%,all", "invalid wave '100%'"),
        ("1e2%,all", "invalid wave '1e2%'"),
        ("canary,all", "invalid wave 'canary': a number of bots from 1, a share above 0 %"),
        ("1,10%", "`all` must be the last wave"),
        ("all,all", "`all` must be the last wave"),
        ("all,1", "`all` must be the last wave"),
        ("canaries,canaries,all", "`canaries` must be there at most once"),
        ("10%,1%,all", "each must be above the last"),
        ("10%,10.0%,all", "each must be above the last"),
        ("1%,canaries,all", "`canaries` must come before the first share"),
    ],
)
def test_what_is_no_list_of_waves_is_refused_with_the_part_and_the_reason(
    text: str, problem: str
) -> None:
    with pytest.raises(ValueError, match="invalid wave") as caught:
        parse_waves(text)

    assert problem in str(caught.value)


def test_a_million_bots_go_out_in_waves_of_at_most_ten_times_what_is_out() -> None:
    assert sizes(DEFAULT_WAVES, 1_000_000, canaries=30) == [
        ("1", 1),
        ("to canaries", 10),
        ("canaries", 19),
        ("to 1 %", 300),
        ("to 1 %", 3_300),
        ("1 %", 6_370),
        ("10 %", 90_000),
        ("50 %", 400_000),
        ("all", 500_000),
    ]


def test_few_bots_go_out_in_few_waves() -> None:
    assert sizes(DEFAULT_WAVES, 0) == []
    assert sizes(DEFAULT_WAVES, 1, canaries=1) == [("1", 1)]
    assert sizes(DEFAULT_WAVES, 3, canaries=2) == [("1", 1), ("canaries", 1), ("all", 1)]


def test_shares_are_exact_and_rounded_up() -> None:
    assert sizes("10,7%,all", 100) == [("10", 10), ("all", 90)]
    assert sizes("1,7%,all", 100) == [("1", 1), ("7 %", 6), ("to all", 70), ("all", 23)]
    assert sizes("1,0.001%,all", 9) == [("1", 1), ("all", 8)]


def test_the_first_wave_is_as_large_as_a_person_says() -> None:
    assert sizes("all", 5_000) == [("all", 5_000)]
    assert sizes("400,all", 5_000) == [("400", 400), ("to all", 4_000), ("all", 600)]


PARTS = st.lists(st.sampled_from(["1", "7", "300", "canaries"]), unique=True, max_size=4)
SHARES = st.lists(st.sampled_from(["0.01%", "1%", "33.3 %", "99%"]), unique=True, max_size=4)


@examples(300)
@given(PARTS, SHARES, st.integers(0, 3_000_000), st.integers(0, 100))
def test_every_bot_is_in_one_wave_and_no_wave_grows_too_fast(
    parts: list[str], shares: list[str], bots: int, canaries: int
) -> None:
    shares.sort(key=lambda share: float(share.rstrip("% ")))
    waves = wave_sizes(parse_waves(",".join([*parts, *shares, "all"])), bots, canaries)

    assert sum(wave.size for wave in waves) == bots
    out = 0
    for wave in waves:
        assert wave.size >= 1
        assert not out or wave.size <= GROWTH * out
        out += wave.size
