"""What measuring coverage does to the processes of tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.forks import in_fork

ROOT = Path(__file__).parents[2]

SCRIPT = """
import os
import coverage
measuring = coverage.Coverage(data_file=None)
measuring.start()
from tests.measuring import unmeasured
of_exit = os._exit
for _ in range(1_100):
    with unmeasured():
        from worker.core import counted
from worker.core import units
assert os._exit is of_exit
measuring.stop()
data = measuring.get_data()
measured = {os.path.basename(file) for file in data.measured_files() if data.lines(file)}
print(sorted(measured & {"counted.py", "units.py"}), flush=True)
os._exit(7)
"""


def test_what_is_unmeasured_is_not_measured_and_all_else_is_however_often_it_pauses() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (7, "['units.py']\n", "")


def test_a_fork_that_raises_ends_and_fails_the_test(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AssertionError):
        in_fork(lambda: 1 // 0)

    assert "ZeroDivisionError" in capfd.readouterr().err
