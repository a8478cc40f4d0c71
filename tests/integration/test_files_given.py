"""Files that a person gives are read whichever way an editor wrote them, or refused by name."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pytest

from tests.fleet import Fleet
from tests.integration.conftest import Run

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
