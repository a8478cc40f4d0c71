"""Logging: one line per event, JSON if no person looks, and no secret in any of them."""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from worker.log import configure, get_logger, hide_credentials


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Logging as the other tests have it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()
    logging.captureWarnings(False)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("redis://me:secret@cache:6379/0", "redis://***@cache:6379/0"),
        ("redis://:secret@cache/0", "redis://***@cache/0"),
        ("postgresql+psycopg://me:@db/x", "postgresql+psycopg://***@db/x"),
        ("POSTGRESQL://me:secret@db/x", "POSTGRESQL://***@db/x"),
        ("one a://u:p@h two b://v:q@i", "one a://***@h two b://***@i"),
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("https://host/path:with@sign", "https://***@sign"),
        ("me:secret@cache", "me:secret@cache"),
        ("", ""),
    ],
)
def test_the_user_and_password_of_every_url_are_hidden(text: str, hidden: str) -> None:
    assert hide_credentials(text) == hidden


def test_an_event_is_one_line_of_json_with_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="json")

    get_logger("worker.test").info("batch.converted", run_id=12, bots_converted=98)

    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "batch.converted",
        "level": "info",
        "logger": "worker.test",
        "run_id": 12,
        "bots_converted": 98,
    }


def test_a_librarys_record_goes_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="json")

    logging.getLogger("celery.worker").warning("lost %s", "redis", extra={"hostname": "w1"})

    (line,) = lines(capsys)
    assert (line["event"], line["level"], line["logger"], line["hostname"]) == (
        *("lost redis", "warning", "celery.worker", "w1"),
    )


def test_what_is_bound_to_the_task_is_on_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="json")
    structlog.contextvars.bind_contextvars(batch=7)

    get_logger("a").info("one.done")
    logging.getLogger("b").info("two")

    assert [line["batch"] for line in lines(capsys)] == [7, 7]


def test_no_secret_reaches_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="json")

    url = "redis://me:s3cret@cache/0"
    try:
        raise ConnectionError(f"no answer from {url}")
    except ConnectionError:
        get_logger("a").exception("redis.lost", url=url)
        logging.getLogger("b").exception("lost %s", url)

    for line in lines(capsys):
        assert "s3cret" not in str(line)
        assert line["exception"].endswith("no answer from redis://***@cache/0")


def test_a_traceback_is_one_value_of_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="json")

    try:
        raise ValueError("mistake")
    except ValueError:
        get_logger("a").exception("bot.failed", bot_id="b1")

    (line,) = lines(capsys)
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: mistake")


def test_a_level_keeps_what_is_below_it_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="json", level="warning")

    get_logger("a").info("batch.converted")
    logging.getLogger("b").info("chatter")
    get_logger("a").warning("batch.slow")

    assert [line["event"] for line in lines(capsys)] == ["batch.slow"]


def test_a_person_gets_readable_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="console")

    get_logger("a").info("batch.converted", url="redis://me:s3cret@cache/0")

    told = capsys.readouterr().err
    assert "batch.converted" in told
    assert "s3cret" not in told
    assert not told.startswith("{")


def test_where_standard_error_is_no_terminal_it_is_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure()

    get_logger("a").info("batch.converted")

    assert lines(capsys)[0]["event"] == "batch.converted"


def test_configuring_again_replaces_what_was_there(capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="json")
    configure(log_format="json")

    get_logger("a").info("batch.converted")

    assert len(lines(capsys)) == 1


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_line_shows_a_secret_whatever_holds_it(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(log_format=log_format, level="info")
    url = "redis://me:hun/t@er2@cache:6379/0"
    log = get_logger("test")
    try:
        raise RuntimeError(f"no answer from {url}")
    except RuntimeError as error:
        log.exception("server.lost", error=error, tried=[url], settings={"redis": url})
    logging.getLogger("a.library").warning("cannot reach %s", url)

    said = capsys.readouterr().err
    assert said.count("***@cache:6379/0") >= 5
    assert "er2" not in said


def test_nothing_that_is_logged_acts_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for log_format in ("console", "json"):
        configure(log_format=log_format)
        try:
            raise ValueError("\x1b[2J\u202e")
        except ValueError:
            get_logger("t").exception("bot.faulted", error="\x1b]0;t\x07\u202e\u200b\n[x]")
        err = capsys.readouterr().err
        assert err.replace("\n", "").isprintable()
        assert "x1b]0;t" in err or "u001b]0;t" in err


def task_line(logger: str, name: str, level: int = logging.INFO) -> None:
    logging.getLogger(logger).log(level, "Task %s", name, extra={"data": {"name": name}})


@pytest.mark.parametrize("logger", ["celery.worker.strategy", "celery.app.trace"])
def test_that_a_periodic_task_came_and_went_is_no_line(
    logger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(log_format="json", periodic=["flowshift.sweep"])

    task_line(logger, "flowshift.sweep")
    task_line(logger, "flowshift.plan_run")
    task_line(logger, "flowshift.sweep", logging.ERROR)

    assert [(line["event"], line["level"]) for line in lines(capsys)] == [
        ("Task flowshift.plan_run", "info"),
        ("Task flowshift.sweep", "error"),
    ]


def test_at_level_debug_every_line_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="json", level="info")
    configure(log_format="json", level="debug", periodic=["flowshift.sweep"])

    task_line("celery.app.trace", "flowshift.sweep")
    logging.getLogger("alembic.runtime.migration").info("Context")

    assert len(lines(capsys)) == 2


@pytest.mark.parametrize("logger", ["alembic.runtime.migration", "tornado.access"])
def test_chatter_of_libraries_is_no_line_and_their_warnings_are(
    logger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(log_format="json")

    logging.getLogger(logger).info("200 GET /tasks")
    logging.getLogger(logger).warning("404 GET /nosuch")

    assert [line["event"] for line in lines(capsys)] == ["404 GET /nosuch"]


def test_a_warning_of_pythons_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logging.captureWarnings(False)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure(log_format="json")
        warnings.warn("you run as root", RuntimeWarning, stacklevel=1)

    (line,) = lines(capsys)
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")
    assert "RuntimeWarning: you run as root" in line["event"]


def test_hiding_credentials_takes_no_longer_than_the_text_is_long() -> None:
    for text in ("a" * 1_000_000, "://" * 300_000, "a://b@" * 100_000):
        began = time.process_time()
        hide_credentials(text)
        assert time.process_time() - began < 2


def test_an_expected_error_of_a_task_is_a_line_without_a_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure(log_format="json")
    told = {"name": "flowshift.start_run", "exc": "refused: no run 7", "traceback": "Traceback …"}
    logging.getLogger("celery.app.trace").info("raised expected", extra={"data": told})

    (line,) = lines(capsys)
    assert line["data"] == {"name": "flowshift.start_run", "exc": "refused: no run 7"}


def test_an_unexpected_error_of_a_task_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure(log_format="json")
    try:
        raise KeyError("a")
    except KeyError:
        logging.getLogger("celery.app.trace").exception(
            "raised unexpected", extra={"data": {"traceback": "Traceback …"}}
        )

    (line,) = lines(capsys)
    assert line["exception"].startswith("Traceback")
    assert "KeyError: 'a'" in line["exception"]
