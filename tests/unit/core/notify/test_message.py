"""A notification as text."""

from __future__ import annotations

from tests.messages import a_message
from worker.core.notify.message import lines, subject


def test_the_first_line_is_one_line_whatever_its_title_holds() -> None:
    assert subject(a_message(title="Run 3 \x1b[2J")) == r"[flowshift] Run 3 \x1b[2J"


def test_a_late_message_says_why_what_next_where_and_since_when() -> None:
    assert lines(a_message(age_s=2_100.0, repeats=2)) == [
        "3 of 120 bots failed",
        "Next: flowshift failures 3",
        "https://flowshift.example/runs/3",
        "Delayed: it happened at 2026-11-29T12:00:00Z, 35 minutes ago",
        "It stands for 2 more events of the same cause",
    ]


def test_one_more_event_of_a_cause_is_said_in_the_singular() -> None:
    assert lines(a_message(repeats=1))[-1] == "It stands for 1 more event of the same cause"
