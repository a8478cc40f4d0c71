"""Where a command's output goes: streams that are closed, full, or lack our signs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LINE = b'{"workflow": {"nodes": [], "edges": []}}\n'


def shell(redirected: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run `flowshift` with a shell's redirections."""
    return subprocess.run(
        f'"{sys.executable}" -m worker {redirected}',
        shell=True,
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_stream_that_is_closed_counts_as_an_empty_one(closed: str) -> None:
    done = shell(f"convert {closed}")

    assert done.returncode == 0, done.stderr
    assert done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["convert", "--help", "migrate --help"])
def test_output_on_a_full_disk_is_reported_in_one_sentence(command: str) -> None:
    done = shell(f"{command} >/dev/full", LINE)

    assert done.returncode == 3
    said = f"flowshift: cannot go on: {os.strerror(28)}. Make room, then run the command again"
    assert done.stderr.decode().splitlines() == [said]


def test_without_a_command_the_help_is_shown_in_its_lines() -> None:
    done = shell("")

    assert done.returncode == 2
    assert done.stderr.startswith(b"Usage: flowshift [OPTIONS] COMMAND")
    assert b"\\n" not in done.stderr
    assert "\n  migrate " in done.stderr.decode()


def test_signs_of_ours_that_an_encoding_lacks_have_others_in_their_place() -> None:
    printed = "from worker.__main__ import *; escape_what_encodings_lack(); print('a → b … 봇')"
    done = subprocess.run(
        [sys.executable, "-c", printed],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=60,
        check=True,
    )

    assert done.stdout == b"a -> b ... \\ubd07\n"


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("command", ["--help", "convert --help", "convert"])
def test_a_reader_that_has_seen_enough_ends_a_command_quietly(command: str, buffered: str) -> None:
    done = into_a_closed_pipe("-m", "worker", *command.split(), buffered=buffered)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("buffered", ["", "1"])
def test_so_does_one_that_prints_tables(buffered: str) -> None:
    table = """
import click
from worker import cli
from worker.cli.printing import console
cli.cli.get_command = lambda *_: click.Command("x", callback=lambda: console().print("x"))
cli.main()
"""
    done = into_a_closed_pipe("-c", table, "x", buffered=buffered)
    assert (done.returncode, done.stderr) == (141, b"")


def into_a_closed_pipe(*arguments: str, buffered: str) -> subprocess.CompletedProcess[bytes]:
    """Run Python with a standard output that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    try:
        return subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, "PYTHONUNBUFFERED": buffered},
            input=LINE,
            stdout=write,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(write)
