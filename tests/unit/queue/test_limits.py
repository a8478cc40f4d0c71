"""The limits of a pool's child process, in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from worker.queue import limits

BEGIN = "from worker.queue import limits; limits.begin(memory_mb=256); "


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a Python of its own."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_beyond_its_memory_a_child_gets_a_memory_error_and_can_go_on() -> None:
    ended = python(
        f"{BEGIN}\n"
        "try:\n    bytearray(300 * 1024 * 1024)\n"
        "except MemoryError:\n    print('too much', len(bytearray(1024)))"
    )
    assert ended.stdout.endswith("too much 1024\n"), ended.stderr


@pytest.mark.parametrize("loop", ["while True: pass", "re.match('(a+)+$', 'a' * 64 + 'b')"])
def test_beyond_its_time_a_child_is_killed_whatever_it_does(loop: str) -> None:
    ended = python(f"{BEGIN}import re\nwith limits.time_limit(0.2):\n    {loop}")
    assert ended.returncode == -signal.SIGALRM


def test_the_limit_ends_with_the_block_and_only_a_child_has_one() -> None:
    code = "import time\nwith limits.time_limit(0.2): pass\ntime.sleep(0.4); print('alive')"
    assert python(BEGIN + code).stdout.endswith("alive\n")
    code = "import time\nwith limits.time_limit(0.1): time.sleep(0.3)\nprint('alive')"
    assert python(f"from worker.queue import limits; {code}").stdout == "alive\n"


def test_the_name_of_a_process_tells_the_parents_boot_and_the_child_apart() -> None:
    assert limits.process_name("w@h", 7) != limits.process_name("w@h", 8)
    assert limits.process_name("w@h", 7) == limits.process_name("w@h", 7)
    other = python("from worker.queue import limits; print(limits.process_name('w', 7))").stdout
    assert other.strip()
    assert other.strip() != limits.process_name("w", 7)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (9, "it was killed by signal 9 (SIGKILL): by a person, or by the system"),
        (6, "it was killed by signal 6 (SIGABRT): perhaps it was out of memory"),
        (99, "it was killed by signal 99"),
    ],
)
def test_how_a_child_ended_is_said_in_words(number: int, said: str) -> None:
    assert limits.how_it_ended(number, time_limit_s=9, memory_mb=64).startswith(said)
