"""Counts of minutes, put together."""

from __future__ import annotations

from worker.core.publication.baseline import Baseline, Count
from worker.core.publication.normal import Normal, cap_of, normal
from worker.core.publication.tally import FIRST, Minute, Tally, by_bot, control_of, first_kept


def a_minute(minute_s: float, first: str = "", **more: object) -> Minute:
    values: dict[str, object] = {"who": "wave", "bot_id": "a", "tally": Tally(len(first)), **more}
    return Minute(minute_s=minute_s, first=first, **values)  # type: ignore[arg-type]


def test_the_first_executions_of_a_bot_are_in_their_order() -> None:
    minutes = [
        a_minute(120, "00"),
        a_minute(60, "1", is_recent=True),
        a_minute(60, "4"),
        a_minute(0, "7", bot_id="b"),
    ]

    bots = by_bot(minutes)

    assert {bot_id: bot.first for bot_id, bot in bots.items()} == {"a": "4100", "b": "7"}
    assert bots["a"].tally.executions == 4


def test_of_a_loud_bot_no_more_is_kept_than_ever_counts() -> None:
    assert len(by_bot([a_minute(n, "0" * 400) for n in range(9)])["a"].first) == FIRST
    for bots in (1, 2, 99, 100, 1_000_000):
        assert cap_of(bots, normal({}, {}), ["failed"], 0.01) <= first_kept(bots)


def test_the_control_counts_in_the_minutes_in_which_the_wave_was_bad() -> None:
    found = control_of(
        [
            a_minute(0, tally=Tally(3, failed=1)),
            a_minute(60, tally=Tally(3, slow=1)),
            a_minute(0, who="waves", bot_id="", tally=Tally(10, failed=2, slow=5)),
            a_minute(60, who="waves", bot_id="", tally=Tally(100, failed=20, slow=50)),
            a_minute(120, who="v1", bot_id="", tally=Tally(7)),
        ]
    )

    assert found == {("waves", "failed"): Count(2, 10), ("waves", "slow"): Count(50, 100)}


def test_so_many_executions_of_a_bot_count_that_every_metric_can_pass() -> None:
    """A wave of one bot needs 70 clean ones against 5 %, and 34 against 10 %: twice as many count."""
    against = normal({}, {})

    assert cap_of(1, against, ["slow"], 0.05) == 68
    assert cap_of(1, against, ["failed", "slow"], 0.05) == 140
    high = Normal(failed=Baseline(0.3, "v1"), slow=against.slow, costly=against.costly)
    assert cap_of(1, high, ["failed"], 0.05) == 30
