"""The door of a worker: which messages are taken, and that every task's can be judged."""

from __future__ import annotations

import inspect
import json
import typing
from typing import Any

import msgspec
import pytest
from kombu import Message

import tasks
from worker.app import app
from worker.queue.message_validation import MAX_BYTES, OURS, refusal
from worker.runtime import Runtime

Tasks = dict[str, Any]


@pytest.fixture
def registered(current: Runtime) -> Tasks:
    """The tasks of a worker, by name; Celery asks for its settings to make them."""
    return dict(app.tasks)


def a_message(body: Any = None, **changed: Any) -> Message:
    """A message as Celery sends it."""
    body = [[], {"run_id": 1, "batch": 1}, {}] if body is None else body
    headers: dict[str, Any] = {
        "task": "flowshift.convert_batch",
        "id": "x",
        "timelimit": [None, None],
    }
    octets: Any = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Message(
        body=octets,
        content_type=changed.pop("content_type", "application/json"),
        headers={**headers, **changed},
    )


def test_every_task_declares_its_arguments_so_that_they_can_be_judged(registered: Tasks) -> None:
    ours = [name for name in registered if name.startswith(OURS)]
    assert {f"{OURS}{name}" for name in tasks.__all__ if name != "start_run"} <= set(ours)
    for name in ours:
        hints = typing.get_type_hints(registered[name].run)
        declared = inspect.signature(registered[name].run).parameters
        assert declared.keys() <= hints.keys(), name
        for parameter in declared:
            msgspec.json.schema(hints[parameter])  # which knows no type that could not be judged


def test_messages_of_ours_are_taken(registered: Tasks) -> None:
    assert refusal(a_message(), registered) is None
    assert refusal(a_message([[1], {"batch": 2}, None]), registered) is None
    assert (
        refusal(a_message(timelimit=[5, None], retries=1, expires="2030-01-01"), registered) is None
    )
    options = {"limit": 5, "bot_ids": ["a"], "dry_run": True}
    assert refusal(a_message([[], options, {}], task="flowshift.migrate"), registered) is None


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (a_message(content_type="application/x-python-serialize"), "only JSON is taken"),
        (a_message(content_type=None), "only JSON is taken"),
        (a_message(task="celery.map"), "no task of flowshift's"),
        (a_message(task="flowshift.unknown"), "no task of flowshift's"),
        (a_message(task=None), "its headers are wrong"),
        (a_message(timelimit=5), "its headers are wrong"),
        (a_message(b" " * (MAX_BYTES + 1)), "longer than 4,194,304 bytes"),
        (a_message(b"[" * 100_000), "not the JSON of a task"),
        (a_message([[], []]), "not the JSON of a task"),
        (a_message([[], {"run_id": True, "batch": 1}, {}]), "argument run_id is wrong"),
        (a_message([[], {"run_id": 2**63, "batch": 1}, {}]), "out of range"),
        (a_message([[], {"run_id": 0, "batch": 1}, {}]), "out of range"),
        (a_message([[], {"run_id": -1, "batch": 1}, {}]), "out of range"),
        (a_message([[], {"run_id": 1, "batch": 2**31}, {}]), "out of range"),
        (a_message([[], {"run_id": 1.5, "batch": 1}, {}]), "argument run_id is wrong"),
        (a_message([[], {"slot": "a\0"}, {}], task="flowshift.prune"), "the character NUL"),
        (a_message([[], {"bot_ids": ["\0"]}, {}], task="flowshift.migrate"), "the character NUL"),
        (a_message([[], {"\0": 1}, {}], task="flowshift.migrate"), "the character NUL"),
        (a_message([[], {"a": "\ud800"}, {}], task="flowshift.migrate"), "JSON of a task"),
        (a_message([[], {"request_id": 7}, {}], task="flowshift.start_run"), "request_id is wrong"),
        (a_message(id="a\0"), "its id is no text"),
        (a_message(id="x" * 501), "its id is no text"),
        (a_message([[], {"run_id": 1}, {}]), "not those of the task"),
        (a_message([[1, 2, 3], {}, {}]), "not those of the task"),
    ],
)
def test_what_is_no_message_of_ours_is_refused(
    message: Message, reason: str, registered: Tasks
) -> None:
    assert reason in (refusal(message, registered) or "taken")


def test_a_message_of_the_longest_length_is_taken(registered: Tasks) -> None:
    body = json.dumps([[], {"run_id": 1, "batch": 1}, {}]).encode()
    assert refusal(a_message(body.ljust(MAX_BYTES)), registered) is None
