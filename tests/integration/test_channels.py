"""Each kind of channel against a real server of HTTP that behaves badly; no database."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hook_server import (
    Desk,
    Handler,
    HookServer,
    answers,
    closes_early,
    dribbles,
    floods,
    hangs,
    talks_nonsense,
)
from tests.integration.conftest import Run
from tests.messages import a_message
from worker.channels import config
from worker.channels.send import send
from worker.core.notify.retry import Answer
from worker.errors import ConfigError
from worker.providers.loop import LoopThread

NO_SECRET = "it is no secret of Standard Webhooks: whsec_ and 24 to 64 random bytes in base64"
HOSTILE = "<!channel> @everyone <script>x</script> & *bold*\x1b[2J\u202e"


@pytest.fixture
def hook() -> Iterator[HookServer]:
    with HookServer() as server:
        yield server


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture(scope="module")
def loop() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.close()


def sent(loop: LoopThread, desk: Desk, *, timeout_s: float = 15.0, **changes: object) -> Answer:
    channels = config.load(desk.path)
    message = a_message(**changes)
    return send(loop, channels, channels.all[0], message, now_s=1_614_265_330, timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("acts", "said"),
    [
        (closes_early, "no answer: RemoteProtocolError"),
        (talks_nonsense, "no answer: RemoteProtocolError"),
        (hangs, "no answer within 0.3 s"),
        (dribbles, "no answer within 0.3 s"),
        (answers(500, b"<html>" + b"x" * 200_000), "HTTP 500"),
        (answers(302, Location="/elsewhere"), "HTTP 302: redirects are not followed"),
        (answers(410), "HTTP 410"),
    ],
)
@pytest.mark.parametrize("kind", ["webhook", "slack"])
def test_whatever_a_server_does_is_a_failure_in_words_of_ours(
    hook: HookServer, desk: Desk, loop: LoopThread, kind: str, acts: object, said: str
) -> None:
    hook.acts = acts  # type: ignore[assignment]
    desk.add("ops", kind, hook.url)
    patience_s = 0.3 if "within" in said else 15.0

    assert sent(loop, desk, timeout_s=patience_s) == Answer("failed", said)
    assert len(hook.got) == 1, "no redirect was followed, and nothing was tried twice"


def test_a_body_without_an_end_is_not_read_to_it(
    hook: HookServer, desk: Desk, loop: LoopThread
) -> None:
    hook.acts = floods

    desk.add("ops", "slack", hook.url)

    said = "HTTP 200, but not what such a channel answers"
    assert sent(loop, desk, timeout_s=5.0) == Answer("failed", said)


def test_nothing_listens(desk: Desk, loop: LoopThread) -> None:
    with HookServer() as gone:
        desk.add("ops", "webhook", gone.url)

    assert sent(loop, desk) == Answer("failed", "no connection: ConnectError")


def test_a_page_of_greetings_is_not_taken_for_slack(
    hook: HookServer, desk: Desk, loop: LoopThread
) -> None:
    desk.add("team", "slack", hook.url)

    hook.acts = answers(200, b"<html>Please sign in</html>")
    assert sent(loop, desk).said == "HTTP 200, but not what such a channel answers"
    hook.acts = answers(200, b"ok")
    assert sent(loop, desk) == Answer("sent", "HTTP 200")


def test_slack_finds_no_mention_and_no_tag_in_hostile_text(
    hook: HookServer, desk: Desk, loop: LoopThread
) -> None:
    hook.acts = answers(200, b"ok")
    desk.add("team", "slack", hook.url)

    sent(loop, desk, title=HOSTILE, reason=HOSTILE)

    said = hook.got[0].json
    assert "<" not in said["text"]
    assert "&lt;!channel&gt; @everyone" in said["text"]
    assert "\x1b" not in said["text"]
    assert "\u202e" not in said["text"]
    assert said["link_names"] is False


def test_a_secret_that_is_replaced_counts_from_the_next_message_on(
    hook: HookServer, desk: Desk, loop: LoopThread
) -> None:
    desk.add("ops", "webhook", "http://127.0.0.1:9/old")
    channels = config.load(desk.path)
    desk.keep("ops_url", hook.url)

    answer = send(loop, channels, channels.all[0], a_message(), now_s=1)

    assert answer == Answer("sent", "HTTP 204")


def test_a_secret_file_that_is_gone_is_a_failure_that_names_it_and_not_what_it_held(
    hook: HookServer, desk: Desk, loop: LoopThread
) -> None:
    desk.add("ops", "webhook", hook.url)
    channels = config.load(desk.path)
    (desk.directory / "secret").unlink()

    answer = send(loop, channels, channels.all[0], a_message(), now_s=1)

    assert answer.said == (
        f"FLOWSHIFT_NOTIFY: {desk.path}: the channel ops has a secret_file that cannot be read:"
        " No such file or directory"
    )


def test_no_address_is_logged(
    hook: HookServer, desk: Desk, loop: LoopThread, caplog: pytest.LogCaptureFixture
) -> None:
    desk.add("ops", "webhook", hook.url)
    with caplog.at_level(logging.DEBUG):
        sent(loop, desk)

    assert "T0P5ECRET" not in caplog.text


# -- Apprise -----------------------------------------------------------------------------------------


def test_apprise_carries_the_message_and_follows_no_redirect(
    hook: HookServer, desk: Desk, loop: LoopThread
) -> None:
    desk.add("pager", "apprise", f"json://127.0.0.1:{hook.port}/T0P5ECRET")

    assert sent(loop, desk, title=HOSTILE) == Answer("sent", "Apprise sent it")
    said = hook.got[0].json
    assert said["title"].startswith("[flowshift] ‹!channel› ＠everyone ‹script›")
    assert said["message"].startswith("3 of 120 bots failed")
    assert "https://flowshift.example/runs/3" in said["message"]
    assert said["type"] == "warning"

    def acts(handler: Handler) -> None:
        handler.reply(302, Location=f"http://127.0.0.1:{hook.port}/elsewhere")

    hook.acts = acts
    assert sent(loop, desk) == Answer("failed", "the service behind Apprise did not take it")
    assert len(hook.got) == 2


def test_an_address_that_apprise_does_not_know_is_a_failure(desk: Desk, loop: LoopThread) -> None:
    desk.add("pager", "apprise", "nosuchservice://x/T0P5ECRET")

    assert sent(loop, desk).said == "Apprise knows no such service, or not such an address"


# -- the command -------------------------------------------------------------------------------------


def test_notify_test_prints_what_each_channel_answered_and_needs_no_server(
    hook: HookServer, desk: Desk, flowshift: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.add("ops", "webhook", hook.url).add("team", "slack", hook.url)
    monkeypatch.setenv("FLOWSHIFT_NOTIFY", str(desk.path))
    monkeypatch.setenv("FLOWSHIFT_DATABASE_URL", "postgresql://127.0.0.1:9/gone")

    code, out, err = flowshift("notify", "test")

    assert (code, err) == (1, "")
    assert out.splitlines() == [
        "ops (webhook) took it: HTTP 204",
        "team (slack) did not take it: HTTP 204, but not what such a channel answers",
    ]
    assert hook.got[0].json["type"] == "test"
    assert flowshift("notify", "test", "ops")[0] == 0
    assert (
        flowshift("notify", "test", "opps")[2]
        .strip()
        .endswith("there is no channel 'opps'; did you mean ops?")
    )


def test_notify_test_without_channels_says_which_setting_names_them(flowshift: Run) -> None:
    code, _, err = flowshift("notify", "test")

    assert code == 2
    assert "FLOWSHIFT_NOTIFY names the file that says which" in err


# -- the file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it names no channel: begin each with [[channel]]"),
        ("[[chanel]]\nname = 'a'", "there is no key 'chanel'; did you mean channel?"),
        ("[[channel]]\nname = 'a'", "channel 1 needs kind: apprise, slack or webhook"),
        (
            "[[channel]]\nname = 'a'\nkind = 'slack'\nurl_fil = 'T0P5ECRET'",
            "there is no key 'url_fil' of channel 1; did you mean url_file?",
        ),
        (
            "[[channel]]\nname = 'a'\nkind = 'T0P5ECRET'\nurl_file = 'x'",
            "kind of channel 1 must be apprise, slack or webhook",
        ),
        (
            "[[channel]]\nname = 'a'\nkind = 'slack'\nurl_file = 'good'\nevents = ['run.pausd']",
            "the channel a names an event that does not exist; did you mean run.paused?",
        ),
        (
            "[[channel]]\nname = 'a'\nkind = 'webhook'\nurl_file = 'good'",
            "the channel a needs a secret_file",
        ),
        (
            "[[channel]]\nname = 'a'\nkind = 'webhook'\nurl_file = 'good'\nsecret_file = 'good'",
            f"the channel a has a secret_file: {NO_SECRET}",
        ),
        (
            "[[channel]]\nname = 'a'\nkind = 'slack'\nurl_file = 'ftp'",
            "the channel a has a url_file that holds no http:// or https:// URL",
        ),
        (
            "[[channel]]\nname = 'a'\nkind = 'slack'\nurl_file = 'user'",
            "the channel a has a url_file that holds a URL with a user, a password or a fragment",
        ),
        (
            "[[channel]]\nname = 'a'\nkind = 'slack'\nurl_file = 'two'",
            "the channel a has a url_file with more than one line or word: it holds one address",
        ),
        (
            "[[channel]]\nname = 'a'\nkind = 'slack'\nurl_file = 'empty'",
            "the channel a has a url_file that is empty",
        ),
        (
            2 * "[[channel]]\nname = 'a'\nkind = 'slack'\nurl_file = 'good'\n",
            "two channels have the same name",
        ),
    ],
)
def test_a_file_that_is_wrong_is_refused_without_a_secret(desk: Desk, text: str, said: str) -> None:
    desk.keep("good", "https://hooks.example/T0P5ECRET")
    desk.keep("ftp", "ftp://hooks.example/T0P5ECRET")
    desk.keep("user", "https://me:T0P5ECRET@hooks.example/")
    desk.keep("two", "https://hooks.example/a\nhttps://hooks.example/T0P5ECRET")
    desk.keep("empty", "\n")
    desk.path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        config.load(desk.path)

    assert str(caught.value) == f"FLOWSHIFT_NOTIFY: {desk.path}: {said}"
    assert "T0P5ECRET" not in repr(caught.value.__cause__)
