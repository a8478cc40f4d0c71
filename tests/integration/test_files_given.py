"""Files that a person gives are read whichever way an editor wrote them, or refused by name."""

from __future__ import annotations

import codecs
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fleet import Fleet
from tests.integration.conftest import Run
from tests.live import Environment

LINE = json.dumps({"bot_id": "a", "message": "hi", "workflow": {"nodes": [], "edges": []}}).encode()


@pytest.mark.parametrize("from_stdin", [True, False])
@pytest.mark.parametrize(
    "raw",
    [
        codecs.BOM_UTF8 + b"bot-00001\r\nbot-00002\r\n",
        "bot-00001\r\nbot-00002".encode("utf-16"),
        codecs.BOM_UTF16_BE + "bot-00001\nbot-00002".encode("utf-16-be"),
        "bot-00001\nbot-00002".encode("utf-32"),
    ],
)
def test_ids_in_a_file_of_any_system_are_read(
    fleet: Fleet, flowshift: Run, tmp_path: Path, raw: bytes, from_stdin: bool
) -> None:
    fleet.add_many(4)
    path = tmp_path / "bots.txt"
    path.write_bytes(raw)

    name = "-" if from_stdin else str(path)
    code, _, err = flowshift("migrate", "--detach", "--bots-from", name, stdin=raw)

    assert code == 0, err  # an id that is no bot's is refused
    assert "'bot-00001', 'bot-00002'" in str(fleet.batch_slices(1))


def test_ids_in_no_known_encoding_are_refused_by_the_name_of_the_file(
    fleet: Fleet, flowshift: Run, tmp_path: Path
) -> None:
    path = tmp_path / "bots.txt"
    path.write_bytes("봇-1".encode("cp949"))

    code, _, err = flowshift("migrate", "--bots-from", str(path))

    assert (code, "is not UTF-8: save it as UTF-8" in err, str(path) in err) == (2, True, True)


@pytest.mark.parametrize("command", ["convert", "trace"])
def test_json_lines_may_begin_with_a_mark_and_end_in_crlf(flowshift: Run, command: str) -> None:
    plain = flowshift(command, stdin=LINE + b"\n")
    marked = flowshift(command, stdin=codecs.BOM_UTF8 + LINE + b"\r\n\r\n")

    (line,) = marked[1].splitlines()
    assert json.loads(line).keys() == json.loads(plain[1]).keys()
    assert json.loads(line)["bot_id"] == "a"
    assert "JSON object" not in line


@pytest.mark.parametrize("command", ["convert", "trace"])
def test_json_lines_in_utf_16_are_refused_by_name(flowshift: Run, command: str) -> None:
    code, out, err = flowshift(command, stdin=LINE.decode().encode("utf-16"))

    assert (code, out) == (2, "")
    assert "is UTF-16: save it as UTF-8" in err


def given_messages(fleet: Fleet) -> list[str]:
    trials = fleet.get(1).options.trials
    assert trials is not None
    return list(trials.messages)


@pytest.mark.parametrize("from_stdin", [True, False])
@pytest.mark.parametrize(
    ("raw", "messages"),
    [
        (b"one\rtwo\r", ["one", "two"]),
        (b"one\n\n  \n\ttwo  ", ["one", "two"]),
        (codecs.BOM_UTF8 + "안녕\r\n".encode(), ["안녕"]),
        ("안녕\none".encode("utf-16"), ["안녕", "one"]),
        (b"x" * 10_000 + b"\n", ["x" * 10_000]),
        (b"a\xe2\x80\xa8b\x0cc\x85".replace(b"\x85", b""), ["a\u2028b\x0cc"]),
    ],
    ids=["cr", "blank-lines", "bom", "utf-16", "long", "other-separators"],
)
def test_messages_in_a_file_are_its_lines(
    fleet: Fleet,
    flowshift: Run,
    tmp_path: Path,
    raw: bytes,
    messages: list[str],
    from_stdin: bool,
) -> None:
    fleet.add_many(1)
    path = tmp_path / "messages"
    path.write_bytes(raw)
    name = "-" if from_stdin else str(path)
    command = ("migrate", "--detach", "--validate", "all", "--messages-from", name)

    code, _, err = flowshift(*command, stdin=raw)

    assert code == 0, err
    assert given_messages(fleet) == messages


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "there are no messages in "),
        (b" \r\n\n", "there are no messages in "),
        (codecs.BOM_UTF8, "there are no messages in "),
        (b"a\x00b\n", "the character NUL"),
        (b"\xff\xfea", "is not UTF-16: save it as UTF-8"),
        (b"\xed\xa0\x80", "is not UTF-8: save it as UTF-8"),
        (b"x" * 5_000_000, "characters"),
    ],
    ids=["empty", "blank", "mark-alone", "nul", "half", "surrogate", "endless"],
)
@pytest.mark.parametrize("command", ["migrate", "validate"])
def test_messages_that_cannot_be_used_are_refused_in_a_sentence(
    fleet: Fleet, flowshift: Run, tmp_path: Path, command: str, raw: bytes, said: str
) -> None:
    fleet.add_many(1)
    path = tmp_path / "messages"
    path.write_bytes(raw)
    more = ("--validate", "all") if command == "migrate" else ("--bot-id", "bot-00000")

    code, out, err = flowshift(command, "--detach", *more, "--messages-from", str(path))

    assert (code, out) == (2, "")
    assert said in err
    assert len(err) < 2_000
    assert "Traceback" not in err
    assert fleet.rows("SELECT run_id FROM flowshift.runs") == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (".", "Is a directory"),
        ("nowhere", "No such file or directory"),
        ("/dev/null", "no messages"),
    ],
)
def test_a_file_of_messages_that_is_none_is_refused_by_name(
    fleet: Fleet,
    flowshift: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    said: str,
) -> None:
    fleet.add_many(1)
    monkeypatch.chdir(tmp_path)

    code, _, err = flowshift(
        *("validate", "--detach", "--bot-id", "bot-00000", "--messages-from", name)
    )

    assert code == 2
    assert said in err
    assert name in err
    assert "Traceback" not in err


def test_messages_from_a_closed_standard_input_are_none(environment: Environment) -> None:
    ended = subprocess.run(
        f'"{sys.executable}" -m worker validate --bot-id a --messages-from - <&-',
        shell=True,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2
    assert "there are no messages in " in ended.stderr
    assert "Traceback" not in ended.stderr
