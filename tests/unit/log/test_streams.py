"""What a process prints: one call of the log for each line."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from worker.log.streams import LONGEST, Captured, underlying


@pytest.fixture
def real(tmp_path: Path) -> Iterator[TextIO]:
    with (tmp_path / "real").open("w+") as file:
        yield file


def printed(real: TextIO, *parts: str) -> list[str]:
    said: list[str] = []
    stream = Captured(real, said.append)
    for part in parts:
        stream.write(part)
    return list(said)  # not what closing it adds


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (("a\n",), ["a"]),
        (("a", "\n"), ["a"]),
        (("a\nb\nc",), ["a", "b"]),
        (("\n", "  \n", "\r\n"), []),
        (("봇 \x1b[2J\n",), ["봇 \x1b[2J"]),
        (("\ud800\n",), ["\\ud800"]),
        (("a\r\n",), ["a"]),
    ],
)
def test_a_line_is_said_once_it_is_whole(
    real: TextIO, parts: tuple[str, ...], said: list[str]
) -> None:
    assert printed(real, *parts) == said


def test_an_endless_line_is_said_in_pieces(real: TextIO) -> None:
    said = printed(real, "x" * (2 * LONGEST + 5), "\n")

    assert [len(line) for line in said] == [LONGEST, LONGEST, 5]


def test_a_flush_says_what_has_no_end_yet(real: TextIO) -> None:
    said: list[str] = []
    stream = Captured(real, said.append)

    print("so far", end="", file=stream, flush=True)
    print(" and more", file=stream)

    assert said == ["so far", " and more"]


def test_threads_do_not_mix_their_lines(real: TextIO) -> None:
    said: list[str] = []
    stream = Captured(real, said.append)
    other = threading.Thread(target=lambda: stream.write("other\n"))

    stream.write("mi")
    other.start()
    other.join()
    stream.write("ne\n")

    assert said == ["other", "mine"]


def test_what_the_log_itself_prints_goes_to_the_file_as_json(real: TextIO) -> None:
    def emit(text: str) -> None:
        print(f"cannot log {text}: redis://me:s3cret@h", file=stream)

    stream = Captured(real, emit)
    print("a", file=stream)

    real.seek(0)
    assert json.loads(real.read()) == {
        "event": "cannot log a: redis://***@h",
        "level": "error",
    }


def test_bytes_and_what_takes_the_file_itself_work_too(real: TextIO) -> None:
    said: list[str] = []
    stream = Captured(real, said.append)

    stream.buffer.write(b"bytes\n")

    assert said == ["bytes"]
    assert stream.fileno() == real.fileno()
    assert not stream.isatty()


def test_a_handler_finds_the_stream_behind_it(real: TextIO) -> None:
    assert underlying(Captured(real, print)) is real
    assert underlying(sys.stderr) is sys.stderr
    assert isinstance(Captured(real, print), io.TextIOBase)
    assert os.fstat(real.fileno())
