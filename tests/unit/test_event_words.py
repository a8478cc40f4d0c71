"""What Flower shows of tasks: plain words, nothing of Python's, nothing that acts."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tasks.lost import RefusedError, Request
from worker.core.event_text import LONGEST, plain_arguments, plain_error, plain_result
from worker.core.policy.batch_ref import BatchRef
from worker.core.policy.progress import Counts
from worker.db.batches import Batch
from worker.db.runs import RunOptions
from worker.errors import GivenUpError
from worker.steps.batch.tally import Report, which_bots

HOSTILE = "\x1b[2J\u202e<b>\n"


class SpyEventer:
    """Keeps the events that a request sends."""

    enabled = True

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.sent.append((kind, fields))


def sent_by_a_request(kind: str, fields: dict[str, Any]) -> Any:
    request: Any = Request.__new__(Request)
    eventer = SpyEventer()
    request._eventer = eventer
    request.id = "x"
    request._task = type("AnyTask", (), {"send_events": True})
    cast("Request", request).send_event(kind, **fields)
    return eventer.sent[0][1]


def test_a_result_has_no_quotes() -> None:
    assert sent_by_a_request("task-succeeded", {"result": "'run 3'", "runtime": 1.0}) == {
        "uuid": "x",
        "result": "run 3",
        "runtime": 1.0,
    }


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RefusedError("no run 7"), "refused: no run 7"),
        (GivenUpError("KeyError: 'a'"), "given up: KeyError: 'a'"),
    ],
)
def test_what_was_refused_or_given_up_says_why_without_a_traceback(
    error: Exception, said: str
) -> None:
    sent = sent_by_a_request("task-failed", {"exception": repr(error), "traceback": "Trace…"})
    assert (sent["exception"], sent["result"], "traceback" in sent) == (said, said, False)


def test_another_failure_keeps_its_traceback() -> None:
    sent = sent_by_a_request("task-failed", {"exception": "KeyError('a')", "traceback": "Trace…"})
    assert (sent["exception"], sent["traceback"]) == ("KeyError: a", "Trace…")


@pytest.mark.parametrize(
    ("given", "kwargs", "shown"),
    [
        ("run 1, batch 2: through b", {"run_id": 1, "batch": 2}, "run 1, batch 2: through b"),
        ("{'limit': 5}", {"limit": 5, "dry_run": True}, "limit=5, dry_run=true"),
        ("run " + HOSTILE, {}, "run \\x1b[2J\\u202e<b>\\n"),
        (HOSTILE, {"reason": HOSTILE}, "reason=\\x1b[2J\\u202e<b>\\n"),
        ("", {"bot_ids": ["a"] * 9}, "bot_ids=[a, a, a, … 6 more]"),
    ],
)
def test_arguments_are_plain(given: str, kwargs: dict[str, Any], shown: str) -> None:
    request: Any = Request.__new__(Request)
    request._args, request._kwargs = (), kwargs
    request._argsrepr, request._kwargsrepr = "()", given
    assert (request.argsrepr, request.kwargsrepr) == ("", shown)


def test_hostile_and_endless_texts_are_escaped_and_cut() -> None:
    for said in (
        plain_result(f"'{HOSTILE * 999}'"),
        plain_error(f"KeyError('{HOSTILE * 999}')"),
        plain_arguments((HOSTILE * 999,), {HOSTILE: HOSTILE}),
    ):
        assert said.isprintable()
        assert len(said) <= LONGEST


def a_batch(**changes: Any) -> Batch:
    values: dict[str, Any] = {
        "ref": BatchRef(1, 2),
        "kind": "convert",
        "request_id": "r",
        "after_bot_id": "a",
        "through_bot_id": "m",
        "bot_ids": None,
        "bot_count": 1_200,
        "attempt": 1,
        "dry_run": False,
        "options": RunOptions(),
    }
    return Batch(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "1,200 bots after a through m"),
        ({"after_bot_id": None}, "1,200 bots through m"),
        ({"bot_ids": ("a", "b", "c"), "bot_count": 3}, "3 bots: a … c"),
        ({"bot_ids": ("a",), "bot_count": 1}, "1 bot: a"),
        ({"bot_ids": (HOSTILE,), "bot_count": 1}, "1 bot: \\x1b[2J\\u202e<b>\\n"),
    ],
)
def test_a_batch_says_which_bots_it_holds(changes: dict[str, Any], said: str) -> None:
    assert which_bots(a_batch(**changes)) == said


def test_a_batch_says_what_failed_first_by_code_with_two_bots() -> None:
    report = Report(
        Counts(converted=20, failed=4, validated=20, warnings=9),
        {"failed:cycle": 3, "failed:invalid_text": 1},
        359,
        bots=("b01", "b24"),
        failed={"cycle": ("b03", "b05"), "invalid_text": (HOSTILE,)},
    )
    assert report.in_words() == (
        "✘ 4 failed: cycle 3 (b03, b05, …), invalid_text 1 (\\x1b[2J\\u202e<b>\\n)"
        " · 20 converted · 20 validated · 24 bots: b01 … b24 · 359 ms"
    )
