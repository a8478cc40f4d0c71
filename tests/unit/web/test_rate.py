"""How often one address may ask."""

from __future__ import annotations

from worker.web.doors.rate import AT_ONCE, MOST_BUCKETS, Rate


def test_an_address_may_ask_steadily_and_for_a_moment_more_often() -> None:
    rate = Rate(10)

    at_once = [rate.wait_s("a", 0.0) for _ in range(10 * AT_ONCE + 1)]
    assert at_once == [0] * 10 * AT_ONCE + [1]
    assert [rate.wait_s("a", 0.1), rate.wait_s("a", 0.1)] == [0, 1]
    steadily = [rate.wait_s("b", n / 10) for n in range(1_000)]
    assert not any(steadily)


def test_what_is_charged_is_waited_for() -> None:
    rate = Rate(1)
    rate.charge("a", 0.0, 25.0)

    assert rate.wait_s("a", 0.0) == 25 - AT_ONCE + 1
    assert rate.wait_s("a", 22.0) == 0


def test_a_bucket_is_never_fuller_than_full() -> None:
    rate = Rate(1)
    rate.wait_s("a", 0.0)

    assert [rate.wait_s("a", 1e6) for _ in range(AT_ONCE + 1)] == [0] * AT_ONCE + [1]


def test_without_a_limit_nothing_is_counted() -> None:
    rate = Rate(0)
    rate.charge("a", 0.0, 1e9)

    assert not any(rate.wait_s("a", 0.0) for _ in range(1_000))


def test_many_addresses_do_not_fill_the_memory() -> None:
    rate = Rate(1)
    for number in range(MOST_BUCKETS + 50):
        rate.wait_s(str(number), 0.0)

    assert len(rate._buckets) == MOST_BUCKETS
