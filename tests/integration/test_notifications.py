"""Notifications on real PostgreSQL and real servers of HTTP: what is told, once, late and not at all."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from tests.fleet import Fleet, a_broken_workflow
from tests.hook_server import SECRET, Desk, Handler, HookServer, answers, hangs
from tests.integration.conftest import Run
from tests.live import eventually
from worker.core.notify.event import Event
from worker.core.notify.webhook import read_secret, sign
from worker.db import channels as database
from worker.db.metrics.notifications import Unsent, unsent
from worker.db.notifications import notify
from worker.processes.notifier import notifier
from worker.runtime import Runtime
from worker.steps import transitions
from worker.steps.notify.due import is_sending_due
from worker.steps.notify.send import Sent, send_due, spread_due


@pytest.fixture
def hook() -> Iterator[HookServer]:
    with HookServer() as server:
        yield server


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


Office = Callable[[], Runtime]


@pytest.fixture
def office(current: Runtime, desk: Desk) -> Iterator[Office]:
    """A runtime with the channels of the desk, which are known from now on."""
    made: list[Runtime] = []

    def open_() -> Runtime:
        settings = msgspec.structs.replace(
            current.settings, notify=str(desk.path), web_url="https://flowshift.example/"
        )
        made.append(Runtime(settings, current.servers))
        assert made[-1].channels is not None
        spread_due(made[-1].engine, made[-1].channels)
        return made[-1]

    yield open_
    for one in made:
        one.close()


def an_event(key: str = "run:7:ended", **changes: Any) -> Event:
    event = Event(
        kind="run.completed_with_failures",
        level="warning",
        key=key,
        title="Run 7 (convert) ended with failures",
        reason="3 of 120 bots failed",
        next_step="flowshift failures 7",
        page="/runs/7",
        detail={"run_id": 7},
    )
    return msgspec.structs.replace(event, **changes)


def tell(current: Runtime, *events: Event) -> None:
    for event in events:
        with current.engine.begin() as connection:
            notify(connection, event)


def rows(current: Runtime, query: str) -> list[tuple[Any, ...]]:
    with current.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def change(current: Runtime, statement: str) -> None:
    with current.engine.begin() as connection:
        connection.execute(sa.text(statement))


def told(current: Runtime) -> list[tuple[str, str]]:
    query = "SELECT kind, title FROM flowshift.notifications ORDER BY notification_id"
    return [(kind, title) for kind, title in rows(current, query)]


DELIVERIES = (
    "SELECT channel, state, tries, answer FROM flowshift.deliveries ORDER BY 1, notification_id"
)


# -- what is told ------------------------------------------------------------------------------------


def test_a_run_that_ends_with_failures_is_told_with_its_codes_and_the_next_command(
    fleet: Fleet,
) -> None:
    fleet.add("a", a_broken_workflow())
    fleet.add_many(2)

    run = fleet.run()

    query = "SELECT kind, level, title, reason, next_step, page FROM flowshift.notifications"
    assert rows(fleet.current, query) == [
        (
            "run.completed_with_failures",
            "warning",
            f"Run {run.run_id} (convert) ended with failures",
            "1 of 3 bots failed: invalid_config 1",
            f"flowshift failures {run.run_id}",
            f"/runs/{run.run_id}",
        )
    ]


def test_what_is_rolled_back_is_not_told(current: Runtime) -> None:
    with current.engine.begin() as connection:
        notify(connection, an_event())
        connection.rollback()

    assert told(current) == []


def test_a_run_that_a_person_cancels_is_told_with_who_and_why_and_once(fleet: Fleet) -> None:
    fleet.add_many(1)
    run = fleet.start()

    for _ in range(2):
        transitions.cancel(fleet.engine, run.run_id, actor="kim@ops", reason="wrong fleet")

    query = "SELECT title, reason FROM flowshift.notifications"
    assert rows(fleet.current, query) == [
        (f"Run {run.run_id} (convert) was cancelled", "wrong fleet (by kim@ops)")
    ]


def test_what_tells_of_a_fault_does_not_fail_for_its_words(current: Runtime) -> None:
    tell(current, an_event(title="bot\0\ud800" + "x" * 300, reason="y" * 9_000))

    ((title, reason),) = rows(current, "SELECT title, reason FROM flowshift.notifications")
    assert title.startswith("bot\ufffd?x")
    assert (len(title), len(reason)) == (200, 2_000)


# -- of one cause ------------------------------------------------------------------------------------


def test_a_cause_that_flaps_is_told_twice_and_then_its_last_word_later(
    hook: HookServer, desk: Desk, office: Office
) -> None:
    desk.add("ops", "webhook", hook.url)
    current = office()
    for at in range(6):
        tell(current, an_event(key="alert:slow", title=f"word {at}"))
        send_due(current)

    assert [got.json["data"]["title"] for got in hook.got] == ["word 0", "word 1"]
    assert not is_sending_due(current)

    change(current, "UPDATE flowshift.notifications SET due_at = now() WHERE spread_at IS NULL")
    send_due(current)

    last = hook.got[-1].json["data"]
    assert (last["title"], last["repeats"], len(hook.got)) == ("word 5", 3, 3)


def test_causes_do_not_hold_up_each_other(hook: HookServer, desk: Desk, office: Office) -> None:
    desk.add("ops", "webhook", hook.url)
    current = office()
    tell(current, *(an_event(key=f"run:{at}:ended") for at in range(9)))

    assert send_due(current) == Sent(9, 0)


# -- to whom -----------------------------------------------------------------------------------------


def test_a_channel_gets_what_it_asks_for_and_only_what_happened_since_it_was_there(
    hook: HookServer, desk: Desk, office: Office, current: Runtime
) -> None:
    tell(current, an_event("before"))
    change(current, "UPDATE flowshift.notifications SET happened_at = now() - interval '1 minute'")
    desk.add("all", "webhook", hook.url).add("grave", "webhook", hook.url, level="error")
    desk.add("runs", "webhook", hook.url, events=["run.completed"])
    opened = office()
    tell(opened, an_event("warning"))
    tell(
        opened,
        an_event("error", level="error"),
        an_event("info", kind="run.completed", level="info"),
    )

    send_due(opened)

    query = (
        "SELECT key, channel FROM flowshift.deliveries JOIN flowshift.notifications"
        " USING (notification_id) ORDER BY 1, 2"
    )
    assert rows(opened, query) == [
        ("error", "all"),
        ("error", "grave"),
        ("info", "all"),
        ("info", "runs"),
        ("warning", "all"),
    ]


def test_a_new_channel_gets_the_first_thing_that_happens_once_the_beat_has_seen_it(
    hook: HookServer, desk: Desk, current: Runtime
) -> None:
    desk.add("ops", "webhook", hook.url)
    settings = msgspec.structs.replace(current.settings, notify=str(desk.path))
    opened = Runtime(settings, current.servers)
    watch = notifier(opened)
    watch.once()
    tell(current, an_event())

    assert send_due(opened) == Sent(1, 0)
    watch.stop()
    opened.close()


def test_a_process_without_channels_leaves_everything_to_one_that_has_them(
    current: Runtime,
) -> None:
    tell(current, an_event())

    assert send_due(current) == Sent()
    assert rows(current, "SELECT spread_at FROM flowshift.notifications") == [(None,)]


# -- a webhook ---------------------------------------------------------------------------------------


def test_a_webhook_is_signed_as_the_specification_says_and_carries_the_whole_story(
    hook: HookServer, desk: Desk, office: Office
) -> None:
    old = "whsec_" + "A" * 32
    desk.keep("secret", f"{SECRET}\n{old}\n")
    desk.add("ops", "webhook", hook.url)
    current = office()
    tell(current, an_event())

    send_due(current)

    (got,) = hook.got
    message_id, at = got.headers["webhook-id"], int(got.headers["webhook-timestamp"])
    signatures = [sign(read_secret(one), message_id, at, got.body) for one in (SECRET, old)]
    assert got.headers["webhook-signature"].split() == signatures
    assert got.headers["content-type"] == "application/json"
    assert got.json["type"] == "run.completed_with_failures"
    assert got.json["data"] == {
        "source": current.settings.namespace,
        "level": "warning",
        "title": "Run 7 (convert) ended with failures",
        "reason": "3 of 120 bots failed",
        "next_step": "flowshift failures 7",
        "page": "https://flowshift.example/runs/7",
        "repeats": 0,
        "delayed_s": None,
        "run_id": 7,
    }


def test_a_message_that_is_late_says_so(hook: HookServer, desk: Desk, office: Office) -> None:
    desk.add("team", "slack", hook.url)
    current = office()
    hook.acts = answers(200, b"ok")
    change(current, "UPDATE flowshift.channels SET since = now() - interval '1 day'")
    tell(current, an_event())
    change(
        current, "UPDATE flowshift.notifications SET happened_at = now() - interval '35 minutes'"
    )

    send_due(current)

    assert "Delayed: it happened at " in hook.got[0].json["text"]
    assert ", 35 minutes ago" in hook.got[0].json["text"]


# -- channels that do not work -----------------------------------------------------------------------


def test_a_channel_that_hangs_silences_no_other_and_is_given_a_rest(
    hook: HookServer, desk: Desk, office: Office
) -> None:
    with HookServer(hangs) as dead:
        desk.add("dead", "webhook", dead.url).add("ops", "webhook", hook.url)
        current = office()
        tell(current, *(an_event(f"run:{at}:ended") for at in range(3)))

        assert send_due(current, timeout_s=0.3, jitter=lambda: 1.0) == Sent(3, 1)
        assert send_due(current, timeout_s=0.3) == Sent()

    assert len(hook.got) == 3
    assert len(dead.got) == 1, "it rests: the others are not tried"
    ((failures, answer, rests),) = rows(
        current,
        "SELECT failures, answer, next_at > now() + interval '3 s' FROM flowshift.channels"
        " WHERE channel = 'dead'",
    )
    assert (failures, answer, rests) == (1, "no answer within 0.3 s", True)


def test_a_channel_that_works_again_gets_everything_in_order_with_the_same_ids(
    hook: HookServer, desk: Desk, office: Office
) -> None:
    desk.add("ops", "webhook", hook.url)
    current = office()
    hook.acts = answers(503)
    tell(current, an_event("a"), an_event("b"), an_event("c"))
    send_due(current)
    hook.acts = answers(204)
    change(current, "UPDATE flowshift.channels SET next_at = now()")

    assert send_due(current) == Sent(3, 0)

    ids = [got.headers["webhook-id"] for got in hook.got]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert rows(current, "SELECT failures, answer FROM flowshift.channels") == [(0, "HTTP 204")]
    assert [(state, tries) for _, state, tries, _ in rows(current, DELIVERIES)] == [
        ("sent", 2),
        ("sent", 1),
        ("sent", 1),
    ]


def test_a_channel_says_when_it_may_be_tried_again(
    hook: HookServer, desk: Desk, office: Office
) -> None:
    desk.add("ops", "webhook", hook.url)
    current = office()
    hook.acts = answers(429, Retry_After="900")
    tell(current, an_event())

    send_due(current, jitter=lambda: 0.0)

    query = "SELECT extract(epoch FROM next_at - now())::int BETWEEN 880 AND 900 FROM flowshift.channels"
    assert rows(current, query) == [(True,)]


def test_a_message_that_a_working_channel_refuses_holds_up_no_other_and_is_given_up(
    hook: HookServer, desk: Desk, office: Office
) -> None:
    desk.add("ops", "webhook", hook.url)
    current = office()
    tell(current, an_event("bad", title="bad"), an_event("good", title="good"))

    def acts(handler: Handler) -> None:
        handler.reply(400 if hook.got[-1].json["data"]["title"] == "bad" else 204)

    hook.acts = acts
    for _ in range(5):
        send_due(current)
        change(current, "UPDATE flowshift.deliveries SET next_at = now()")

    assert rows(current, DELIVERIES) == [
        ("ops", "refused", 3, "HTTP 400"),
        ("ops", "sent", 1, "HTTP 204"),
    ]


def test_what_no_channel_took_in_time_is_given_up_and_status_says_so(
    hook: HookServer, desk: Desk, office: Office, flowshift: Run
) -> None:
    desk.add("ops", "webhook", hook.url)
    current = office()
    hook.acts = answers(500)
    tell(current, an_event("a"), an_event("b"))
    send_due(current)
    change(current, "UPDATE flowshift.notifications SET due_at = now() - interval '10 minutes'")
    _, out, _ = flowshift("status")
    assert re.search(
        r"notifications stuck: ops has not taken 2 for .* \(HTTP 500\): flowshift", out
    )

    change(current, "UPDATE flowshift.notifications SET happened_at = now() - interval '25 hours'")
    send_due(current)

    assert [state for _, state, _, _ in rows(current, DELIVERIES)] == ["given_up"] * 2
    _, out, _ = flowshift("status")
    assert "notifications stuck: ops 2 were given up today (HTTP 500): flowshift notify list" in out


# -- one sender at a time ----------------------------------------------------------------------------


def test_two_senders_at_once_send_each_message_once(
    hook: HookServer, desk: Desk, office: Office
) -> None:
    desk.add("ops", "webhook", hook.url)
    current = office()
    tell(current, *(an_event(f"run:{at}:ended") for at in range(20)))

    senders = [threading.Thread(target=send_due, args=(current,)) for _ in range(4)]
    for one in senders:
        one.start()
    for one in senders:
        one.join()
    while is_sending_due(current):
        send_due(current)

    assert len(hook.got) == len({got.headers["webhook-id"] for got in hook.got}) == 20


def test_no_transaction_is_open_while_a_message_is_on_its_way(
    hook: HookServer, desk: Desk, office: Office
) -> None:
    desk.add("ops", "webhook", hook.url)
    current = office()
    seen: list[tuple[Any, ...]] = []

    def acts(handler: Handler) -> None:
        seen.extend(
            rows(
                current,
                "SELECT state, query FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
                " AND backend_type = 'client backend'",
            )
        )
        handler.reply(204)

    hook.acts = acts
    tell(current, an_event())

    assert send_due(current) == Sent(1, 0)
    assert seen == []


SENDER = """
import sys
from worker import runtime, settings
from worker.steps.notify.send import send_due
send_due(runtime.configure(settings.load()))
"""


def test_a_sender_that_is_killed_after_it_sent_is_followed_by_another_with_the_same_id(
    hook: HookServer, desk: Desk, office: Office, environment: dict[str, str]
) -> None:
    desk.add("ops", "webhook", hook.url)
    current = office()
    tell(current, an_event())
    hook.acts = hangs  # it has the message, and the sender does not know
    ours = {"FLOWSHIFT_NOTIFY": str(desk.path), "FLOWSHIFT_WEB_URL": current.settings.web_url}
    sender = subprocess.Popen([sys.executable, "-c", SENDER], env={**environment, **ours})
    eventually(lambda: hook.got)
    sender.send_signal(signal.SIGKILL)
    sender.wait()
    hook.acts = answers(204)

    assert send_due(current) == Sent(), "the lease holds until it runs out"
    change(current, "UPDATE flowshift.channels SET lease_until = now() - interval '1 s'")
    assert send_due(current) == Sent(1, 0)

    first, second = hook.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert rows(current, DELIVERIES) == [("ops", "sent", 1, "HTTP 204")]


def test_a_sender_that_lost_its_lease_notes_nothing(
    hook: HookServer, desk: Desk, office: Office
) -> None:
    desk.add("ops", "webhook", hook.url)
    current = office()
    tell(current, an_event())

    def acts(handler: Handler) -> None:
        change(current, "UPDATE flowshift.channels SET lease = gen_random_uuid()")
        handler.reply(204)

    hook.acts = acts
    send_due(current, budget_s=0.01)

    assert rows(current, DELIVERIES) == [("ops", "waiting", 0, None)]


def test_a_resting_channel_is_not_due_and_a_removed_one_never_is(
    hook: HookServer, desk: Desk, office: Office
) -> None:
    desk.add("ops", "webhook", hook.url)
    current = office()
    hook.acts = answers(500)
    tell(current, an_event())
    assert is_sending_due(current)
    assert not is_sending_due(current, waited_s=20)
    send_due(current)

    assert not is_sending_due(current)
    change(current, "UPDATE flowshift.channels SET next_at = now() - interval '21 s'")
    change(current, "UPDATE flowshift.deliveries SET next_at = now() - interval '21 s'")
    assert is_sending_due(current, waited_s=20)
    with current.engine.connect() as connection:
        assert not database.is_due(connection, ["other"])


# -- the command -------------------------------------------------------------------------------------


def test_list_shows_what_became_of_each_at_every_channel(
    hook: HookServer, desk: Desk, office: Office, flowshift: Run
) -> None:
    desk.add("ops", "webhook", hook.url)
    current = office()
    tell(current, an_event("a", title="Run 7 \x1b[2J<b>"))
    send_due(current)
    tell(current, an_event("b", level="info", title="Run 8"))

    code, out, _ = flowshift("notify", "list")

    assert code == 0
    lines = out.splitlines()
    assert lines[0].endswith("warning  Run 7 \\x1b[2J<b>")
    assert lines[1:3] == ["    3 of 120 bots failed", "    ops: sent"]
    assert lines[5] == "    waits for a sender"


def test_a_channel_that_was_removed_is_forgotten_and_nothing_is_stuck(
    hook: HookServer,
    desk: Desk,
    office: Office,
    current: Runtime,
    flowshift: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk.add("pager", "webhook", "http://127.0.0.1:9/").add("ops", "webhook", hook.url)
    opened = office()
    tell(opened, an_event())
    send_due(opened)
    change(current, "UPDATE flowshift.notifications SET due_at = now() - interval '10 minutes'")
    monkeypatch.setenv("FLOWSHIFT_NOTIFY", str(desk.path))
    assert flowshift("notify", "list")[0] == 1

    code, _, err = flowshift("notify", "forget", "pager")
    assert (code, "remove it there" in err) == (2, True)
    monkeypatch.delenv("FLOWSHIFT_NOTIFY")
    code, _, err = flowshift("notify", "forget", "pagr")
    assert (code, "there is no channel 'pagr'; did you mean pager?" in err) == (2, True)
    code, out, _ = flowshift("notify", "forget", "pager", "--reason", "another one")

    assert (code, out) == (0, "pager is forgotten: 1 notification that waited for it given up\n")
    assert flowshift("notify", "list")[0] == 0
    found = rows(current, "SELECT channel, state FROM flowshift.deliveries ORDER BY channel")
    assert found == [("ops", "sent"), ("pager", "given_up")]
    found = rows(
        current,
        "SELECT action, reason, detail FROM flowshift.audit WHERE action = 'channel.forgotten'",
    )
    assert found == [("channel.forgotten", "another one", {"channel": "pager", "given_up": 1})]
    with current.engine.connect() as connection:
        assert unsent(connection) == Unsent(0, 0, None, 0)
    assert flowshift("notify", "forget", "pager")[0] == 2


# -- who sends ---------------------------------------------------------------------------------------


def test_the_beat_sends_what_no_worker_has_sent_for_twenty_seconds_and_nothing_before(
    hook: HookServer, desk: Desk, office: Office
) -> None:
    desk.add("ops", "webhook", hook.url)
    current = office()
    tell(current, an_event())
    watch = notifier(current)

    watch.once()
    assert hook.got == []
    change(current, "UPDATE flowshift.notifications SET due_at = now() - interval '21 s'")
    watch.once()
    watch.once()
    watch.stop()

    assert len(hook.got) == 1


def test_what_a_channel_has_not_taken_is_given_up_even_if_it_is_in_no_file_any_more(
    desk: Desk, office: Office, current: Runtime
) -> None:
    desk.add("ops", "webhook", "http://127.0.0.1:9/")
    opened = office()
    tell(opened, an_event())
    send_due(opened)
    change(current, "UPDATE flowshift.notifications SET happened_at = now() - interval '25 hours'")

    watch = notifier(current)
    watch.once()
    watch.stop()

    assert [state for _, state, _, _ in rows(current, DELIVERIES)] == ["given_up"]


def test_the_beats_own_sender_survives_whatever_comes(desk: Desk, office: Office) -> None:
    desk.add("ops", "webhook", "http://127.0.0.1:9/")
    current = office()
    change(current, "ALTER TABLE flowshift.notifications RENAME TO away")

    watch = notifier(current)
    watch.once()
    watch.stop()


def test_no_secret_is_in_the_database(hook: HookServer, desk: Desk, office: Office) -> None:
    hook.acts = answers(500)
    with HookServer() as gone:
        desk.add("gone", "webhook", gone.url)
    desk.add("ops", "webhook", hook.url).add("team", "slack", hook.url)
    current = office()
    tell(current, an_event())
    send_due(current)

    for table in ("notifications", "deliveries", "channels"):
        said = str(rows(current, f"SELECT t::text FROM flowshift.{table} t"))
        assert "T0P5ECRET" not in said
        assert SECRET not in said
        assert "127.0.0.1" not in said
